"""Procedural heads as pictures, as a multi-view set, or as training shards.

  python -m launchers.heads --num=8 --seed=0 --out=runs/heads
  python -m launchers.heads --shards=0:160 --out=runs/heads64

The first writes `sheet.png` (colour above normals, three views a head),
`captions.txt` and one folder per head in the layout of `transforms.json`. The
second fills a folder for `launchers.train_prior`; two processes may share the
work with `--shards=0:160:2` and `--shards=1:160:2`.
"""

import os
import pathlib

from absl import flags

from launchers import terminal

FLAGS = flags.FLAGS
flags.DEFINE_integer('num', 8, 'Heads to show.', 1)
flags.DEFINE_integer('seed', 0, 'Which family of heads.')
flags.DEFINE_string('out', None, 'Folder to write.', required=True)
flags.DEFINE_integer('resolution', 256, 'H = W, a multiple of 4.', 4)
flags.DEFINE_integer('cameras', 13, 'Cameras of the multi-view set.', 1)
flags.DEFINE_bool('neutral', False, 'Plain subjects, as for pretraining.')
flags.DEFINE_bool('held_out', False, 'Shards with held-out combinations.')
flags.DEFINE_string('shards', '', 'FIRST:LAST[:STEP] of training shards.')


def _shard_numbers(text: str) -> range:
  try:
    return range(*(int(part) for part in text.split(':')))
  except (TypeError, ValueError):
    raise ValueError(
      f'--shards={text} is not FIRST:LAST or FIRST:LAST:STEP, as in 0:160:2.'
    ) from None


def write_shards(out: pathlib.Path, numbers: range, seed: int) -> None:
  """Fills a folder with training shards on one thread."""
  os.environ['XLA_FLAGS'] = (
    '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1'
  )
  import tqdm

  from mmdist.data import head_shards

  for number in tqdm.tqdm(numbers, unit='shard'):
    head_shards.write_shard(
      out, seed, number, allow_held_out=FLAGS.held_out
    )


def write_heads(out: pathlib.Path) -> None:
  """Writes the sheet, the captions and the multi-view folders."""
  import numpy as np

  from mmdist.cameras import orbits
  from mmdist.data import captions
  from mmdist.data import heads
  from mmdist.data import multiview
  from mmdist.results import sheets

  people = [
    heads.sample_head(FLAGS.seed, i, FLAGS.neutral) for i in range(FLAGS.num)
  ]
  azimuths = np.array([0.0, -0.6, 1.2])
  rows = []
  for head in people:
    views = orbits.make_views(
      azimuths, 0.1, orbits.CAMERA_DISTANCE, orbits.HEAD_TARGET,
      orbits.HEAD_HALF_HEIGHT,
    )
    pictures = heads.render_heads(
      [head] * len(views), views, FLAGS.resolution, supersampling=2
    )
    rows += [*pictures.over(np.full(3, 0.75)), *pictures.normals]
  out.mkdir(parents=True, exist_ok=True)
  sheets.save_grid(out / 'sheet.png', np.stack(rows), columns=6)
  lines = [captions.describe(head.attributes) for head in people]
  (out / 'captions.txt').write_text('\n'.join(lines) + '\n')
  made = heads.multiview_set(
    FLAGS.seed, FLAGS.num, FLAGS.cameras, FLAGS.resolution, FLAGS.neutral
  )
  multiview.write_transforms(out / 'multiview', made)
  print(f'sheet:      {out / "sheet.png"}')
  print(f'captions:   {out / "captions.txt"}')
  print(f'multi-view: {out / "multiview"}')


def main(argv) -> None:
  del argv
  out = pathlib.Path(FLAGS.out)
  if FLAGS.shards:
    write_shards(out, _shard_numbers(FLAGS.shards), FLAGS.seed)
  else:
    write_heads(out)


if __name__ == '__main__':
  terminal.run(main)
