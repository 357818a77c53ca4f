"""Which weights a run was made with: sha256 of every weight file.

Also which priors are made of the same files, wherever they lie.
"""

from collections.abc import Mapping
import hashlib
import os
import pathlib

from mmdist.core import lora_lists
from mmdist.priors import checks
from mmdist.priors import directory as files
from mmdist.priors import locate
from mmdist.priors import lora_files
from mmdist.priors import single_file


def weight_digests(
  prior: str, loras: str | lora_lists.Loras = (), base: str = ''
) -> dict[str, str]:
  """Returns the sha256 of every weight file of a prior.

  Args:
    prior: as `locate.locate` takes it.
    loras: of the user's own; a file, or a file and a factor each.
    base: as `locate.locate` takes it.

  Returns:
    Path inside the directory -> hex digits; the LoRAs' under 'lora', 'lora_2'
    and so on, and PEFT's settings of one under 'lora_config'.

  Raises:
    FileNotFoundError, UserError: as `families.read_family`.
  """
  directory = pathlib.Path(locate.locate(prior, base))
  digests: dict[str, str] = {}
  for component in checks.components_of(directory):
    for path in files.weight_files(directory, component)[0]:
      name = single_file.name_of(directory, path)
      if name not in digests:  # One file may hold several components.
        digests[name] = sha256(path)
  for number, (lora, _) in enumerate(lora_lists.normalise(loras), 1):
    name = f'lora_{number}' if number > 1 else 'lora'
    for kind, file in lora_files.files_of(lora).items():
      digests[f'{name}_{kind}' if kind else name] = sha256(file)
  return digests


def files_digest(prior: str, weights: Mapping[str, str], base: str = '') -> str:
  """Returns one sha256 over all files that decide what a prior is.

  Args:
    prior: as `locate.locate` takes it.
    weights: what `weight_digests` returned for it.
    base: as `locate.locate` takes it.
  """
  directory = pathlib.Path(locate.locate(prior, base))
  digests = dict(weights)
  for pattern in locate.PATTERNS:
    for path in directory.rglob(pattern):
      name = path.relative_to(directory).as_posix()
      # A second file of weights, of another precision, is not read.
      # Where a single file lies is no part of what it is.
      is_read = path.suffix != '.safetensors' and name != single_file.ORIGIN
      if name not in digests and is_read:
        digests[name] = sha256(path)
  text = ''.join(f'{name} {digests[name]}\n' for name in sorted(digests))
  return hashlib.sha256(text.encode()).hexdigest()


def sha256(path: str | os.PathLike) -> str:
  """Returns the sha256 of a file, in hex."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
