"""How a full disk, or a quota that is used up, is told from other errors."""

from collections.abc import Iterator
import errno
import os

ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# Errors that passed through C++, another process or a log keep only their text,
# so the text is searched.
TEXTS = tuple(os.strerror(code) for code in ERRNOS)


def is_meant(error: BaseException) -> bool:
  """Returns whether an error or a cause of it means a full disk or quota."""
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
