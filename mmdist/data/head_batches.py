"""Batches of head pictures with fresh captions, for training priors.

A batch depends on (seed, step, rank) and on which shards are on disk: shards
that another process finishes meanwhile join in, so training need not wait for
rendering.
"""

import pathlib

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import seeds
from mmdist.data import captions
from mmdist.data import head_shards

BACKGROUND = (0.35, 1.0)  # Greys; optimisation draws from the same range.
REFRESH_EVERY = 400  # Steps between looks for new shards.
# Drawn more or less often than they were rendered: an expression is a dozen
# pixels of a whole head, and is learned from mouths.
EMPHASIS = {'mouth': 5.0, 'back': 0.5, 'hair': 0.5, 'chest': 0.5}


class HeadBatches:
  """Draws (images, captions) batches for one channel.

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
    self.channel = channel
    self.batch_size = batch_size
    self.prefix = prefix
    self._folder = pathlib.Path(folder)
    self._seed, self._rank, self._num_ranks = seed, rank, num_ranks
    self._shards: dict[str, head_shards.HeadShards] = {}
    self._odds: dict[str, np.ndarray] = {}
    self._refresh()

  def _refresh(self) -> None:
    """Reads shards that are new; ranks share them out."""
    mine = head_shards.list_shards(self._folder)
    mine = mine[self._rank :: self._num_ranks] or mine
    # In the order of their names, so that a resumed run draws the same.
    self._shards = {
      path.name: self._shards.get(path.name) or head_shards.read_shard(path)
      for path in mine
    }
    self._odds = {
      name: self._odds.get(name, orbits.cumulative_odds(shard.views, EMPHASIS))
      for name, shard in self._shards.items()
    }

  def batch(self, step: int) -> tuple[np.ndarray, list[str]]:
    """Returns ([B, H, W, 3] float32 in [0, 1], B captions) of a step."""
    if step % REFRESH_EVERY == 0:
      self._refresh()
    rng = seeds.generator(self._seed, step, f'head batch {self._rank}')
    names = list(self._shards)
    picks = [
      (
        self._shards[name],
        int(self._odds[name].searchsorted(rng.random(), side='right')),
      )
      for name in (
        names[k] for k in rng.integers(0, len(names), self.batch_size)
      )
    ]
    images = np.stack([self._image(shard, i, rng) for shard, i in picks])
    texts = [
      captions.caption(shard.attributes[i], shard.views[i], rng, self.prefix)
      for shard, i in picks
    ]
    return images, texts

  def _image(self, shard, i, rng):
    if self.channel == 'normal':
      return shard.normals[i].astype(np.float32) / 255
    rgba = shard.rgba[i].astype(np.float32) / 255
    grey = np.float32(rng.uniform(*BACKGROUND))
    return rgba[..., :3] + (1 - rgba[..., 3:]) * grey
