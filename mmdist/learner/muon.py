"""Muon for the matrices of a representation, Adam for everything else.

A step along a matrix of gradients mostly moves the few directions in which
these are large. Muon takes the nearest orthogonal matrix instead, which moves
all of them alike. A conditional NeRF of many people is then after half of the
steps where Adam brings it with all of them (docs/results.md, 'The search space
of people').

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the rate
is that of Liu et al. 2025, arXiv:2502.16982, by which an entry of a matrix
moves as far as Adam would move it. For the priors' networks, which are torch's,
there is `mmdist.priors.training.matrix_optimizer`.
"""

from typing import Any

import jax
import optax
from optax import contrib

from mmdist.core import representation as representation_lib

# Of its rate to that of Adam.
RATE_RATIO = 2.5
# Of an entry's step to the rate, as Adam's are in the mean.
_STEP_RMS = 0.2
# What has fewer rows or columns maps no features: densities, colours.
_SMALLEST = 8
# Tables with a row for each subject, of which most have no gradient in a step.
_NO_MATRICES = ('code', 'codes')


def make(
  rate: optax.Schedule, b2: float, eps: float
) -> optax.GradientTransformation:
  """Returns the optimiser.

  Args:
    rate: of Adam; see `RATE_RATIO`.
    b2: of Adam's second moments.
    eps: Adam's.
  """
  return contrib.muon(
    lambda count: RATE_RATIO * rate(count),
    adam_learning_rate=rate,
    adam_b2=b2,
    eps=eps,
    consistent_rms=_STEP_RMS,
    muon_weight_dimension_numbers=_matrices,
  )


def _matrices(params: representation_lib.Params) -> Any:
  """Returns how each leaf is a matrix [inputs, outputs]; None: it is none."""

  def matrix(
    path: tuple[Any, ...], leaf: jax.Array
  ) -> contrib.MuonDimensionNumbers | None:
    is_table = getattr(path[0], 'key', '') in _NO_MATRICES if path else False
    if is_table or leaf.ndim != 2 or min(leaf.shape) < _SMALLEST:
      return None
    return contrib.MuonDimensionNumbers()

  return jax.tree_util.tree_map_with_path(matrix, params)
