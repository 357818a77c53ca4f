"""A step in parts: its views are cut, and the parts' gradients added up.

Each part is rendered and taken back by itself, so that the priors score one
while the learner is busy with another. The loss is a mean over all views of the
step (`dealing.Place`), so sums over parts are those of the whole step, up to
the rounding of sums in another order.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from mmdist.core import representation as representation_lib
from mmdist.learner import chunks as chunks_lib
from mmdist.learner import dealing
from mmdist.learner import passes

if TYPE_CHECKING:  # It imports this file.
  from mmdist.learner import distill


@dataclasses.dataclass(frozen=True)
class Pulled:
  """What the parts of a step so far have been taken back to.

  Attributes:
    step: of their batch.
    gradient: the sum of theirs, of the parameters.
    norms: of its leaves.
    terms: of the loss, those that need no cotangent.
    cotangents: by channel [V, H, W, 3], one after the other.
  """

  step: int
  gradient: representation_lib.Params
  norms: representation_lib.Params
  terms: Mapping[str, jax.Array]
  cotangents: Mapping[str, np.ndarray]


def cut(
  batch: 'distill.ViewBatch', num_parts: int
) -> list['distill.ViewBatch']:
  """Returns the batch in so many parts, whose sizes differ by one at most.

  So two shapes are compiled at most. One part is the batch itself.
  """
  if num_parts == 1:
    return [batch]
  return [
    dataclasses.replace(
      batch,
      views=batch.views.take(numbers),
      backgrounds=batch.backgrounds[numbers],
      first_view=int(numbers[0]),
      num_views=len(batch.views),
    )
    for numbers in np.array_split(np.arange(len(batch.views)), num_parts)
  ]


def place_of(
  batch: 'distill.ViewBatch', resolution: int, chunk_size: int
) -> dealing.Place | None:
  """Returns where a batch is in its step; None if it is the whole of it."""
  if not batch.num_views:
    return None
  first = chunks_lib.first_chunk_of(
    batch.first_view, batch.num_views, resolution, chunk_size
  )
  return dealing.Place(np.asarray(first, np.int32), batch.num_views)


def join_renders(
  parts: Sequence['distill.ViewRenders'],
) -> 'distill.ViewRenders':
  """Returns the renders of a step from those of its parts."""
  whole, *others = parts
  for part in others:
    whole = dataclasses.replace(
      whole,
      rgb=np.concatenate([whole.rgb, part.rgb]),
      normals=np.concatenate([whole.normals, part.normals]),
      acc=np.concatenate([whole.acc, part.acc]),
    )
  return whole


def add(before: Pulled, part: Pulled) -> Pulled:
  """Adds a part of a step to those before it; waits for neither."""
  (gradient, terms), norms = _add_trees(
    (before.gradient, before.terms), (part.gradient, part.terms)
  )
  return Pulled(
    part.step,
    gradient,
    norms,
    terms,
    {
      name: np.concatenate([one, part.cotangents[name]])
      for name, one in before.cotangents.items()
    },
  )


@jax.jit
def _add_trees(one: Any, other: Any) -> tuple[Any, representation_lib.Params]:
  """Returns the sums of two gradients and of their terms, and the norms."""
  total: Any = jax.tree.map(jnp.add, one, other)
  return total, passes.norms_of(total[0])
