"""Procedural heads as pictures, as a multi-view set, or as training shards.

  python -m launchers.heads --num=8 --seed=0 --out=runs/heads
  python -m launchers.heads --shards=0:160 --out=runs/heads64

The first writes `sheet.png` (colour above normals, three views a head),
`captions.txt` and one folder per head in the layout of `transforms.json`. The
second fills a folder for `launchers.train_prior`; two processes may share the
work with `--shards=0:160:2` and `--shards=1:160:2`. `--siblings=0:28` adds
families of heads that differ in one thing each, half of them in expression,
which is how a prior learns the words for what is small in a picture.
`--families=wear,hair_color` has families differ in these alone.

  python -m launchers.heads --photos=12 --seed=5 --index=2 --out=runs/photos

takes pictures of one head as a friend would, for `launchers.personalize`.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib

from absl import flags

from launchers import terminal


@dataclasses.dataclass(frozen=True)
class Options:
  """The flags of `--num`; see `define_flags`."""

  num: int = 8
  seed: int = 0
  resolution: int = 256
  cameras: int = 13
  neutral: bool = False


def define_flags() -> None:
  """Defines the flags, here so that launchers can be imported together."""
  flags.DEFINE_integer('num', 8, 'Heads to show.', 1)
  flags.DEFINE_integer('seed', 0, 'Which family of heads.')
  flags.DEFINE_string('out', None, 'Folder to write.', required=True)
  flags.DEFINE_integer('resolution', 256, 'H = W, a multiple of 4.', 4)
  flags.DEFINE_integer('cameras', 13, 'Cameras of the multi-view set.', 1)
  flags.DEFINE_bool('neutral', False, 'Plain subjects, as for pretraining.')
  flags.DEFINE_bool('held_out', False, 'Shards with held-out combinations.')
  flags.DEFINE_string('shards', '', 'FIRST:LAST[:STEP] of training shards.')
  flags.DEFINE_string(
    'siblings', '', 'FIRST:LAST[:STEP] of shards of siblings.'
  )
  flags.DEFINE_integer('photos', 0, 'Pictures of one head, as by a friend.', 0)
  flags.DEFINE_integer('index', 0, 'Which head of the family, for photos.', 0)
  flags.DEFINE_list('families', [], 'What siblings differ in, one at a time.')


def shard_numbers(text: str) -> range:
  """Reads FIRST:LAST[:STEP]; ValueError if it is something else."""
  if not text:
    return range(0)
  try:
    first, last, *step = (int(part) for part in text.split(':'))
    numbers = range(first, last, *step)
  except (TypeError, ValueError):
    numbers = range(0)
  if not numbers or numbers[0] < 0 or numbers.step < 1:
    raise ValueError(
      f"'{text}' is not FIRST:LAST or FIRST:LAST:STEP, as in --shards=0:9:2."
    )
  return numbers


def write_shards(
  out: pathlib.Path,
  numbers: range,
  siblings: range,
  seed: int,
  held_out: bool,
  families: Sequence[str] = (),
) -> None:
  """Fills a folder with training shards on one thread."""
  os.environ['XLA_FLAGS'] = (
    '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1'
  )
  import tqdm

  from mmdist.heads import shards as head_shards

  for number in tqdm.tqdm(numbers, unit='shard'):
    head_shards.write_shard(out, seed, number, allow_held_out=held_out)
  for number in tqdm.tqdm(siblings, unit='shard of siblings'):
    head_shards.write_siblings(out, seed, number, kinds=families)


def write_heads(out: pathlib.Path, options: Options) -> None:
  """Writes the sheet, the captions and the multi-view folders."""
  import numpy as np

  from mmdist.cameras import orbits
  from mmdist.data import multiview
  from mmdist.heads import captions
  from mmdist.heads import subjects
  from mmdist.results import sheets

  numbers = range(options.num)
  people = [
    subjects.sample_head(options.seed, i, options.neutral) for i in numbers
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
      [head] * len(views), views, options.resolution, supersampling=2
    )
    rows += [*pictures.over(np.full(3, 0.75)), *pictures.normals]
  out.mkdir(parents=True, exist_ok=True)
  sheets.save_grid(out / 'sheet.png', np.stack(rows), columns=6)
  lines = [captions.describe(head.attributes) for head in people]
  (out / 'captions.txt').write_text('\n'.join(lines) + '\n')
  made = subjects.multiview_set(
    options.seed,
    options.num,
    options.cameras,
    options.resolution,
    options.neutral,
  )
  multiview.write_transforms(out / 'multiview', made)
  print(f'sheet:      {out / "sheet.png"}')
  print(f'captions:   {out / "captions.txt"}')
  print(f'multi-view: {out / "multiview"}')


def write_photos(
  out: pathlib.Path, num: int, seed: int, index: int, resolution: int
) -> None:
  """Writes `photo-00.png` and so on, mostly of the face, over plain greys."""
  import numpy as np
  from PIL import Image

  from mmdist.cameras import orbits
  from mmdist.core import seeds
  from mmdist.heads import captions
  from mmdist.heads import subjects

  rng = seeds.generator(seed, index, 'photos')
  head = subjects.sample_head(seed, index)
  views = orbits.make_views(
    rng.uniform(-0.9, 0.9, num),
    rng.uniform(-0.15, 0.35, num),
    orbits.CAMERA_DISTANCE,
    orbits.HEAD_TARGET,
    orbits.HEAD_HALF_HEIGHT * rng.uniform(0.9, 1.2, num),
  )
  greys = np.repeat(rng.uniform(0.4, 0.95, (num, 1)), 3, axis=1)
  pictures = subjects.render_heads([head] * num, views, resolution)
  out.mkdir(parents=True, exist_ok=True)
  for number, picture in enumerate(pictures.over(greys)):
    path = out / f'photo-{number:02}.png'
    Image.fromarray(np.uint8(np.round(255 * picture.clip(0, 1)))).save(path)
  print(f'{num} pictures of {captions.describe(head.attributes)}: {out}')


def main(argv) -> None:
  """Writes what the flags ask for."""
  del argv
  values = flags.FLAGS
  out = pathlib.Path(values.out)
  if values.photos:
    write_photos(
      out, values.photos, values.seed, values.index, values.resolution
    )
    return
  numbers = [shard_numbers(text) for text in (values.shards, values.siblings)]
  if any(numbers):
    write_shards(out, *numbers, values.seed, values.held_out, values.families)
    return
  names = [field.name for field in dataclasses.fields(Options)]
  options = Options(**{name: getattr(values, name) for name in names})
  write_heads(out, options)


if __name__ == '__main__':
  define_flags()
  terminal.run(main)
