"""The errors of asking priors, and how many losses of a prior are allowed.

Every fault is one line for the person at the terminal, and survives pickling,
since it may be raised in one process and read in another.
"""

import collections
from collections.abc import Callable
import math
import time

from mmdist.core import errors


class DistributionError(errors.UserError, RuntimeError):
  """A prior could not be asked, or did not answer."""


class ClusterUnavailable(DistributionError):
  """Ray could not be started or reached, or has no room for a prior."""


class ClusterLost(DistributionError):
  """The cluster's head is gone, so no prior can be reached any more."""


class PriorFault(DistributionError):
  """One prior gave no answer.

  Attributes:
    prior: its name.
    step: the optimisation step that asked; None outside of any step.
    cause: what happened, in one line.
  """

  verb = 'gave no answer'

  def __init__(self, prior: str, step: int | None, cause: str):
    self.prior = prior
    self.step = step
    self.cause = one_line(cause)
    when = '' if step is None else f' at step {step}'
    super().__init__(f"prior '{prior}' {self.verb}{when}: {self.cause}")

  def __reduce__(self) -> tuple:
    # Pickle would call the class with the whole message as its one argument.
    return type(self), (self.prior, self.step, self.cause)


class PriorFailed(PriorFault):
  """A prior raised. Its process lives; its proxy may be half a step ahead."""

  verb = 'failed'


class PriorNotFinite(PriorFailed, errors.NotFinite):
  """A prior's answer, or its fit, holds NaN or infinity."""


class PriorLost(PriorFault):
  """A prior's process is gone or silent, and its proxy with it.

  An executor raises it when it has given up bringing the prior back.
  """

  verb = 'was lost'


class ReplyLost(PriorLost):
  """An answer was lost on its way; the process that gave it may be well."""


class Budget:
  """Counts the losses of one prior, and raises when there were too many.

  Args:
    max_losses: that are allowed within the window.
    window_s: seconds; math.inf counts all losses, however old.
    clock: tells the time, in seconds.
  """

  def __init__(
    self,
    max_losses: int,
    window_s: float,
    clock: Callable[[], float] = time.monotonic,
  ):
    self._max_losses = max_losses
    self._window_s = window_s
    self._clock = clock
    self._losses: collections.deque[float] = collections.deque()

  def spend(self, fault: PriorLost) -> None:
    """Counts a loss; raises PriorLost with its cause if it was one too many."""
    now = self._clock()
    while self._losses and now - self._losses[0] > self._window_s:
      self._losses.popleft()
    self._losses.append(now)
    if len(self._losses) > self._max_losses:
      within = (
        f' within {self._window_s:g} s' if math.isfinite(self._window_s) else ''
      )
      raise PriorLost(
        fault.prior,
        fault.step,
        f'{fault.cause}; that is loss number {len(self._losses)}{within}, and '
        f'{self._max_losses} are allowed',
      ) from fault


def one_line(cause: str) -> str:
  """Returns the text in one line, with single spaces."""
  return ' '.join(cause.split())


def describe(error: BaseException) -> str:
  """Returns e.g. "ValueError: expected ..." in one line."""
  return one_line(f'{type(error).__name__}: {error}'.removesuffix(': '))
