"""Which pictures a step of a prior's training sees, and what is said of them.

Owns the draws, which depend on (seed, step, rank) and on the shards alone, and
no pixel. `mmdist.heads.batches` adds the pictures; `mmdist.heads.prefetch`
draws ahead in other processes, so nothing here imports JAX.
"""

from collections.abc import Sequence
import dataclasses
import functools

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import seeds
from mmdist.heads import kinship
from mmdist.heads import shards as head_shards
from mmdist.heads import worlds

BACKGROUND = (0.35, 1.0)  # Greys; optimisation draws from the same range.
# View word -> weight: these views teach little, so they are drawn less often.
EMPHASIS = {'back': 0.5, 'hair': 0.5, 'chest': 0.5}
# The share of a batch that is families; a family shares one noise.
SIBLINGS_SHARE = 0.6


@dataclasses.dataclass(frozen=True)
class Draws:
  """What one step sees.

  Attributes:
    shards: [B] int, the shard of each picture, counted through the shards and
      then through those of siblings.
    indices: [B] int, the picture's row in its shard.
    greys: [B] float32 in [0, 1], what lies behind it; 0 for normals.
    texts: B captions.
    families: [B] int, the number of its family; pictures of the same number
      are to be trained with the same noise.
  """

  shards: np.ndarray
  indices: np.ndarray
  greys: np.ndarray
  texts: list[str]
  families: np.ndarray


def family_numbers(batch_size: int, has_siblings: bool) -> np.ndarray:
  """Returns `Draws.families`, which is the same at every step.

  Families come first, `kinship.FAMILY_SIZE` pictures each; then pictures on
  their own.
  """
  size = kinship.FAMILY_SIZE
  num_families = (
    round(SIBLINGS_SHARE * batch_size / size) if has_siblings else 0
  )
  num_singles = batch_size - num_families * size
  return np.concatenate(
    [
      np.repeat(np.arange(num_families), size),
      np.arange(num_families, num_families + num_singles),
    ]
  )


@dataclasses.dataclass(frozen=True)
class Drawer:
  """Draws the steps of one training.

  Attributes:
    shards: labels of the shards, at least one.
    siblings: labels of the shards of siblings; may be empty.
    channel: 'rgb' or 'normal'; normals lie over no grey.
    batch_size: B.
    seed: decides every draw.
    rank: which of the processes that train together, from 0.
    prefix: how captions start; None lets `sentences.Captions.caption` vary it.
  """

  shards: Sequence[head_shards.Labels]
  siblings: Sequence[head_shards.Labels]
  channel: str
  batch_size: int
  seed: int
  rank: int = 0
  prefix: str | None = None

  @functools.cached_property
  def world(self) -> worlds.World:
    """The world of the shards; UserError if they are of several."""
    return head_shards.common_world([*self.shards, *self.siblings])

  def draw(self, step: int) -> Draws:
    """Returns the draws of a step."""
    rng = seeds.generator(self.seed, step, f'head batch {self.rank}')
    families = family_numbers(self.batch_size, bool(self.siblings))
    counts = np.bincount(families)
    rows = [
      self._family(rng) if count > 1 else self._single(rng) for count in counts
    ]
    shards, indices, greys, texts = [], [], [], []
    for number, members in rows:
      labels = self._labels(number)
      # One seed for a whole family: all its captions leave out the same
      # attributes, and all its pictures have the same grey background.
      seed = int(rng.integers(2**32))
      for i in members:
        twin = seeds.generator(self.seed, seed, 'caption and grey')
        shards.append(number)
        indices.append(i)
        greys.append(
          0.0 if self.channel == 'normal' else twin.uniform(*BACKGROUND)
        )
        texts.append(
          self.world.captions.caption(
            labels.attributes[i], labels.views[i], twin, self.prefix
          )
        )
    return Draws(
      np.array(shards),
      np.array(indices),
      np.array(greys, np.float32),
      texts,
      families,
    )

  def _labels(self, number: int) -> head_shards.Labels:
    first = len(self.shards)
    if number < first:
      return self.shards[number]
    return self.siblings[number - first]

  def _single(self, rng: np.random.Generator) -> tuple[int, Sequence[int]]:
    number = int(rng.integers(len(self.shards)))
    odds = _odds(self.shards[number].views)
    return number, [int(odds.searchsorted(rng.random(), side='right'))]

  def _family(self, rng: np.random.Generator) -> tuple[int, Sequence[int]]:
    number = int(rng.integers(len(self.siblings)))
    size = kinship.FAMILY_SIZE
    first = size * int(rng.integers(len(self.siblings[number]) // size))
    return len(self.shards) + number, range(first, first + size)


@functools.cache
def _odds(views: tuple[str, ...]) -> np.ndarray:
  return orbits.cumulative_odds(views, EMPHASIS)
