"""Pictures that a prior never trains on, and what is said about it by them."""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import TYPE_CHECKING

import numpy as np

from mmdist.heads import kinship
from mmdist.heads import sentences
from mmdist.heads import shards as head_shards

if TYPE_CHECKING:
  from mmdist.priors import pipeline as pipelines

NUM_PICTURES = 256
NUM_FAMILIES = 24  # Of each sort.
GREY = 0.8  # Behind all of them.


@dataclasses.dataclass(frozen=True)
class Families:
  """Fixed families of siblings with captions that say everything.

  Attributes:
    name: what they differ in.
    images: [F, S, H, W, 3] float32 in [0, 1].
    texts: F rows of S captions.
  """

  name: str
  images: np.ndarray
  texts: Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """Fixed pictures with captions that say everything.

  Attributes:
    images: [N, H, W, 3] float32 in [0, 1].
    texts: N captions.
    families: siblings, if the folder has any.
  """

  images: np.ndarray
  texts: Sequence[str]
  families: Sequence[Families] = ()

  def lines(self, pipeline: 'pipelines.Pipeline') -> list[str]:
    """Returns how well a prior denoises them, and what it makes of words."""
    lines = [self._denoised(pipeline)]
    if self.families:
      lines.append(self._told(pipeline))
    return lines

  def _told(self, pipeline: 'pipelines.Pipeline') -> str:
    from mmdist.priors.training import told

    parts = []
    for families in self.families:
      shares = told.told(pipeline, families.images, families.texts)
      said = ', '.join(f'{share:.2%}' for share in shares)
      parts.append(f'{families.name} {said}')
    levels = ', '.join(map(str, told.LEVELS))
    return (
      f'held out: words tell of what siblings differ in, at t of {levels}: '
      f'{"; ".join(parts)}'
    )

  def _denoised(self, pipeline: 'pipelines.Pipeline') -> str:
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
  """Takes pictures of the first shard, and families of the first of siblings.

  Of a shard `NUM_PICTURES`, evenly spread, or all it has; of siblings
  `NUM_FAMILIES` that differ in expression, and as many that differ in something
  else, evenly spread too, as neighbours may be views of the same heads. What
  has more to it than a prior can read is left out.

  Args:
    folder: of shards.
    channel: 'rgb' or 'normal'.

  Raises:
    FileNotFoundError: there is no shard.
  """
  path = head_shards.list_shards(folder)[0]
  images = head_shards.read_pixels(path, channel)
  texts = _texts(head_shards.read_labels(path), channel)
  fitting = np.flatnonzero([sentences.fits(text) for text in texts])
  rows = _spread(fitting, NUM_PICTURES)
  return HeldOut(
    _floats(images[rows], channel),
    [texts[i] for i in rows],
    _read_families(folder, channel),
  )


def _read_families(folder: pathlib.Path, channel: str) -> tuple[Families, ...]:
  """Returns the families of expressions and the others; () without siblings."""
  paths = head_shards.list_siblings(folder)
  if not paths:
    return ()
  images = head_shards.read_pixels(paths[0], channel)
  labels = head_shards.read_labels(paths[0])
  texts = _texts(labels, channel)
  expressions = [attributes.expression for attributes in labels.attributes]
  size = kinship.FAMILY_SIZE
  firsts: dict[bool, list[int]] = {True: [], False: []}
  for first in range(0, len(texts), size):
    rows = slice(first, first + size)
    differ = len(set(expressions[rows])) > 1
    if all(map(sentences.fits, texts[rows])):
      firsts[differ].append(first)
  families = []
  for name, found in (('expressions', firsts[True]), ('others', firsts[False])):
    chosen = [slice(i, i + size) for i in _spread(found, NUM_FAMILIES)]
    if chosen:
      pictures = np.stack([_floats(images[rows], channel) for rows in chosen])
      families.append(
        Families(name, pictures, [texts[rows] for rows in chosen])
      )
  return tuple(families)


def _spread(rows: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
  """Returns `count` of the rows, evenly spread; all if there are fewer."""
  places = np.linspace(0, len(rows) - 1, min(count, len(rows)))
  return np.asarray(rows, int)[places.astype(int)]


def _texts(labels: head_shards.Labels, channel: str) -> list[str]:
  """Returns captions that say everything, as a prior of that channel reads."""
  normal = channel == 'normal'
  prefix = sentences.NORMAL_PREFIX if normal else sentences.COLOR_PREFIX
  return [
    labels.world.captions.describe(attributes, view, prefix)
    for attributes, view in zip(labels.attributes, labels.views, strict=True)
  ]


def _floats(pixels: np.ndarray, channel: str) -> np.ndarray:
  """Returns [N, H, W, 3] float32 in [0, 1]; colours over `GREY`."""
  images = pixels.astype(np.float32) / 255
  if channel == 'normal':
    return images
  return images[..., :3] + (1 - images[..., 3:]) * np.float32(GREY)
