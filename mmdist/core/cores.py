"""Which cores this process may use, on every system.

Linux tells it, and lets a process choose. macOS and Windows do neither: there
all cores are taken for ours.
"""

from collections.abc import Collection
import contextlib
import os


def usable() -> list[int]:
  """Returns the numbers of the cores that this process may use, at least one.

  Where the system does not say which, they are counted from 0.
  """
  own: Collection[int] = ()
  if hasattr(os, 'sched_getaffinity'):
    with contextlib.suppress(OSError):  # Some sandboxes refuse to say.
      own = os.sched_getaffinity(0)
  return sorted(own) or list(range(os.cpu_count() or 1))


def count() -> int:
  """Returns how many cores this process may use, at least one."""
  return len(usable())


def keep_to(numbers: Collection[int]) -> None:
  """Has this thread use these cores only, where the system lets it choose."""
  if hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, numbers)
