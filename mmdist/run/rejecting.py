"""Steps that are left out because a number in them is not finite.

Owns which steps were rejected and how many are allowed. Everything that a step
does follows from its number, so a step that failed once would fail again: the
run goes back to its last snapshot and takes the steps since without it.
"""

import logging

from mmdist.config import schema
from mmdist.core import errors
from mmdist.distribution import faults

NOT_FINITE = errors.NotFinite


class Rejections:
  """The steps that a run leaves out.

  Args:
    config: whether it does, and how many in a row.
  """

  def __init__(self, config: schema.FaultsConfig):
    self._config = config
    self._steps: set[int] = set()

  def has(self, step: int) -> bool:
    """Returns whether a step is left out."""
    return step in self._steps

  def reject(self, error: Exception, step: int) -> None:
    """Leaves a step out from now on, or raises the error after all.

    Args:
      error: one of `NOT_FINITE`.
      step: in which the error appeared. That of a fit appears one step late;
        its own step is then read from the error.
    """
    if isinstance(error, faults.PriorFault) and error.step is not None:
      step = error.step
    self._steps.add(step)
    in_a_row = 1
    while step - in_a_row in self._steps:
      in_a_row += 1
    if self._config.on_nonfinite != 'reject':
      raise error
    if in_a_row > self._config.max_rejected:
      raise errors.NotFinite(
        f'{in_a_row} steps in a row were not finite, '
        f'{self._config.max_rejected} are allowed (faults.max_rejected); '
        f'the last: {error}'
      ) from error
    logging.warning('step %d is left out: %s', step, error)
