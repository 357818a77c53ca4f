"""How far the cells of a sweep are, and how long the rest will take."""

from collections.abc import Callable, Iterable, Mapping
import time

from mmdist.core import progress as progress_lib
from mmdist.sweeps import cell_runner
from mmdist.sweeps import cells as cells_lib

SAY_EVERY_S = 30.0  # Between two lines.


class SweepProgress:
  """Reports now and then how far all cells are.

  The time that is left follows from the steps made since the first line, here
  and in this sitting: steps that cells restored from their checkpoints cost
  nothing.

  Args:
    cells: that are run.
    heard: returns where the running cells are, by name.
    report: is told.
    clock: seconds, that only grow.
  """

  def __init__(
    self,
    cells: Iterable[cells_lib.Cell],
    heard: Callable[[], Mapping[str, cell_runner.Progress]],
    report: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
  ):
    self._left = {cell.name: cell.config.num_steps for cell in cells}
    self._total = sum(self._left.values())
    self._num_cells = len(self._left)
    self._num_failed = 0
    self._heard = heard
    self._report = report
    self._clock = clock
    self._said = clock()
    self._restored: dict[str, int] = {}
    self._first: tuple[float, int] | None = None

  def ended(self, name: str, is_failed: bool = False) -> None:
    """Notes that a cell takes no more steps."""
    self._left[name] = 0
    self._num_failed += is_failed

  def say(self) -> None:
    """Reports, unless it did so less than `SAY_EVERY_S` ago."""
    now = self._clock()
    if now - self._said < SAY_EVERY_S:
      return
    self._said = now
    at = self._heard()
    left = dict(self._left)
    for name, progress in at.items():
      if left.get(name):
        left[name] = max(left[name] - progress.step, 0)
        # Of the first attempt: a later one restores steps of this sitting.
        if progress.step:
          self._restored.setdefault(name, progress.restored)
    done = self._total - sum(left.values())
    running = ', '.join(
      f'{name} {progress.step}' for name, progress in sorted(at.items()) if name
    )
    cells_done = sum(not steps for steps in self._left.values())
    self._report(
      f'{cells_done} of {self._num_cells} cells'
      f'{f" ({self._num_failed} failed)" * bool(self._num_failed)}, '
      f'{done} of {self._total} steps'
      f'{self._time_left(now, done, sum(left.values()))}; '
      f'running: {running or "none yet"}'
    )

  def _time_left(self, now: float, done: int, left: int) -> str:
    """Returns what stands behind the steps; '' while no step was timed."""
    made = done - sum(self._restored.values())
    if self._first is None:
      self._first = now, made
    since, before = self._first
    if made <= before:
      return ''
    seconds = (now - since) / (made - before) * left
    return f', about {progress_lib.format_seconds(seconds)} to go'
