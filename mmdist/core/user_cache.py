"""Small facts that were expensive to find, kept in the user's cache.

A record is JSON, and its key is a hash of everything that it follows from. So
one that is there is true, one that is not there or cannot be read is found
again, and the whole folder may be deleted at any time.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import stat
import tempfile
from typing import Any

from mmdist.core import atomic
from mmdist.core import local_paths
from mmdist.core import strict_json

# Of each kind. A record of a large vocabulary is a few MB.
_MOST_RECORDS = 64


def directory() -> pathlib.Path | None:
  """Returns the user's cache directory for mmdist; it may not exist.

  It lies below XDG_CACHE_HOME, or below `.cache` in the home folder. Whoever
  has neither, or cannot write there, as a user of a container who has no name,
  has a private folder among the temporary files. None where that cannot be had
  either; nothing is kept then.
  """
  # The XDG specification has relative paths ignored, and empty ones.
  root = os.environ.get('XDG_CACHE_HOME', '')
  home = local_paths.home()
  if not os.path.isabs(root) and home is not None:
    root = os.path.join(home, '.cache')
  folder = pathlib.Path(root, 'mmdist')
  # It may be there and somebody else's, such as root's.
  there = folder if os.path.isdir(folder) else folder.parent
  if os.path.isabs(root) and _is_writable(there):
    return folder
  return _private_folder()


def _is_writable(folder: pathlib.Path) -> bool:
  """Returns whether a folder, there or to be made, can be written."""
  try:
    while not folder.exists():
      folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
  except OSError:  # Such as a name that is too long.
    return False


def _private_folder() -> pathlib.Path | None:
  """Returns a folder of this user alone among the temporary files."""
  try:
    # Its name is that of every process of this user, so that they share it.
    folder = pathlib.Path(tempfile.gettempdir(), f'mmdist-cache-{os.getuid()}')
    with contextlib.suppress(FileExistsError):
      folder.mkdir(mode=0o700)
    found = folder.lstat()
  except OSError:
    return None
  # Anybody may have made a folder, or a link, of that name. What JAX keeps
  # there are programs, so it has to be ours and closed to others.
  is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
  return folder if is_ours and not found.st_mode & 0o077 else None


def key_of(*parts: object) -> str:
  """Returns a sha256 over parts whose `repr` says all of them."""
  return hashlib.sha256(repr(parts).encode()).hexdigest()


def read(kind: str, key: str) -> dict[str, Any] | None:
  """Returns a record; None if there is none that can be read."""
  path = _path(kind, key)
  if path is None:
    return None
  try:
    record = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return None
  return record if isinstance(record, dict) else None


def write(kind: str, key: str, record: dict[str, Any]) -> None:
  """Keeps a record, and of its kind the newest ones only.

  Where nothing can be written, nothing is kept.
  """
  path = _path(kind, key)
  if path is None:
    return
  with contextlib.suppress(OSError):
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, strict_json.dumps(record))
    _drop_oldest(path.parent)


def _path(kind: str, key: str) -> pathlib.Path | None:
  folder = directory()
  return folder and folder / kind / f'{key}.json'


def _drop_oldest(folder: pathlib.Path) -> None:
  # A name that begins with a dot is of a file that is being written.
  paths = [p for p in folder.glob('*.json') if not p.name.startswith('.')]
  paths.sort(key=lambda path: path.stat().st_mtime)
  for path in paths[:-_MOST_RECORDS]:
    path.unlink(missing_ok=True)
