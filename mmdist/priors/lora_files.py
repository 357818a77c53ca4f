"""What can be said of a user's LoRA file without torch."""

import os
import pathlib

from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import model_files


def check_lora(path: str | os.PathLike) -> pathlib.Path:
  """Raises unless a file is whole safetensors; returns its path.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  path = local_paths.local(path)
  if not path.is_file():
    raise FileNotFoundError(
      f'LoRA {path} is not a file; expected one .safetensors file.'
    )
  if path.suffix != '.safetensors':
    raise errors.UserError(
      f'LoRA {path} is not .safetensors; a pickled file could run code, so '
      'convert it (safetensors.torch.save_file).'
    )
  model_files.check_safetensors(path)
  return path
