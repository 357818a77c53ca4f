"""What a step gains where rays that meet nothing are not computed.

  python -m experiments.benchmarks.empty_rays [--nerf=nerf] [--steps=9] [--json]

Both halves of a step of the learner, on one device of one thread, with every
ray and with those that meet something (`learner.empty_opacity`). Each step has
its own two views, as a run draws them, and random cotangents; both take their
turn in it. What is told is seconds of processor time, and how far the pictures
and the gradient are from those of every ray. A few minutes.
"""

from collections.abc import Mapping, Sequence
import statistics
import time
from typing import Any

from absl import app
from absl import flags
import jax
import numpy as np

from mmdist.config import schema
from mmdist.core import asset_paths
from mmdist.core import device_mesh
from mmdist.core import representation as representation_lib
from mmdist.core import strict_json
from mmdist.learner import distill
from mmdist.nerf import field
from mmdist.nerf import pretrained
from mmdist.run import device_setup

FLAGS = flags.FLAGS
flags.DEFINE_string('nerf', 'nerf', 'An embedded NeRF, or a directory.')
flags.DEFINE_integer('steps', 9, 'Of which medians are told.')
flags.DEFINE_bool('json', False, 'Print JSON instead of lines.')


def make_run(empty_opacity: float) -> schema.RunConfig:
  """Returns the configuration of the embedded default's steps."""
  run = schema.RunConfig()
  run.learner.empty_opacity = empty_opacity
  run.learner.num_devices = 1
  return run


class _Learner:
  """A learner at its start, and what its steps took."""

  def __init__(
    self,
    representation: representation_lib.Representation,
    params: representation_lib.Params,
    run: schema.RunConfig,
  ):
    layout = device_mesh.local_layout(1)
    self._learner = distill.make_learner(representation, run, layout=layout)
    self._learner.warm_up(params)
    self._state = self._learner.init(params)
    self.seconds: dict[str, list[float]] = {'render': [], 'vjp': []}

  def take(
    self, batch: distill.ViewBatch, cotangents: Mapping[str, np.ndarray]
  ) -> tuple[distill.ViewRenders, np.ndarray]:
    """Returns pictures and the gradient as a vector; notes the time."""
    begin = time.process_time()
    renders = self._learner.render_views(self._state, batch)
    middle = time.process_time()
    pulled = self._learner.pull_back(self._state, batch, cotangents)
    gradient = jax.device_get(jax.block_until_ready(pulled.gradient))
    self.seconds['render'].append(middle - begin)
    self.seconds['vjp'].append(time.process_time() - middle)
    return renders, np.concatenate(
      [g.ravel() for g in jax.tree.leaves(gradient)]
    )

  def medians(self) -> dict[str, float]:
    """Returns seconds of each half and of both."""
    both = [sum(halves) for halves in zip(*self.seconds.values(), strict=True)]
    of_each = {**self.seconds, 'both': both}
    return {name: statistics.median(taken) for name, taken in of_each.items()}


def measure(name: str, num_steps: int) -> dict[str, Any]:
  """Returns seconds of both kinds of steps, and how far they are apart."""
  config, params, codes = pretrained.load(asset_paths.resolve(name))
  params = {**params, 'code': codes.mean(0)}
  representation = field.conditional_nerf(config)
  runs = {'all': make_run(0.0), 'some': make_run(1e-3)}
  learners = {
    kind: _Learner(representation, params, run) for kind, run in runs.items()
  }
  views, rng = runs['all'].views, np.random.default_rng(0)
  shape = (views.num_views, views.resolution, views.resolution, 3)
  shares, off_pictures, off_gradients = [], [], []
  for step in range(num_steps):
    batch = distill.sample_batch(views, 0, step)
    cotangents = {
      channel: rng.normal(size=shape).astype(np.float32) / views.resolution**2
      for channel in ('rgb', 'normal')
    }
    every, gradient = learners['all'].take(batch, cotangents)
    some, other = learners['some'].take(batch, cotangents)
    shares.append(
      float((every.acc > runs['some'].learner.empty_opacity).mean())
    )
    off_pictures.append(float(np.abs(every.rgb - some.rgb).max()))
    off = np.linalg.norm(gradient - other) / np.linalg.norm(gradient)
    off_gradients.append(float(off))
  return {
    'nerf': name,
    'seconds': {kind: made.medians() for kind, made in learners.items()},
    'share_of_rays_that_show_something': statistics.median(shares),
    'largest_difference_of_pictures': max(off_pictures),
    'difference_of_gradients': [
      statistics.median(off_gradients),
      max(off_gradients),
    ],
  }


def main(argv: Sequence[str]) -> None:
  del argv
  device_setup.set_up_jax(1)
  found = measure(FLAGS.nerf, FLAGS.steps)
  if FLAGS.json:
    print(strict_json.dumps(found))
    return
  seconds = found['seconds']
  for half in ('render', 'vjp', 'both'):
    every, some = seconds['all'][half], seconds['some'][half]
    print(f'{half:7} {every:.3f} s -> {some:.3f} s, x {every / some:.2f}')
  middle, most = found['difference_of_gradients']
  off = found['largest_difference_of_pictures']
  print(
    f'{found["share_of_rays_that_show_something"]:.2f} of the rays show '
    f'something; pictures differ by {off:.1e} at most, gradients by '
    f'{middle:.1e} of their norm, {most:.1e} at most'
  )


if __name__ == '__main__':
  app.run(main)
