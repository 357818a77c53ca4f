"""How many pictures of people one core draws in a second of its time.

  OMP_NUM_THREADS=1 python -m experiments.benchmarks.people [--subjects=24]

People are drawn from the words as for a training, and each is built once and
photographed from views of the bank, as many as `--views`. Building counts.
Time is that of this process alone, so other work beside it disturbs only
through caches and shared units of a core. Half a minute.
"""

from collections.abc import Sequence
import time

from absl import app
from absl import flags

from mmdist.cameras import orbits
from mmdist.core import seeds
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import bodies

# (resolution, rays per pixel along an axis).
CASES = ((64, 2), (64, 3), (128, 2))

FLAGS = flags.FLAGS
flags.DEFINE_integer('subjects', 24, 'People of each case.')
flags.DEFINE_integer('views', 8, 'Pictures of a person.')
flags.DEFINE_integer('seed', 0, 'Which people.')


def measure(
  resolution: int, supersampling: int, num_subjects: int, num_views: int
) -> tuple[float, float]:
  """Returns seconds of the processor: per body built, and per picture."""
  building = drawing = 0.0
  for index in range(num_subjects):
    rng = seeds.generator(FLAGS.seed, index, 'benchmark of people')
    attributes = people_attributes.TRAITS.sample(rng)
    poses, tans = orbits.sample(num_views, rng).poses()
    began = time.process_time()
    body = bodies.make(attributes, rng)
    built = time.process_time()
    bodies.render(body, poses, tans, resolution, supersampling)
    building += built - began
    drawing += time.process_time() - built
  return building / num_subjects, drawing / num_subjects / num_views


def main(argv: Sequence[str]) -> None:
  del argv
  measure(*CASES[0], 1, 1)  # Reads the meshes.
  for resolution, supersampling in CASES:
    built, drawn = measure(
      resolution, supersampling, FLAGS.subjects, FLAGS.views
    )
    rate = FLAGS.views / (built + FLAGS.views * drawn)
    print(
      f'{resolution:4} px, {supersampling**2} rays a pixel: '
      f'{rate:5.1f} pictures per core-second '
      f'({1000 * built:.0f} ms a body, {1000 * drawn:.1f} ms a picture)'
    )


if __name__ == '__main__':
  app.run(main)
