"""When a prior's training stops, saves, and looks at what it never sees."""

import time


class Clock:
  """Runs from the moment it is made.

  Args:
    max_minutes: when time is up; 0: never.
    save_every_s: seconds between checkpoints.
    look_every_min: minutes between looks at held-out pictures; 0: never.
  """

  def __init__(
    self, max_minutes: float, save_every_s: float, look_every_min: float
  ):
    self._started = self._saved = self._looked = time.time()
    self._max_s = 60 * max_minutes
    self._save_every_s = save_every_s
    self._look_every_s = 60 * look_every_min

  def is_over(self) -> bool:
    """Returns whether time is up."""
    return self._max_s > 0 and time.time() - self._started > self._max_s

  def saves_now(self) -> bool:
    """Returns whether a checkpoint is due; if so, the next one is later."""
    due = time.time() - self._saved > self._save_every_s
    if due:
      self._saved = time.time()
    return due

  def looks_now(self) -> bool:
    """Returns whether a look is due; if so, the next one is later."""
    due = 0 < self._look_every_s < time.time() - self._looked
    if due:
      self._looked = time.time()
    return due
