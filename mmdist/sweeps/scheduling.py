"""Which cell runs next, on which slot, and what becomes of one that fails.

A slot runs one cell at a time, wherever it is. What a slot is made of is not
known here: in `ray_slots.py` slots are Ray actors, in tests something smaller.
"""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import Protocol

from mmdist.sweeps import cell_runner


@dataclasses.dataclass(frozen=True)
class Job:
  """A cell that is to be run, and how often that was tried.

  Attributes:
    name: of the cell.
    attempt: from 1.
  """

  name: str
  attempt: int = 1


class Slots(Protocol):
  """Places to run cells, which come and go with their machines."""

  def free(self) -> int:
    """Returns how many slots could start a cell now."""

  def start(self, job: Job) -> None:
    """Starts a cell on one of the slots that are free."""

  def wait(self, seconds: float) -> Sequence[tuple[Job, cell_runner.Outcome]]:
    """Waits until a cell has ended or a slot has come; returns what ended.

    Where a slot was lost, its cell has failed, and another attempt may pass.
    """


@dataclasses.dataclass(frozen=True)
class Ended:
  """What became of a cell in the end.

  Attributes:
    kind: 'finished', 'stopped' or 'failed', or 'left' if it was never begun.
    error: of its last attempt.
    attempts: how many there were.
  """

  kind: str
  error: str = ''
  attempts: int = 0


def run_all(
  names: Iterable[str],
  slots: Slots,
  *,
  max_attempts: int = 3,
  tell: Callable[[Job, cell_runner.Outcome, bool], None] = (
    lambda job, outcome, again: None
  ),
  is_stopping: Callable[[], bool] = lambda: False,
  poll_s: float = 1.0,
  on_poll: Callable[[], None] = lambda: None,
) -> Mapping[str, Ended]:
  """Runs cells until each has finished, or failed for good.

  A cell that failed is tried again after those that were never tried, so that
  one that always fails keeps no slot from the others.

  Args:
    names: of the cells, in the order in which they are begun.
    slots: where they run.
    max_attempts: of one cell.
    tell: called when an attempt has ended, with whether there will be another.
    is_stopping: once true, nothing is begun any more.
    poll_s: how long to wait for news at most.
    on_poll: called after each wait.

  Returns:
    What became of each, in the same order.
  """
  order = list(names)
  waiting = collections.deque(Job(name) for name in order)
  running: set[str] = set()
  ended: dict[str, Ended] = {}
  while running or (waiting and not is_stopping()):
    while waiting and not is_stopping() and slots.free():
      job = waiting.popleft()
      slots.start(job)
      running.add(job.name)
    for job, outcome in slots.wait(poll_s):
      running.discard(job.name)
      again = (
        outcome.kind == 'failed'
        and outcome.may_pass
        and job.attempt < max_attempts
        and not is_stopping()
      )
      if again:
        waiting.append(Job(job.name, job.attempt + 1))
      ended[job.name] = Ended(outcome.kind, outcome.error, job.attempt)
      tell(job, outcome, again)
    on_poll()
  return {name: ended.get(name, Ended('left')) for name in order}
