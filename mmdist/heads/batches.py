"""Batches of head pictures with fresh captions, for training priors.

A batch depends on (seed, step, rank) and on which shards are on disk: shards
that another process finishes meanwhile join in, so training need not wait for
rendering. What is drawn is `mmdist.heads.drawing`'s.
"""

import functools
import pathlib

import numpy as np

from mmdist.heads import drawing
from mmdist.heads import shards as head_shards

REFRESH_EVERY = 400  # Steps between looks for new shards.


class HeadBatches:
  """Draws batches for one channel.

  Attributes:
    channel: 'rgb' (over random greys) or 'normal' (over mid-grey).
    batch_size: B per rank.
    prefix: how captions start; see `drawing.Drawer`.
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
      UserError: shards of several worlds.
    """
    self.channel = channel
    self.batch_size = batch_size
    self.prefix = prefix
    self._folder = pathlib.Path(folder)
    self._seed, self._rank, self._num_ranks = seed, rank, num_ranks
    self._read = functools.cache(head_shards.read_shard)
    self._refresh()

  def _refresh(self) -> None:
    """Reads shards that are new; each rank reads its own part of them."""
    head_shards.world_of(self._folder)
    # Sorted by name, so that a resumed run draws the same.
    shards, siblings = (
      [self._read(path) for path in self._share_of(paths)]
      for paths in (
        head_shards.list_shards(self._folder),
        head_shards.list_siblings(self._folder),
      )
    )
    self._pixels = shards + siblings
    self._drawer = drawing.Drawer(
      shards,
      siblings,
      self.channel,
      self.batch_size,
      self._seed,
      self._rank,
      self.prefix,
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
    drawn = self._drawer.draw(step)
    images = [
      self._image(int(number), int(i), grey)
      for number, i, grey in zip(
        drawn.shards, drawn.indices, drawn.greys, strict=True
      )
    ]
    return np.stack(images), drawn.texts, drawn.families

  def _image(self, number: int, i: int, grey: np.float32) -> np.ndarray:
    shard = self._pixels[number]
    if self.channel == 'normal':
      return shard.normals[i].astype(np.float32) / 255
    rgba = shard.rgba[i].astype(np.float32) / 255
    return rgba[..., :3] + (1 - rgba[..., 3:]) * grey
