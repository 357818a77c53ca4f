"""How a full disk, or a quota that is used up, is told from other errors."""

from collections.abc import Iterator
import errno
import os

ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# What is left of an error that has crossed C++, a process or a log.
TEXTS = tuple(os.strerror(code) for code in ERRNOS)


def is_meant(error: BaseException) -> bool:
  """Returns whether an error, or one of those that led to it, is of that."""
  return any(map(_is_one, _causes(error)))


def _is_one(error: BaseException) -> bool:
  if isinstance(error, OSError) and error.errno in ERRNOS:
    return True
  return any(text in str(error) for text in TEXTS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
  """Yields an error and those that led to it, the newest first."""
  while error is not None:
    yield error
    error = error.__cause__ or error.__context__
