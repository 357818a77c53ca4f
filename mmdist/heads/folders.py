"""Procedural heads as pictures, as a multi-view set, or as training shards.

What draws them is imported inside functions: shards are drawn on one thread,
which has to be said before JAX starts.
"""

from collections.abc import Callable, Sequence
import dataclasses
import os
import pathlib

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import options as options_lib
from mmdist.core import progress
from mmdist.heads import rigs
from mmdist.heads import worlds


@dataclasses.dataclass(frozen=True)
class Options:
  """What is drawn of which heads, and where it goes."""

  out: str = options_lib.option(
    options_lib.REQUIRED, 'Folder to write.', is_path=True
  )
  world: str = options_lib.option(
    worlds.DEFAULT, 'Whose heads.', choices=worlds.NAMES
  )
  num: int = options_lib.option(8, 'Heads to show.', minimum=1)
  seed: int = options_lib.option(0, 'Which family of heads.')
  resolution: int = options_lib.option(
    256, 'H = W, a multiple of 4.', minimum=4
  )
  cameras: int = options_lib.option(
    13, 'Cameras of the multi-view set.', minimum=1
  )
  neutral: bool = options_lib.option(
    False, 'Plain subjects, as for pretraining.'
  )
  held_out: bool = options_lib.option(
    False, 'Shards with held-out combinations.'
  )
  shards: str = options_lib.option('', 'FIRST:LAST[:STEP] of training shards.')
  siblings: str = options_lib.option(
    '', 'FIRST:LAST[:STEP] of shards of siblings.'
  )
  photos: int = options_lib.option(
    0, 'Pictures of one head, as by a friend.', minimum=0
  )
  index: int = options_lib.option(
    0, 'Which head of the family, for photos.', minimum=0
  )
  close_ups: int = options_lib.option(
    0,
    'How many of the photos are of mouth and eyes. With any, a.txt says of '
    'each a.png which view it is.',
    minimum=0,
  )
  families: tuple[str, ...] = options_lib.option(
    (), 'What siblings differ in, one at a time.'
  )


def write(
  options: Options, report: Callable[[str], None] = lambda line: None
) -> None:
  """Writes what the options ask for: photos, shards, or heads to look at.

  Raises:
    UserError: in one line; what is asked for makes no sense.
  """
  options = options_lib.checked(options)
  out = pathlib.Path(options.out)
  world = worlds.get(options.world)
  if options.close_ups > options.photos:
    raise errors.UserError(
      f'{options.close_ups} close-ups of {options.photos} photos; expected at '
      'most as many.'
    )
  if options.photos:
    shown = write_photos(
      world,
      out,
      options.photos,
      options.seed,
      options.index,
      options.resolution,
      options.close_ups,
    )
    report(f'{options.photos} pictures of {shown}: {out}')
    return
  numbers, siblings = map(shard_numbers, (options.shards, options.siblings))
  if numbers or siblings:
    write_shards(
      world,
      out,
      numbers,
      siblings,
      options.seed,
      options.held_out,
      options.families,
    )
    return
  for what, path in write_heads(world, out, options).items():
    report(f'{what + ":":11} {path}')


def shard_numbers(text: str) -> range:
  """Reads FIRST:LAST[:STEP]; UserError if it is something else."""
  if not text:
    return range(0)
  try:
    first, last, *step = (int(part) for part in text.split(':'))
    numbers = range(first, last, *step)
  except (TypeError, ValueError):
    numbers = range(0)
  if not numbers or numbers[0] < 0 or numbers.step < 1:
    raise errors.UserError(
      f"'{text}' is not FIRST:LAST or FIRST:LAST:STEP, as in --shards=0:9:2."
    )
  return numbers


def write_shards(
  world: worlds.World,
  out: pathlib.Path,
  numbers: range,
  siblings: range,
  seed: int,
  held_out: bool,
  families: Sequence[str] = (),
) -> None:
  """Fills a folder with training shards on one thread.

  Args:
    world: whose heads.
    out: the folder; shards that are there are left as they are.
    numbers: of the shards of single heads.
    siblings: numbers of the shards of siblings.
    seed: family of the heads.
    held_out: also draw combinations that priors never train on; of single
      heads only.
    families: what siblings differ in, see `kinship.Kinship.sample`.

  Raises:
    UserError: the folder has shards of another world.
  """
  os.environ['XLA_FLAGS'] = (
    '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1'
  )
  from mmdist.heads import shards as head_shards

  with progress.Progress(len(numbers), unit='shard') as shown:
    for number in numbers:
      head_shards.write_shard(world, out, seed, number, allow_held_out=held_out)
      shown.update()
  with progress.Progress(len(siblings), unit='shard of siblings') as shown:
    for number in siblings:
      head_shards.write_siblings(world, out, seed, number, kinds=families)
      shown.update()


