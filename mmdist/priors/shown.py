"""What a prior has been shown in the step that it is in, part by part.

The fit of a step is on the renders of all of its parts, and what is told of an
answer is about all of them so far.
"""

from collections.abc import Sequence
import dataclasses

import torch

from mmdist.core import messages
from mmdist.priors import noising
from mmdist.priors import term_sizes


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
  """The renders of one request, as the networks saw them.

  Attributes:
    request: what was asked.
    noised: the renders.
    sizes: of the answer.
    seconds: that it took.
  """

  request: messages.ScoreRequest
  noised: noising.Noised
  sizes: term_sizes.Sizes
  seconds: float


def before(
  parts: Sequence[Shown], request: messages.ScoreRequest
) -> list[Shown]:
  """Returns those of the parts that are of the request's step and before it.

  A request that is asked again is therefore not behind itself.
  """
  return [
    part
    for part in parts
    if part.request.step == request.step
    and part.request.proxy_step == request.proxy_step
    and part.request.first_view < request.first_view
  ]


def count_views(parts: Sequence[Shown]) -> int:
  """Returns of how many views the parts are."""
  return sum(len(part.request.images) for part in parts)


def is_complete(parts: Sequence[Shown]) -> bool:
  """Returns whether the parts are a whole step."""
  return bool(parts) and parts[-1].request.is_last


def metrics(parts: Sequence[Shown]) -> dict[str, float]:
  """Returns what is told of the answers to all parts together."""
  sizes = parts[0].sizes
  for part in parts[1:]:
    sizes += part.sizes
  return {**sizes.metrics(), 'seconds': sum(part.seconds for part in parts)}


def join(parts: Sequence[Shown]) -> noising.Noised:
  """Returns the noised renders of all parts, in their order."""
  if len(parts) == 1:
    return parts[0].noised
  fields = [field.name for field in dataclasses.fields(noising.Noised)]
  return noising.Noised(
    *(
      torch.cat([getattr(part.noised, name) for part in parts])
      for name in fields
    )
  )
