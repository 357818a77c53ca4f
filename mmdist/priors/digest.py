"""Which weights a run was made with: sha256 of every weight file.

Also which priors are made of the same files, wherever they lie.
"""

from collections.abc import Mapping
import hashlib
import os
import pathlib

from mmdist.core import local_paths
from mmdist.priors import checks
from mmdist.priors import directory as files
from mmdist.priors import locate


def weight_digests(prior: str, lora: str = '') -> dict[str, str]:
  """Returns the sha256 of every weight file of a prior.

  Args:
    prior: as `locate.locate` takes it.
    lora: a LoRA file of the user's own; '' for none.

  Returns:
    Path inside the directory -> hex digits; the LoRA's under 'lora'.

  Raises:
    FileNotFoundError, UserError: as `families.read_family`.
  """
  directory = pathlib.Path(locate.locate(prior))
  digests = {}
  for component in checks.components_of(directory):
    for path in files.weight_files(directory, component)[0]:
      digests[path.relative_to(directory).as_posix()] = sha256(path)
  if lora:
    digests['lora'] = sha256(local_paths.expand(lora))
  return digests


def files_digest(prior: str, weights: Mapping[str, str]) -> str:
  """Returns one sha256 over all files that decide what a prior is.

  Args:
    prior: as `locate.locate` takes it.
    weights: what `weight_digests` returned for it.
  """
  directory = pathlib.Path(locate.locate(prior))
  digests = dict(weights)
  for pattern in locate.PATTERNS:
    for path in directory.rglob(pattern):
      name = path.relative_to(directory).as_posix()
      # A second file of weights, of another precision, is not read.
      if name not in digests and path.suffix != '.safetensors':
        digests[name] = sha256(path)
  text = ''.join(f'{name} {digests[name]}\n' for name in sorted(digests))
  return hashlib.sha256(text.encode()).hexdigest()


def sha256(path: str | os.PathLike) -> str:
  """Returns the sha256 of a file, in hex."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