def write_heads(
  world: worlds.World, out: pathlib.Path, options: Options
) -> dict[str, pathlib.Path]:
  """Writes the sheet, the captions and the multi-view folders.

  Returns:
    What was written -> where.
  """
  import numpy as np

  from mmdist.cameras import orbits
  from mmdist.data import multiview
  from mmdist.data import sheets
  from mmdist.heads import subjects

  numbers = range(options.num)
  people = [
    subjects.sample_head(world, options.seed, i, options.neutral)
    for i in numbers
  ]
  views = orbits.make_views(
    np.array([0.0, -0.6, 1.2]),
    0.1,
    orbits.CAMERA_DISTANCE,
    orbits.HEAD_TARGET,
    orbits.HEAD_HALF_HEIGHT,
  )
  rows = []
  for head in people:
    pictures = subjects.render_heads(
      world, [head] * len(views), views, options.resolution, supersampling=2
    )
    rows += [*pictures.over(np.full(3, 0.75)), *pictures.normals]
  out.mkdir(parents=True, exist_ok=True)
  sheets.save_grid(out / 'sheet.png', np.stack(rows), columns=6)
  lines = [world.captions.describe(head.attributes) for head in people]
  (out / 'captions.txt').write_text('\n'.join(lines) + '\n', 'utf-8')
  made = subjects.multiview_set(
    world,
    options.seed,
    options.num,
    options.cameras,
    options.resolution,
    options.neutral,
  )
  multiview.write_transforms(out / 'multiview', made)
  return {
    'sheet': out / 'sheet.png',
    'captions': out / 'captions.txt',
    'multi-view': out / 'multiview',
  }


def write_photos(
  world: worlds.World,
  out: pathlib.Path,
  num: int,
  seed: int,
  index: int,
  resolution: int,
  close_ups: int = 0,
) -> str:
  """Writes `photo-00.png` and so on, mostly of the face, over plain greys.

  Args:
    world: whose head.
    out: the folder; made if need be.
    num: how many.
    seed: family of the head.
    index: which head of the family.
    resolution: H = W, a multiple of 4.
    close_ups: how many of them, the last ones, are of mouth and eyes in turn.
      With any, `photo-00.txt` and so on say which view each is.

  Returns:
    A description of the head.
  """
  import numpy as np
  from PIL import Image

  from mmdist.cameras import orbits
  from mmdist.core import seeds
  from mmdist.heads import subjects

  rng = seeds.generator(seed, index, 'photos')
  head = subjects.sample_head(world, seed, index)
  azimuth = rng.uniform(-0.9, 0.9, num)
  elevation = rng.uniform(-0.15, 0.35, num)
  half_height = orbits.HEAD_HALF_HEIGHT * rng.uniform(0.9, 1.2, num)
  target = np.tile(np.asarray(orbits.HEAD_TARGET), (num, 1))
  mouth_and_eyes = rigs.CLOSE_UPS[0], rigs.CLOSE_UPS[-1]
  for i in range(close_ups):
    camera, row = mouth_and_eyes[i % 2], num - close_ups + i
    target[row], half_height[row] = camera.target, camera.half_height
  views = orbits.make_views(
    azimuth, elevation, orbits.CAMERA_DISTANCE, target, half_height
  )
  greys = np.repeat(rng.uniform(0.4, 0.95, (num, 1)), 3, axis=1)
  pictures = subjects.render_heads(world, [head] * num, views, resolution)
  out.mkdir(parents=True, exist_ok=True)
  for number, picture in enumerate(pictures.over(greys)):
    path = out / f'photo-{number:02}.png'
    Image.fromarray(np.uint8(np.round(255 * picture.clip(0, 1)))).save(path)
    if close_ups:
      atomic.write_text(
        path.with_suffix('.txt'), f'{views.words[number]} view\n'
      )
  return world.captions.describe(head.attributes)
