"""Whether what is written in a folder stays in it."""

from collections.abc import Iterator, Sequence
import fnmatch
import os
import pathlib

from mmdist.core import errors


def check_inside(folder: str | os.PathLike, names: Sequence[str]) -> None:
  """Checks that no link in a folder leads out of it.

  The folder itself may be a link, and may not be there.

  Args:
    folder: where somebody is going to write.
    names: patterns of what will be written, files or folders.

  Raises:
    UserError: in one line; something of such a name, or below it, is a link
      that leads out of the folder, or nowhere.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    return
  inside = os.path.realpath(folder) + os.sep
  for path in _find(folder, names):
    if path.is_symlink() and not _leads_into(path, inside):
      raise errors.UserError(
        f'{path} is a link to {path.readlink()}, and nothing is written '
        f'outside of {folder}; remove the link, or give another folder.'
      )


def _leads_into(path: pathlib.Path, inside: str) -> bool:
  target = os.path.realpath(path)
  # Links that point at each other in a circle resolve to a link.
  return target.startswith(inside) and not os.path.islink(target)


def _find(folder: pathlib.Path, names: Sequence[str]) -> Iterator[pathlib.Path]:
  for path in sorted(folder.iterdir()):
    if any(fnmatch.fnmatchcase(path.name, name) for name in names):
      yield path
      for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
          yield pathlib.Path(parent, name)
