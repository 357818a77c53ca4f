"""Files that appear complete or not at all."""

from collections.abc import Iterator
import contextlib
import hashlib
import os
import pathlib

_MOST_NAME_BYTES = 255  # Of a file, in every file system in common use.


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Gives a temporary path beside `path` that becomes `path` at the end.

  The temporary name keeps the suffix, by which encoders choose a format. An
  error inside the block leaves neither the temporary file nor a changed
  `path`.

  Args:
    path: the file to be; its folder must exist.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f'.{path.stem}.{os.getpid()}{path.suffix}')
  if len(os.fsencode(temporary.name)) > _MOST_NAME_BYTES:
    # Its own name is just short enough for a file system.
    digits = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    temporary = path.with_name(f'.{digits}.{os.getpid()}{path.suffix}')
  try:
    yield temporary
    # Else a power cut may leave the new name with nothing in it.
    with open(temporary, 'rb') as file:
      os.fsync(file.fileno())
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes `text` as UTF-8 to `path`, all of it or nothing.

  What is no Unicode, such as the name of a file in another encoding, is
  escaped.
  """
  with replacing(path) as temporary:
    temporary.write_text(text, encoding='utf-8', errors='backslashreplace')


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
  """Writes `data` to `path`, all of it or nothing."""
  with replacing(path) as temporary:
    temporary.write_bytes(data)
