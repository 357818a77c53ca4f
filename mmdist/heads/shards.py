"""Pictures of procedural heads on disk, for training priors and the judge.

A shard is `shard_00012.npz` (rgba and normals, uint8) beside
`shard_00012.jsonl` (attributes and view word per picture). Shard k depends on
(seed, k) alone, so any number of processes can fill one folder. In
`siblings_00012.npz` the rows are families of one body from one view, see
`mmdist.heads.siblings`.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import atomic
from mmdist.core import seeds
from mmdist.core import strict_json
from mmdist.heads import attributes as head_attributes
from mmdist.heads import siblings as head_siblings

if TYPE_CHECKING:
  from mmdist.heads import subjects

SHARD_SIZE = 1024
NUM_FAMILIES = SHARD_SIZE // head_siblings.FAMILY_SIZE


def write_shard(
  folder: pathlib.Path,
  seed: int,
  number: int,
  resolution: int = 64,
  allow_held_out: bool = False,
) -> pathlib.Path:
  """Renders one shard, unless it is there; whole or not at all.

  Args:
    folder: where it is written; made if need be.
    seed: family of the heads.
    number: of the shard.
    resolution: H = W, a multiple of 4.
    allow_held_out: also draw combinations that priors never train on.

  Returns:
    The shard's `.npz` file.
  """
  from mmdist.heads import subjects  # Here, since it imports JAX.

  path = folder / f'shard_{number:05d}.npz'
  rng = seeds.generator(seed, number, 'views of a shard')
  views = orbits.sample(SHARD_SIZE, rng)
  first = number * SHARD_SIZE
  people = (
    subjects.sample_head(seed, first + i, allow_held_out=allow_held_out)
    for i in range(SHARD_SIZE)
  )
  return _write(path, people, views, resolution)


def write_siblings(
  folder: pathlib.Path,
  seed: int,
  number: int,
  resolution: int = 64,
  kinds: Sequence[str] = (),
) -> pathlib.Path:
  """Renders one shard of siblings, unless it is there; whole or not at all.

  Args:
    folder: where it is written; made if need be.
    seed: decides the families.
    number: of the shard.
    resolution: H = W, a multiple of 4.
    kinds: what families may differ in; see `siblings.sample_family`.

  Returns:
    The shard's `.npz` file.
  """
  from mmdist.heads import subjects

  path = folder / f'siblings_{number:05d}.npz'
  if path.exists():
    return path
  people: list[subjects.Head] = []
  rows: list[np.ndarray] = []
  for i in range(number * NUM_FAMILIES, (number + 1) * NUM_FAMILIES):
    rng = seeds.generator(seed, i, 'siblings')
    family = head_siblings.sample_family(rng, kinds)
    rows += [orbits.draw(1, rng, family.emphasis)] * len(family.attributes)
    people += [
      # The same seed for every sibling, so that they have one body.
      subjects.make_head(a, seeds.generator(seed, i, 'body of siblings'))
      for a in family.attributes
    ]
  views = orbits.bank().take(np.concatenate(rows))
  return _write(path, people, views, resolution)


def _write(
  path: pathlib.Path,
  people: Iterable['subjects.Head'],
  views: orbits.Views,
  resolution: int,
) -> pathlib.Path:
  from mmdist.heads import subjects

  if path.exists():
    return path
  folder, people = path.parent, tuple(people)
  pictures = subjects.render_heads(people, views, resolution, num_threads=1)
  folder.mkdir(parents=True, exist_ok=True)
  rows = [
    {**dataclasses.asdict(head.attributes), 'view': word}
    for head, word in zip(people, views.words, strict=True)
  ]
  text = '\n'.join(strict_json.dumps(row) for row in rows)
  atomic.write_text(path.with_suffix('.jsonl'), text + '\n')
  with atomic.replacing(path) as temporary:
    np.savez(
      temporary,
      rgba=_to_bytes(pictures.rgba),
      normals=_to_bytes(pictures.normals),
    )
  return path


def _to_bytes(image: np.ndarray) -> np.ndarray:
  return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Labels:
  """What the pictures of a shard show.

  Attributes:
    attributes: N attributes.
    views: N view words.
  """

  attributes: tuple[head_attributes.Attributes, ...]
  views: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.views)


@dataclasses.dataclass(frozen=True)
class HeadShards(Labels):
  """The pictures of a shard, in memory.

  Attributes:
    rgba: [N, H, W, 4] uint8, premultiplied.
    normals: [N, H, W, 3] uint8, coloured.
  """

  rgba: np.ndarray
  normals: np.ndarray


def list_siblings(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the finished shards of siblings, in order; there may be none."""
  return sorted(pathlib.Path(folder).glob('siblings_?????.npz'))


def list_shards(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the finished shards of a folder, in order.

  Raises:
    FileNotFoundError: there is none.
  """
  paths = sorted(pathlib.Path(folder).glob('shard_?????.npz'))
  if not paths:
    raise FileNotFoundError(
      f'no shards of procedural heads in {folder}; make some with '
      f'`mmdist heads --shards=0:100 --out={folder}`.'
    )
  return paths


def read_shard(path: pathlib.Path) -> HeadShards:
  """Reads one shard."""
  with np.load(path) as arrays:
    rgba, normals = arrays['rgba'], arrays['normals']
  labels = read_labels(path)
  return HeadShards(labels.attributes, labels.views, rgba, normals)


def read_labels(path: pathlib.Path) -> Labels:
  """Reads what a shard's pictures show, and no pixel of them."""
  lines = path.with_suffix('.jsonl').read_text('utf-8').splitlines()
  rows = [json.loads(line) for line in lines]
  views = tuple(row.pop('view') for row in rows)
  return Labels(tuple(head_attributes.Attributes(**row) for row in rows), views)


def read_pixels(path: pathlib.Path, channel: str) -> np.ndarray:
  """Reads the pixels of one channel alone.

  Returns:
    [N, H, W, 4] uint8 `rgba` for channel 'rgb', else [N, H, W, 3] `normals`;
    see `HeadShards`.
  """
  with np.load(path) as arrays:
    pixels: np.ndarray = arrays['normals' if channel == 'normal' else 'rgba']
  return pixels
