"""How the residuals of several concepts on one image become one residual.

Pure arithmetic, in operators that numpy and torch spell alike, so a prior
composes its concepts on its own device before it takes the sum back to pixels.
Every mode looks at one view at a time: which other views share the request
never matters.
"""

from collections.abc import Sequence
import math
from typing import Any, TypeVar

from mmdist.core import errors

MODES = ('sum', 'perp', 'renorm')
# A numpy array or a torch tensor. They share operators and no type that could
# be written here without importing torch, so the arithmetic below is untyped.
Array = TypeVar('Array')


def transform(
  residuals: Array, weights: Sequence[float], mode: str = 'sum'
) -> list[Array]:
  """Returns each concept's residual as a mode changes it, not yet weighted.

  `sum` is the paper's (MagicMirror, Eq. 6) and changes nothing. In `perp` each
  negative concept loses its component along the summed positives, so that
  removing one thing cannot undo another. In `renorm` every concept's residual
  is scaled to a root mean square of 1 on every view before it is weighted; a
  residual of exactly zero stays zero, since it has no direction.

  Args:
    residuals: [M, V, ...] unweighted residuals, numpy or torch.
    weights: M signed weights.
    mode: one of `MODES`.

  Returns:
    M residuals [V, ...]; `add` sums them.

  Raises:
    UserError: the mode is unknown, or weights and residuals differ in number.
  """
  if mode not in MODES:
    raise errors.UserError(
      f"composition mode is '{mode}'; expected one of: {', '.join(MODES)}."
    )
  parts: Any = residuals
  if len(parts) != len(weights) or not len(weights):
    raise errors.UserError(
      f'{len(parts)} residuals came with {len(weights)} weights; expected '
      'as many, and at least one.'
    )
  if mode == 'renorm':
    return [_normalize(residual) for residual in parts]
  if mode == 'perp':
    return _clear_of_positives(parts, weights)
  return list(parts)


def add(
  parts: Sequence[Array], weights: Sequence[float], mode: str = 'sum'
) -> Array:
  """Sums what `transform` returned, with the concepts' weights.

  They are added in the order of the concepts. In `perp` the positive ones come
  first, so that their sum has the same bits as the one in `transform`.

  Args:
    parts: M residuals [V, ...], as `transform` returned them.
    weights: M signed weights.
    mode: one of `MODES`.

  Returns:
    [V, ...] of the residuals' type.
  """
  pairs = list(zip(parts, weights, strict=True))
  if mode == 'perp':
    pairs.sort(key=lambda pair: pair[1] <= 0)
  return _weighted_sum(*zip(*pairs, strict=True))


def _weighted_sum(residuals: Sequence[Any], weights: Sequence[float]) -> Any:
  total = residuals[0] * float(weights[0])
  for residual, weight in zip(residuals[1:], weights[1:], strict=True):
    total = total + residual * float(weight)
  return total


def _per_view(residual: Any, other: Any) -> Any:
  """Returns the [V, 1, ...] inner products of two [V, ...] residuals."""
  products = (residual * other).reshape(residual.shape[0], -1).sum(-1)
  return products.reshape((-1,) + (1,) * (residual.ndim - 1))


def _normalize(residual: Any) -> Any:
  """Scales each view to a root mean square of 1; a view of zeros stays zero."""
  scaled = _near_one(residual)
  size = scaled[0].reshape(-1).shape[0]
  rms = (_per_view(scaled, scaled) / size) ** 0.5
  return scaled / (rms + (rms == 0))


def _near_one(residual: Any) -> Any:
  """Scales each view by a power of two, so that its largest number is near 1.

  The square of a float32 is infinite from 1.8e19 on, and zero below 2.6e-23.
  Without this, the direction of such a view would be lost.
  """
  scaled = residual * 1.0  # A copy.
  for view in range(len(scaled)):
    # A power of two changes no digit. So a view that needs no scaling is
    # composed to the same bits as without it.
    scaled[view] *= _power_of_two(float(abs(scaled[view]).max()))
  return scaled


def _power_of_two(size: float) -> float:
  """Returns about 1 / size, or 1 where size is zero, infinite or NaN."""
  if not 0 < size < math.inf:
    return 1.0
  _, exponent = math.frexp(size)
  # Float32 has no full digits below 2^-126.
  return 2.0 ** min(max(-exponent, -126), 126)


def _clear_of_positives(
  residuals: Sequence[Any], weights: Sequence[float]
) -> list[Any]:
  """Takes from each negative its component along the positives' sum."""
  pairs = list(zip(residuals, weights, strict=True))
  positives = [pair for pair in pairs if pair[1] > 0]
  if not positives:
    return list(residuals)
  # Its length does not matter here, only where it points to.
  wanted = _near_one(_weighted_sum(*zip(*positives, strict=True)))
  length = _per_view(wanted, wanted)
  # Where the positives sum to zero there is no direction to keep clear of.
  length = length + (length == 0)
  return [
    residual
    if weight > 0
    else residual - wanted * (_per_view(residual, wanted) / length)
    for residual, weight in pairs
  ]
