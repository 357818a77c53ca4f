"""Environment variables that are set for a while."""

from collections.abc import Iterator
import contextlib
import os


@contextlib.contextmanager
def restored(*names: str) -> Iterator[None]:
  """Puts variables back, afterwards, to what they are now.

  Processes that are started inside keep what they were started with.

  Args:
    *names: of the variables; one that is not set now is removed again.
  """
  before = {name: os.environ.get(name) for name in names}
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        os.environ.pop(name, None)
      else:
        os.environ[name] = value
