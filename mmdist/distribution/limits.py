"""How long a prior may be silent, and how often it may be lost."""

import collections
import dataclasses
import statistics

# Answers that decide how long the next one may take, and how many it takes to
# know. The first ones are slow, since they compile and allocate.
_REMEMBERED = 50
_KNOWN = 10


@dataclasses.dataclass(frozen=True)
class Limits:
  """How long a prior may be silent, and how often it may be lost.

  Only a deadline finds a process that is stopped rather than dead. Once it is
  known how long a prior takes, it follows from that: what takes a second is
  missed within minutes, and what takes minutes is given its time.

  Attributes:
    deadline_s: for an answer, a fit or a copy of a proxy, at most.
    deadline_factor: times the median of the last answers; a shorter limit.
    deadline_floor_s: but never less than this.
    build_deadline_s: for a process to start and its weights to load.
    max_losses: of one prior within the window; one more ends the run. Before
      a prior was there for the first time there is no window.
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
