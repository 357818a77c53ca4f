"""How large each concept's part of an answer is, and where it points.

Where a step asks in parts, sums of squares and of products are added up over
them, so that the metrics are those of the whole step.
"""

from collections.abc import Sequence
import dataclasses
import math

import torch


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Norms and inner products, of the views of one request or of several.

  Attributes:
    norms: of each term's part.
    inners: of each term's part with the sum of all parts.
    total: norm of that sum.
    count: numbers that each of them has.
  """

  norms: tuple[float, ...]
  inners: tuple[float, ...]
  total: float
  count: int

  def __add__(self, other: 'Sizes') -> 'Sizes':
    """Returns those of these views and the other ones together."""
    return Sizes(
      tuple(map(math.hypot, self.norms, other.norms)),
      tuple(a + b for a, b in zip(self.inners, other.inners, strict=True)),
      math.hypot(self.total, other.total),
      self.count + other.count,
    )

  def metrics(self) -> dict[str, float]:
    """Returns of each term `norm_i`, `cosine_i` and `share_i`.

    A share is the part's component along the sum, relative to the sum's length:
    shares add up to 1, and that of a part which works against the sum is
    negative. The norm is that of its part of dL/d image where the codec only
    rearranges pixels; else it leaves out the resize and the encoder, whose
    backward pass per term would cost too much.
    """
    metrics = {}
    for index, (norm, inner) in enumerate(
      zip(self.norms, self.inners, strict=True)
    ):
      product = norm * self.total
      # The factor 2 is the slope of 2x - 1, which is what networks see of x.
      metrics[f'norm_{index}'] = 2 * norm / self.count
      # A residual of zero has no direction; NaN stays NaN.
      metrics[f'cosine_{index}'] = inner / product if product else 0.0
      metrics[f'share_{index}'] = (
        norm / self.total * metrics[f'cosine_{index}'] if self.total else 0.0
      )
    return metrics


def measure(
  weights: Sequence[float], parts: Sequence[torch.Tensor], total: torch.Tensor
) -> Sizes:
  """Measures the answer to one request.

  Args:
    weights: of each asked term; those that share a residual have their own.
    parts: of each asked term [V, C, h, w], weighted by w(t) and changed by the
      mode, not yet weighted by the term's weight.
    total: [V, C, h, w] their composition.
  """
  weighted = [w * part for w, part in zip(weights, parts, strict=True)]
  return Sizes(
    tuple(torch.linalg.vector_norm(part).item() for part in weighted),
    tuple((part * total).sum().item() for part in weighted),
    torch.linalg.vector_norm(total).item(),
    total.numel(),
  )
