"""A learner that compiles while its run does something else.

A run waits for Ray, and for priors that load, as long as its learner compiles.
"""

from concurrent import futures
import dataclasses

import jax

from mmdist.core import representation as representation_lib
from mmdist.learner import distill


def begin(
  learner: distill.Learner, params: representation_lib.Params
) -> distill.Learner:
  """Begins to compile a learner in a thread of its own.

  Args:
    learner: of `distill.make_learner`.
    params: as its `warm_up` takes them.

  Returns:
    The learner, whose `warm_up` waits for that thread, and raises what was
    raised in it.
  """
  # Processes that compute together have to compute in the same order, which
  # two threads do not keep.
  if jax.process_count() > 1:
    return learner
  pool = futures.ThreadPoolExecutor(1, 'mmdist-warm-up')
  compiled = pool.submit(learner.warm_up, params)
  pool.shutdown(wait=False)

  def wait(params: representation_lib.Params) -> None:
    del params  # The same.
    compiled.result()

  return dataclasses.replace(learner, warm_up=wait)
