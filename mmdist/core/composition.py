"""How the pulls of several concepts on one image become one pull.

Pure arithmetic, in operators that numpy and torch spell alike, so a prior
composes its concepts on its own device before it pulls the sum back to pixels.
Every mode looks at one view at a time: which other views share the request
never matters.
"""

from collections.abc import Sequence

MODES = ('sum', 'perp', 'renorm')


def compose(pulls, weights: Sequence[float], mode: str = 'sum'):
  """Sums the pulls of M concepts with their signed weights.

  `sum` is the paper's (MagicMirror, Eq. 6). In `perp` each negative concept
  first loses its component along the summed positives, so that removing one
  thing cannot undo another. In `renorm` every concept pulls on every view with
  a root mean square of 1 before it is weighted; a pull of exactly zero stays
  zero, since it has no direction.

  Args:
    pulls: [M, V, ...] unweighted pulls, numpy or torch.
    weights: M signed weights.
    mode: one of `MODES`.

  Returns:
    [V, ...] of the pulls' type. Summed in the order of the concepts.

  Raises:
    ValueError: the mode is unknown, or weights and pulls differ in number.
  """
  if mode not in MODES:
    raise ValueError(
      f"composition mode is '{mode}'; expected one of: {', '.join(MODES)}."
    )
  if len(pulls) != len(weights) or not len(weights):
    raise ValueError(
      f'{len(pulls)} pulls came with {len(weights)} weights; expected as many, '
      'and at least one.'
    )
  if mode == 'renorm':
    pulls = [_normalize(pull) for pull in pulls]
  if mode == 'perp':
    return _sum_perpendicular(pulls, weights)
  return _weighted_sum(pulls, weights)


def _weighted_sum(pulls, weights):
  total = pulls[0] * float(weights[0])
  for pull, weight in zip(pulls[1:], weights[1:], strict=True):
    total = total + pull * float(weight)
  return total


def _per_view(pull, other):
  """Returns the [V, 1, ...] inner products of two [V, ...] pulls."""
  products = (pull * other).reshape(pull.shape[0], -1).sum(-1)
  return products.reshape((-1,) + (1,) * (pull.ndim - 1))


def _normalize(pull):
  size = pull[0].reshape(-1).shape[0]
  rms = (_per_view(pull, pull) / size) ** 0.5
  return pull / (rms + (rms == 0))


def _sum_perpendicular(pulls, weights):
  """Sums, each negative without its component along the positives' sum."""
  pairs = list(zip(pulls, weights, strict=True))
  positives = [pair for pair in pairs if pair[1] > 0]
  negatives = [pair for pair in pairs if pair[1] <= 0]
  if not positives:
    return _weighted_sum(pulls, weights)
  total = wanted = _weighted_sum(*zip(*positives, strict=True))
  length = _per_view(wanted, wanted)
  # Where the positives pull nowhere there is no direction to keep clear of.
  length = length + (length == 0)
  for pull, weight in negatives:
    pull = pull - wanted * (_per_view(pull, wanted) / length)
    total = total + pull * float(weight)
  return total
