"""Which weights a run was made with: sha256 of every weight file."""

import hashlib
import os
import pathlib

from mmdist.priors import directory as files
from mmdist.priors import families
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
  family = families.read_family(directory)
  digests = {}
  for component in family.components:
    for path in files.weight_files(directory, component)[0]:
      digests[path.relative_to(directory).as_posix()] = sha256(path)
  if lora:
    digests['lora'] = sha256(lora)
  return digests


def sha256(path: str | os.PathLike) -> str:
  """Returns the sha256 of a file, in hex."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()
