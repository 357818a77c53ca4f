"""Stand-ins for rendered heads where a test is about something else."""

import dataclasses
import json
import pathlib

import numpy as np

from mmdist.core import seeds
from mmdist.heads import head_records
from mmdist.heads import subjects
from mmdist.heads import worlds

PEOPLE = worlds.get('people')

SIZE = 8


def render_heads(
  world, people, views, resolution=SIZE, supersampling=1, num_threads=None
):
  """As `heads.render_heads`, in no time: a grey square before nothing."""
  del world, views, supersampling, num_threads
  shape = (len(people), resolution, resolution)
  rgba = np.zeros((*shape, 4), np.float32)
  rgba[:, resolution // 4 :, :, :] = (0.25, 0.25, 0.25, 1.0)
  return head_records.HeadPictures(rgba, np.full((*shape, 3), 0.5, np.float32))


def write_shard(
  folder: pathlib.Path, number: int, count: int = 4, world=PEOPLE
) -> None:
  """Writes a shard whose right half is of the grey level of its number."""
  people = [subjects.sample_head(world, number, i) for i in range(count)]
  _write(folder, f'shard_{number:05d}', people, number, world)


def write_siblings(
  folder: pathlib.Path, number: int, families: int = 3, world=PEOPLE
) -> None:
  """Writes a shard of siblings, of the grey level of its number."""
  people = [
    subjects.make_head(world, attributes, seeds.generator(number, i, 'body'))
    for i in range(families)
    for attributes in world.siblings.sample(
      seeds.generator(number, i, 'family')
    ).attributes
  ]
  _write(folder, f'siblings_{number:05d}', people, number, world)


def _write(folder, name, people, grey, world):
  folder.mkdir(exist_ok=True)
  path = folder / f'{name}.npz'
  mark = {'world': world.name}
  rows = [
    mark | dataclasses.asdict(head.attributes) | {'view': 'front'}
    for head in people
  ]
  path.with_suffix('.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  rgba = np.zeros((len(people), SIZE, SIZE, 4), np.uint8)
  rgba[:, :, SIZE // 2 :] = (grey, grey, grey, 255)
  normals = np.full((len(people), SIZE, SIZE, 3), 128, np.uint8)
  normals[..., 0] = grey
  np.savez(path, rgba=rgba, normals=normals)
