"""Signals: the first one saves and ends the run, a second one ends it at once.

Owns SIGTERM and SIGINT while a run is going on. What is saved, and when, is
decided by the run's `Recovery`, which looks here after every step.
"""

import contextlib
import os
import signal
import sys
import threading
import time
import types
from typing import Any

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Overdue(Exception):
  """The step in which the run was asked to stop takes too long."""


class Stopper:
  """Handles signals while it is open; a context manager of the main thread.

  Ray installs handlers for the same signals when it starts, so open this one
  after Ray.

  Args:
    grace_s: how long the running step may take once it was asked to stop.

  Attributes:
    asked: whether to stop after this step.
    has_begun: whether there is anything to save yet. Before, nothing is waited
      for.
  """

  def __init__(self, grace_s: float = 60.0):
    self.asked = False
    self.has_begun = False
    self._grace_s = grace_s
    self._until = float('inf')
    self._before: dict[signal.Signals, Any] = {}

  def __enter__(self) -> 'Stopper':
    # Python allows handlers in the main thread only. In another thread a run
    # has none, and ends as the program that started it decides.
    if threading.current_thread() is threading.main_thread():
      self._before = {
        number: signal.signal(number, self._on_signal) for number in _NUMBERS
      }
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def ask(self) -> None:
    """Asks the run to stop after this step, as a first signal does."""
    self.asked = True

  def check_stop(self) -> None:
    """Raises Overdue if the step in which it was asked takes too long.

    Before the first step there is none to wait for, so it raises at once.

    To be called by code that waits for something. The handler itself must not
    raise, because C++ code that is waiting would be left half-way.
    """
    if time.monotonic() > self._until or (self.asked and not self.has_begun):
      raise Overdue

  def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    if self.asked:
      # At once, without closing anything. What was saved before is complete.
      os._exit(128 + number)
    self.asked = True
    self._until = time.monotonic() + self._grace_s
    name = signal.Signals(number).name
    then = 'saving after this step' if self.has_begun else 'ending'
    line = f'\n{name}: {then}; once more ends at once.\n'
    if sys.stderr is None:
      return
    # Not `print`, since the signal may have interrupted one. Nobody may read
    # it, or it may be no file at all; the run is saved all the same.
    with contextlib.suppress(OSError):
      os.write(sys.stderr.fileno(), line.encode())
