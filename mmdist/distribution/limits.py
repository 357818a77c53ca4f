"""How long a prior may be silent, and how often it may be lost."""

import collections
import dataclasses
import statistics

# How many of the last answers decide how long the next one may take.
_REMEMBERED = 50
# With fewer answers than this the longest deadline holds: the first ones are
# slow, since they compile and allocate.
_KNOWN = 10


@dataclasses.dataclass(frozen=True)
class Limits:
  """How long a prior may be silent, and how often it may be lost.

  Only a deadline finds a process that is stopped rather than dead. Once it is
  known how long a prior takes, the deadline follows from that: a prior that
  answers in a second is given up after two minutes, and one that answers in
  minutes is given more time.

  Attributes:
    deadline_s: seconds for an answer, a fit or a copy of a proxy, at most.
    deadline_factor: this many times the median of the last answers is the
      deadline, where that is shorter than `deadline_s`.
    deadline_floor_s: seconds; the shortest deadline.
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

  def note(self, seconds: float) -> None:
    """Notes how long an answer took."""
    self._took.append(seconds)

  def seconds(self, limits: Limits) -> float:
    """Returns for how long the next answer is waited."""
    if len(self._took) < _KNOWN:
      return limits.deadline_s
    usual = limits.deadline_factor * statistics.median(self._took)
    return min(max(usual, limits.deadline_floor_s), limits.deadline_s)
