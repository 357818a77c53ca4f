"""Signals: the first one saves and ends the run, a second one ends it at once.

Owns SIGTERM and SIGINT while a run goes on. What is saved, and when, is the
loop's business; it asks after every step.
"""

import os
import signal
import sys
import threading

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Overdue(Exception):
  """The step in which the run was asked to stop takes too long."""


class Stopper:
  """Hears signals while it is open; a context manager of the main thread.

  Ray takes the same signals when it starts, so open this one after it.

  Args:
    grace_s: how long the running step may take once it was asked to stop;
      after that `Overdue` is raised wherever the main thread is.

  Attributes:
    asked: whether to stop after this step.
  """

  def __init__(self, grace_s: float = 60.0):
    self.asked = False
    self._grace_s = grace_s
    self._before = {}

  def __enter__(self) -> 'Stopper':
    # Python lets only the main thread hear; elsewhere nothing is heard.
    if threading.current_thread() is threading.main_thread():
      handlers = dict.fromkeys(_NUMBERS, self._on_signal)
      handlers[signal.SIGALRM] = self._on_alarm
      self._before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
      }
    return self

  def __exit__(self, *_) -> None:
    self.settle()
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def settle(self) -> None:
    """Takes the alarm back: from here on nothing interrupts."""
    if self._before:
      signal.setitimer(signal.ITIMER_REAL, 0)

  def _on_signal(self, number, frame) -> None:
    del frame
    if self.asked:
      # At once: not even what is open is closed. What was saved stays whole.
      os._exit(128 + number)
    self.asked = True
    name = signal.Signals(number).name
    print(
      f'\n{name}: saving after this step; once more ends at once.',
      file=sys.stderr,
      flush=True,
    )
    signal.setitimer(signal.ITIMER_REAL, self._grace_s)

  def _on_alarm(self, number, frame) -> None:
    del number, frame
    raise Overdue
