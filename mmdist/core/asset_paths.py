"""Where trained things lie: a name inside the package, or a path outside it."""

import os
import pathlib

from mmdist.core import local_paths
from mmdist.core import names

EMBEDDED = ('color', 'normal', 'nerf', 'judge', 'people_nerf')
ROOT = pathlib.Path(__file__).resolve().parents[1] / 'assets' / 'heads'


def resolve(name_or_path: str, root: str | os.PathLike = ROOT) -> str:
  """Turns an embedded name or a path into an absolute directory.

  An embedded name wins over a directory of that name; write './color' for the
  directory.

  Args:
    name_or_path: one of `EMBEDDED`, or a directory.
    root: where the embedded directories lie.

  Raises:
    FileNotFoundError: there is no such directory.
    UserError: the path is in remote storage.
  """
  if name_or_path in EMBEDDED:
    directory = pathlib.Path(root) / name_or_path
    if not directory.is_dir():
      raise FileNotFoundError(
        f'the embedded {name_or_path!r} is not at {directory}; reinstall '
        'mmdist, or give the directory of another one.'
      )
    return str(directory)
  directory = local_paths.local(name_or_path)
  if name_or_path and directory.is_dir():
    return str(directory.resolve())
  raise FileNotFoundError(_not_found(name_or_path, directory))


def _not_found(name: str, directory: pathlib.Path) -> str:
  message = f'{name!r} is neither a directory nor an embedded name'
  if name and directory.exists():
    message = f'{name!r} is a file; expected a directory or an embedded name'
  hint = names.did_you_mean(name, EMBEDDED) or '.'
  return f'{message}{hint} Embedded: {", ".join(EMBEDDED)}.'
