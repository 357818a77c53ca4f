"""What is written beside somebody's pictures: `a.txt` says more of `a.jpg`.

The trainers of Stable Diffusion's users keep captions this way.
"""

from collections.abc import Sequence
import pathlib

from mmdist.core import errors

ENDING = '.txt'


def check_has_picture(path: pathlib.Path, pictures: Sequence[str]) -> None:
  """Raises UserError if a text is of none of the folder's pictures.

  Args:
    path: of the text.
    pictures: the pictures' file names.
  """
  if path.stem not in {pathlib.PurePath(name).stem for name in pictures}:
    raise errors.UserError(
      f'{path} is a text without its picture; expected one of the same name, '
      'so rename it, or move it away.'
    )


def read(folder: pathlib.Path, pictures: Sequence[str]) -> tuple[str, ...]:
  """Returns what is written of each picture, on one line; '' if nothing is.

  Args:
    folder: of the pictures.
    pictures: their file names.

  Raises:
    UserError: a text is not UTF-8.
  """
  return tuple(_read(folder / name) for name in pictures)


def _read(picture: pathlib.Path) -> str:
  path = picture.with_suffix(ENDING)
  if not path.is_file():
    return ''
  try:
    return ' '.join(path.read_text('utf-8-sig').split())
  except UnicodeDecodeError:
    raise errors.UserError(
      f'{path} is no text in UTF-8; save it again in that encoding, or remove '
      'it.'
    ) from None
