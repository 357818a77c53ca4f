"""Batches of head pictures with fresh captions, for training priors.

A batch depends on (seed, step, rank) and on which shards are on disk: shards
that another process finishes meanwhile join in, so training need not wait for
rendering.
"""

from collections.abc import Sequence
import functools
import pathlib

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import seeds
from mmdist.heads import captions
from mmdist.heads import shards as head_shards
from mmdist.heads import siblings as head_siblings

BACKGROUND = (0.35, 1.0)  # Greys; optimisation draws from the same range.
REFRESH_EVERY = 400  # Steps between looks for new shards.
# View word -> weight: these views teach little, so they are drawn less often.
EMPHASIS = {'back': 0.5, 'hair': 0.5, 'chest': 0.5}
# The share of a batch that is families; a family shares one noise.
SIBLINGS_SHARE = 0.6


class HeadBatches:
  """Draws batches for one channel.

  Attributes:
    channel: 'rgb' (over random greys) or 'normal' (over mid-grey).
    batch_size: B per rank.
    prefix: how captions start; None lets `captions.caption` vary it.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    channel: str,
    batch_size: int,
    seed: int,
    rank: int = 0,
    num_ranks: int = 1,
    prefix: str | None = None,
  ):
    """Reads the shards that are there.

    Args:
      folder: of the shards.
      channel: see the class, as `batch_size` and `prefix`.
      batch_size: B.
      seed: decides every draw.
      rank: which of the processes that train together, from 0.
      num_ranks: how many there are; each reads a part of the shards.
      prefix: how captions start.

    Raises:
      FileNotFoundError: there is no shard.
    """
    self.channel = channel
    self.batch_size = batch_size
    self.prefix = prefix
    self._folder = pathlib.Path(folder)
    self._seed, self._rank, self._num_ranks = seed, rank, num_ranks
    self._shards: list[head_shards.HeadShards] = []
    self._siblings: list[head_shards.HeadShards] = []
    self._read = functools.cache(head_shards.read_shard)
    self._refresh()

  def _refresh(self) -> None:
    """Reads shards that are new; each rank reads its own part of them."""
    # Sorted by name, so that a resumed run draws the same.
    self._shards, self._siblings = (
      [self._read(path) for path in self._share_of(paths)]
      for paths in (
        head_shards.list_shards(self._folder),
        head_shards.list_siblings(self._folder),
      )
    )

  def _share_of(self, paths: list[pathlib.Path]) -> list[pathlib.Path]:
    return paths[self._rank :: self._num_ranks] or paths

  def batch(self, step: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Returns the batch of a step.

    Returns:
      images [B, H, W, 3] float32 in [0, 1], B captions, and B numbers:
      pictures with the same number are of one family, and are to be trained
      with the same noise.
    """
    if step % REFRESH_EVERY == 0:
      self._refresh()
    rng = seeds.generator(self._seed, step, f'head batch {self._rank}')
    size = head_siblings.FAMILY_SIZE
    num_families = (
      round(SIBLINGS_SHARE * self.batch_size / size) if self._siblings else 0
    )
    rows = [self._family(rng) for _ in range(num_families)]
    rows += [
      self._single(rng) for _ in range(self.batch_size - num_families * size)
    ]
    images, texts, families = [], [], []
    for number, (shard, indices) in enumerate(rows):
      # One seed for a whole family: all its captions leave out the same
      # attributes, and all its pictures have the same grey background.
      seed = int(rng.integers(2**32))
      for i in indices:
        twin = seeds.generator(self._seed, seed, 'caption and grey')
        images.append(self._image(shard, i, twin))
        texts.append(
          captions.caption(
            shard.attributes[i], shard.views[i], twin, self.prefix
          )
        )
        families.append(number)
    return np.stack(images), texts, np.array(families)

  def _single(
    self, rng: np.random.Generator
  ) -> tuple[head_shards.HeadShards, Sequence[int]]:
    shard = self._shards[rng.integers(len(self._shards))]
    odds = _odds(shard.views)
    return shard, [int(odds.searchsorted(rng.random(), side='right'))]

  def _family(
    self, rng: np.random.Generator
  ) -> tuple[head_shards.HeadShards, Sequence[int]]:
    shard = self._siblings[rng.integers(len(self._siblings))]
    size = head_siblings.FAMILY_SIZE
    first = size * int(rng.integers(len(shard) // size))
    return shard, range(first, first + size)

  def _image(
    self, shard: head_shards.HeadShards, i: int, rng: np.random.Generator
  ) -> np.ndarray:
    if self.channel == 'normal':
      return shard.normals[i].astype(np.float32) / 255
    rgba = shard.rgba[i].astype(np.float32) / 255
    grey = np.float32(rng.uniform(*BACKGROUND))
    return rgba[..., :3] + (1 - rgba[..., 3:]) * grey


@functools.cache
def _odds(views: tuple[str, ...]) -> np.ndarray:
  return orbits.cumulative_odds(views, EMPHASIS)
