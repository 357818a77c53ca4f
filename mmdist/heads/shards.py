"""Pictures of procedural heads on disk, for training priors and the judge.

A shard is `shard_00012.npz` (rgba and normals, uint8) beside
`shard_00012.jsonl` (attributes and view word per picture). Shard k depends on
(seed, k) alone, so any number of processes can fill one folder. In
`siblings_00012.npz` the rows are families of one body from one view, see
`mmdist.heads.kinship`. All shards of a folder are of one world, whose name is
in every row; rows without one are of clay.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import json
import pathlib

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import seeds
from mmdist.core import strict_json
from mmdist.heads import head_records
from mmdist.heads import kinship
from mmdist.heads import subjects
from mmdist.heads import traits as head_traits
from mmdist.heads import worlds

SHARD_SIZE = 1024
NUM_FAMILIES = SHARD_SIZE // kinship.FAMILY_SIZE  # Each from one view.


def write_shard(
  world: worlds.World,
  folder: pathlib.Path,
  seed: int,
  number: int,
  resolution: int = 64,
  allow_held_out: bool = False,
) -> pathlib.Path:
  """Renders one shard, unless it is there; whole or not at all.

  Args:
    world: whose heads.
    folder: where it is written; made if need be.
    seed: family of the heads.
    number: of the shard.
    resolution: H = W, a multiple of 4.
    allow_held_out: also draw combinations that priors never train on.

  Returns:
    The shard's `.npz` file.

  Raises:
    UserError: the folder has shards of another world.
  """
  path = folder / f'shard_{number:05d}.npz'
  if path.exists():
    return path
  rng = seeds.generator(seed, number, 'views of a shard')
  views = orbits.sample(SHARD_SIZE, rng)
  num_heads = -(-SHARD_SIZE // world.views_per_head)
  people = [
    subjects.sample_head(
      world, seed, number * num_heads + i, allow_held_out=allow_held_out
    )
    for i in range(num_heads)
  ]
  seen = [people[i // world.views_per_head] for i in range(SHARD_SIZE)]
  return _write(world, path, seen, views, resolution)


def write_siblings(
  world: worlds.World,
  folder: pathlib.Path,
  seed: int,
  number: int,
  resolution: int = 64,
  kinds: Sequence[str] = (),
) -> pathlib.Path:
  """Renders one shard of siblings, unless it is there; whole or not at all.

  Args:
    world: whose heads.
    folder: where it is written; made if need be.
    seed: decides the families.
    number: of the shard.
    resolution: H = W, a multiple of 4.
    kinds: what families may differ in; see `kinship.Kinship.sample`.

  Returns:
    The shard's `.npz` file.

  Raises:
    UserError: there is no such kind; the folder has shards of another world.
  """
  path = folder / f'siblings_{number:05d}.npz'
  if path.exists():
    return path
  people: list[head_records.Head] = []
  rows: list[np.ndarray] = []
  num_families = -(-NUM_FAMILIES // world.views_per_head)
  for i in range(number * num_families, (number + 1) * num_families):
    rng = seeds.generator(seed, i, 'siblings')
    family = world.siblings.sample(rng, kinds)
    siblings = [
      # The same seed for every sibling, so that they have one body.
      subjects.make_head(world, a, seeds.generator(seed, i, 'body of siblings'))
      for a in family.attributes
    ]
    drawn = orbits.draw(world.views_per_head, rng, family.emphasis)
    # All siblings from a view, then from the next one.
    rows += [drawn.repeat(len(siblings))]
    people += siblings * world.views_per_head
  views = orbits.bank().take(np.concatenate(rows))
  return _write(world, path, people, views, resolution)


def _write(
  world: worlds.World,
  path: pathlib.Path,
  people: Sequence[head_records.Head],
  views: orbits.Views,
  resolution: int,
) -> pathlib.Path:
  check_world(path.parent, world)
  pictures = subjects.render_heads(
    world, people, views, resolution, num_threads=1
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  # As before there was another world, so that old folders go on.
  mark = {} if world.name == worlds.DEFAULT else {worlds.KEY: world.name}
  rows = [
    {**mark, **dataclasses.asdict(head.attributes), 'view': word}
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
    world: of the heads.
    attributes: N attributes.
    views: N view words.
  """

  world: worlds.World
  attributes: tuple[head_traits.Attributes, ...]
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
  return HeadShards(
    labels.world, labels.attributes, labels.views, rgba, normals
  )


def read_labels(path: pathlib.Path) -> Labels:
  """Reads what a shard's pictures show, and no pixel of them."""
  lines = path.with_suffix('.jsonl').read_text('utf-8').splitlines()
  rows = [json.loads(line) for line in lines]
  world = worlds.recorded(rows[0] if rows else {})
  views = tuple(row.pop('view') for row in rows)
  for row in rows:
    row.pop(worlds.KEY, None)
  record = world.attributes.record
  return Labels(world, tuple(record(**row) for row in rows), views)


def common_world(labels: Sequence[Labels]) -> worlds.World:
  """Returns the world of at least one shard.

  Raises:
    UserError: they are of several.
  """
  return _only({one.world.name for one in labels}, 'these')


def world_of(folder: pathlib.Path) -> worlds.World:
  """Returns the world of a folder's shards, reading a line of each.

  Raises:
    FileNotFoundError: there is none.
    UserError: they are of several worlds.
  """
  paths = [*list_shards(folder), *list_siblings(folder)]
  return _only(_names_of(paths), f'those in {folder}')


def check_world(folder: pathlib.Path, world: worlds.World) -> None:
  """Checks that a folder has no shards of another world; it may have none.

  Raises:
    UserError: it has.
  """
  paths = [*folder.glob('shard_?????.npz'), *list_siblings(folder)]
  for name in _names_of(paths) - {world.name}:
    raise errors.UserError(
      f"{folder} has shards of the world '{name}', and world is "
      f"'{world.name}'; give another --out, or --world={name}."
    )


def _names_of(paths: Iterable[pathlib.Path]) -> set[str]:
  """Returns the names of the worlds of some shards."""
  found = set()
  for path in paths:
    with path.with_suffix('.jsonl').open(encoding='utf-8') as lines:
      found.add(worlds.recorded(json.loads(lines.readline() or '{}')).name)
  return found


def _only(found: set[str], which: str) -> worlds.World:
  if len(found) > 1:
    raise errors.UserError(
      f'the shards of heads, {which}, are of the worlds '
      f'{" and ".join(sorted(found))}; keep each world in a folder of its own.'
    )
  return worlds.get(*found)


def read_pixels(path: pathlib.Path, channel: str) -> np.ndarray:
  """Reads the pixels of one channel alone.

  Returns:
    [N, H, W, 4] uint8 `rgba` for channel 'rgb', else [N, H, W, 3] `normals`;
    see `HeadShards`.
  """
  with np.load(path) as arrays:
    pixels: np.ndarray = arrays['normals' if channel == 'normal' else 'rgba']
  return pixels
