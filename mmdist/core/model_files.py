"""Files of a model that somebody has, and one line for each that is wrong.

Weights are safetensors: a pickled file can run code when it is read.
"""

import pathlib
from typing import Any

import safetensors

from mmdist.core import errors
from mmdist.core import strict_json

PICKLES = ('.bin', '.ckpt', '.pt', '.pth', '.pkl')


def read_json(path: pathlib.Path, remedy: str) -> dict[str, Any]:
  """Reads a JSON object.

  Args:
    path: the file.
    remedy: what a directory that lacks it should have been.

  Raises:
    FileNotFoundError, UserError: in one line, the file that is wrong.
  """
  if not path.is_file():
    raise FileNotFoundError(f'{path} is missing; {remedy}.')
  try:
    content = strict_json.read(path)
  except ValueError as error:
    raise errors.UserError(f'{path} is corrupt: it {error}.') from error
  if not isinstance(content, dict):
    raise errors.UserError(f'{path} is corrupt: it holds no JSON object.')
  return content


def check_safetensors(path: pathlib.Path) -> None:
  """Raises UserError unless a file is whole safetensors."""
  try:
    with safetensors.safe_open(path, 'numpy'):
      pass
  except (safetensors.SafetensorError, OSError) as error:
    raise errors.UserError(
      f'{path} is corrupt ({first_line(error)}); copy it again.'
    ) from error


def find_pickles(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the pickled files of a folder, sorted; none if it is not there."""
  found = folder.iterdir() if folder.is_dir() else ()
  return sorted(path for path in found if path.suffix in PICKLES)


def first_line(error: Exception) -> str:
  """Returns the first line of an error, at most 200 characters."""
  line = (str(error).strip() or type(error).__name__).splitlines()[0]
  return line if len(line) <= 200 else f'{line[:197]}...'
