"""How long a prior may be silent, and how often it may be lost."""

import collections
import dataclasses
import statistics

# How many of the last answers decide how long the next one may take.
_REMEMBERED = 50
# The first answers of a process are slow, since it compiles, allocates and
# reads what was not read before. While there are fewer than `_KNOWN`, the
# shortest deadline is `_PATIENCE` times as long.
_KNOWN = 10
_PATIENCE = 5.0


@dataclasses.dataclass(frozen=True)
class Limits:
  """How long a prior may be silent, and how often it may be lost.

  Only a deadline finds a process that is stopped rather than dead. Once it is
  known how long a prior takes, the deadline follows from that: a prior that
  answers in a second is given up after two minutes, and one that answers in
  minutes is given more time. Before that, it has five times the shortest
  deadline, which is ten minutes. A prior that was given up too soon has twice
  the time when it is back, so that a slow one is not lost again and again.

  Attributes:
    deadline_s: seconds for an answer, a fit or a copy of a proxy, at most.
    deadline_factor: this many times the median of the last answers is the
      deadline, where that is shorter than `deadline_s`.
    deadline_floor_s: seconds; the shortest deadline. For the first answers of a
      process it is five times as long.
    build_deadline_s: seconds for a process to start and its weights to load.
    max_losses: of one prior within the window, or of any age while one call is
      answered; one more ends the run.
    window_s: seconds.
  """

  deadline_s: float = 1800.0
  deadline_factor: float = 20.0
  deadline_floor_s: float = 120.0
  build_deadline_s: float = 1800.0
  max_losses: int = 5
  window_s: float = 3600.0


class Deadline:
  """Learns from answers how long the next one may take."""

  def __init__(self) -> None:
    self._took: collections.deque[float] = collections.deque(maxlen=_REMEMBERED)
    # Answers of the process that is there; None before there is one.
    self._num_answers: int | None = None
    self._num_losses = 0  # Since the last answer.

  def begin(self) -> None:
    """Notes that a process has loaded the prior; its first answers are slow."""
    self._num_answers = 0

  def note(self, seconds: float) -> None:
    """Notes how long an answer took."""
    self._took.append(seconds)
    self._num_answers = (self._num_answers or 0) + 1
    self._num_losses = 0

  def note_loss(self) -> None:
    """Notes that the prior was lost, perhaps because it was only slow."""
    self._num_losses += 1

  def seconds(self, limits: Limits) -> float:
    """Returns for how long the next answer is waited."""
    if self._num_answers is None:
      return limits.deadline_s  # What is asked now waits for loading, too.
    is_known = self._num_answers >= _KNOWN
    floor = limits.deadline_floor_s * (1.0 if is_known else _PATIENCE)
    usual = 0.0
    if self._took:
      usual = limits.deadline_factor * statistics.median(self._took)
    return min(max(usual, floor) * 2.0**self._num_losses, limits.deadline_s)
