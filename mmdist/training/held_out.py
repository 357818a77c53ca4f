"""Pictures that a prior never trains on, and what is said about it by them."""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import TYPE_CHECKING

import numpy as np

from mmdist.heads import sentences
from mmdist.heads import shards as head_shards

if TYPE_CHECKING:
  from mmdist.priors import pipeline as pipelines

NUM_PICTURES = 256
GREY = 0.8  # Behind all of them.


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """Fixed pictures with captions that say everything.

  Attributes:
    images: [N, H, W, 3] float32 in [0, 1].
    texts: N captions.
  """

  images: np.ndarray
  texts: Sequence[str]

  def line(self, pipeline: 'pipelines.Pipeline') -> str:
    """Returns a line about how well a prior denoises them."""
    from mmdist.priors.training import denoised_psnr

    levels = denoised_psnr.LEVELS
    found = denoised_psnr.denoised_psnr(
      pipeline, self.images, self.texts, levels
    )
    said = ', '.join(
      f'{psnr:.2f} at {level}'
      for psnr, level in zip(found, levels, strict=True)
    )
    return f'held out: PSNR of {len(self.texts)} pictures in dB by t: {said}'


def read(folder: pathlib.Path, channel: str) -> HeldOut:
  """Takes `NUM_PICTURES` of the first shard, evenly spread, or all it has.

  Args:
    folder: of shards.
    channel: 'rgb' or 'normal'.

  Raises:
    FileNotFoundError: there is no shard.
  """
  path = head_shards.list_shards(folder)[0]
  labels, pixels = (
    head_shards.read_labels(path),
    head_shards.read_pixels(path, channel),
  )
  normal = channel == 'normal'
  prefix = sentences.NORMAL_PREFIX if normal else sentences.COLOR_PREFIX
  texts = [
    labels.world.captions.describe(attributes, view, prefix)
    for attributes, view in zip(labels.attributes, labels.views, strict=True)
  ]
  # A head that wears everything has more to it than a prior can read.
  fitting = np.flatnonzero([sentences.fits(text) for text in texts])
  spread = np.linspace(0, len(fitting) - 1, min(NUM_PICTURES, len(fitting)))
  rows = fitting[spread.astype(int)]
  images = pixels[rows].astype(np.float32) / 255
  if not normal:
    images = images[..., :3] + (1 - images[..., 3:]) * np.float32(GREY)
  return HeldOut(images, [texts[i] for i in rows])
