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
from typing import Any

from mmdist.core import atomic
from mmdist.core import strict_json

# Of each kind. A record of a large vocabulary is a few MB.
_MOST_RECORDS = 64


def directory() -> pathlib.Path:
  """Returns the user's cache directory for mmdist; it may not exist."""
  root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(root) / 'mmdist'


def key_of(*parts: object) -> str:
  """Returns a sha256 over parts whose `repr` says all of them."""
  return hashlib.sha256(repr(parts).encode()).hexdigest()


def read(kind: str, key: str) -> dict[str, Any] | None:
  """Returns a record; None if there is none that can be read."""
  try:
    record = json.loads(_path(kind, key).read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return None
  return record if isinstance(record, dict) else None


def write(kind: str, key: str, record: dict[str, Any]) -> None:
  """Keeps a record, and of its kind the newest ones only.

  Where nothing can be written, nothing is kept.
  """
  path = _path(kind, key)
  with contextlib.suppress(OSError):
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, strict_json.dumps(record))
    _drop_oldest(path.parent)


def _path(kind: str, key: str) -> pathlib.Path:
  return directory() / kind / f'{key}.json'


def _drop_oldest(folder: pathlib.Path) -> None:
  # A name that begins with a dot is of a file that is being written.
  paths = [p for p in folder.glob('*.json') if not p.name.startswith('.')]
  paths.sort(key=lambda path: path.stat().st_mtime)
  for path in paths[:-_MOST_RECORDS]:
    path.unlink(missing_ok=True)
