"""What can be lost between the learner and its priors, and how it is told.

Every fault is one line for the person at the terminal, and survives pickling,
since it may be raised in one process and read in another.
"""


class DistributionError(RuntimeError):
  """The question could not be put to every prior, or not every one answered."""


class ClusterUnavailable(DistributionError):
  """Ray could not be started or reached, or has no room for a prior."""


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

  def __reduce__(self):
    return type(self), (self.prior, self.step, self.cause)


class PriorFailed(PriorFault):
  """A prior raised; its process lives, its state may be half a step ahead."""

  verb = 'failed'


class PriorLost(PriorFault):
  """A prior's process is gone or silent, and its proxy with it.

  With the last `save_proxies` a new process could go on from there.
  """

  verb = 'was lost'


def one_line(cause: str) -> str:
  """Returns the text with single spaces, so that it fits in a log line."""
  return ' '.join(cause.split())


def describe(error: BaseException) -> str:
  """Returns e.g. "ValueError: expected ..." in one line."""
  return one_line(f'{type(error).__name__}: {error}'.removesuffix(': '))
