"""Waiting for other processes: signals are heard, and it is never silent."""

from collections.abc import Callable
import time
from typing import Any

import ray

from mmdist.core import progress

# Longest wait inside Ray; Python handles signals only between such waits.
_SLICE_S = 0.5


class Patience:
  """Knows when it is time to say that something is still waited for.

  Args:
    every_s: seconds between two times.
    first_s: seconds before the first one, if that is not the same.
    start: `time.monotonic()` when the waiting began; None stands for now.
  """

  def __init__(
    self,
    every_s: float,
    first_s: float | None = None,
    start: float | None = None,
  ):
    self._start = time.monotonic() if start is None else start
    self._say_at = self._start + (every_s if first_s is None else first_s)
    self._every_s = every_s

  def due(self) -> str:
    """Returns how long it has been, e.g. '45 s'; '' if it is not time yet."""
    now = time.monotonic()
    if now < self._say_at:
      return ''
    self._say_at = now + self._every_s
    return progress.format_seconds(now - self._start)


def get(
  reference: ray.ObjectRef,
  deadline_s: float,
  check_stop: Callable[[], None],
  look: Callable[[], None],
) -> Any:
  """Does what ray.get does, in slices: inside it Python hears no signal.

  Args:
    reference: to what is waited for.
    deadline_s: how long, in seconds.
    check_stop: called before each slice; may raise.
    look: called after each slice that has passed in vain.

  Raises:
    ray.exceptions.RayError: what ray.get raises.
  """
  until = time.monotonic() + deadline_s
  while True:
    check_stop()
    left = until - time.monotonic()
    try:
      return ray.get(reference, timeout=min(max(left, 0), _SLICE_S))
    except ray.exceptions.GetTimeoutError:
      # This slice was the last one, and it has passed.
      if left <= _SLICE_S:
        raise
    look()
