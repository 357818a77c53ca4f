"""How fast one core renders a batch of rays and takes a cotangent back.

  python -m experiments.benchmarks.learner --rays=1024 --widths=64,96 \\
    --axes=3 --normals --activation=relu --json
  python -m experiments.benchmarks.learner --baseline      # and a plain reading

A step has two halves, each a compiled function of the learner: the render that
priors look at, and the vjp, which renders again and differentiates. Both run on
one device of one thread, and what is told is seconds of processor time, so that
a busy neighbour counts less than on a clock.

With --baseline the same maths in plain JAX (`plain_nerf.py`) takes its turn in
every round: one render of all rays, differentiated. It is compared with the
vjp, and its gradient is another form of the same number. The machine's own rate
of matrix products, at the shapes of the trunk, is measured in every round too.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
import resource
import statistics
import time
from typing import Any

from absl import app
from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import gpu_flops
from experiments.benchmarks import plain_nerf
from mmdist.cameras import camera as camera_lib
from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.core import strict_json
from mmdist.learner import distill
from mmdist.nerf import field
from mmdist.run import device_setup

FLAGS = flags.FLAGS
flags.DEFINE_integer('rays', 1024, 'Rays of a step: a square number.')
flags.DEFINE_list('widths', ['64', '96'], 'Of the proposal and of the NeRF.')
flags.DEFINE_list('depths', ['4', '8'], 'Hidden layers of both.')
flags.DEFINE_list('samples', ['64', '32'], 'Along a ray, of both.')
flags.DEFINE_enum('axes', '3', ['3', '6', '21'], 'Axes of the encoding.')
flags.DEFINE_integer('levels', 12, 'Levels of the encoding.')
flags.DEFINE_integer('chunk', 16, 'Rays at a time.')
flags.DEFINE_bool('normals', True, 'Whether a prior looks at normals.')
flags.DEFINE_string('activation', 'squareplus', 'Or relu.')
flags.DEFINE_integer('rounds', 7, 'Rounds, of which the median is told.')
flags.DEFINE_bool('baseline', False, 'Measure a plain reading, too.')
flags.DEFINE_bool('json', False, 'Print JSON instead of lines.')


@dataclasses.dataclass(frozen=True)
class Sizes:
  """What is measured; the defaults are of the flags."""

  rays: int = 1024
  widths: tuple[int, int] = (64, 96)
  depths: tuple[int, int] = (4, 8)
  samples: tuple[int, int] = (64, 32)
  axes: int = 3
  levels: int = 12
  chunk: int = 16
  normals: bool = True
  activation: str = 'squareplus'

  def run(self) -> schema.RunConfig:
    """Returns the configuration of a run of these sizes."""
    run = schema.RunConfig(
      views=schema.ViewsConfig(num_views=1, resolution=math.isqrt(self.rays)),
      learner=schema.LearnerConfig(chunk_size=self.chunk, empty_opacity=0.0),
    )
    run.nerf = schema.NerfConfig(
      code_size=32,
      proposal_width=self.widths[0],
      nerf_width=self.widths[1],
      proposal_depth=self.depths[0],
      nerf_depth=self.depths[1],
      num_proposal_samples=self.samples[0],
      num_nerf_samples=self.samples[1],
      position_levels=self.levels,
      viewdir_levels=4,
      icosahedron_axes=self.axes != 3,
      icosahedron_subdivisions=2 if self.axes == 21 else 1,
      activation=self.activation,
    )
    return run


def measure(
  sizes: Sizes, rounds: int = 7, baseline: bool = False
) -> dict[str, Any]:
  """Returns medians over rounds, in which everything takes its turn.

  Args:
    sizes: what is measured.
    rounds: of which the first is made once more before, and not counted.
    baseline: whether the plain reading is measured too.
  """
  run = sizes.run()
  nerf = field.conditional_nerf(run.nerf)
  params = jax.jit(nerf.init)(jax.random.key(0))
  batch = distill.sample_batch(run.views, 0, 0)
  shape = (1, run.views.resolution, run.views.resolution, 3)
  cotangent = np.random.default_rng(0).standard_normal(shape, np.float32)
  layout = device_mesh.local_layout(1)
  _, (render, vjp) = distill._make_passes(
    nerf, sizes.normals, dataclasses.astuple(run.learner), shape[1], layout
  )
  inputs = distill._inputs(batch)
  channels = ('rgb', 'normal') if sizes.normals else ('rgb',)
  cotangents = dict.fromkeys(channels, cotangent / cotangent.size)
  turns: dict[str, Callable[[], Any]] = {
    'render': lambda: render(params, *inputs),
    'vjp': lambda: vjp(params, *inputs, cotangents),
    'products': _products(sizes),
  }
  for turn in turns.values():
    jax.block_until_ready(turn())
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  if baseline:
    turns['baseline'] = _plain(run, params, batch, cotangents)
  seconds = _take_turns(turns, rounds)
  middle = {name: statistics.median(all_) for name, all_ in seconds.items()}
  flops = gpu_flops.count(vjp, params, *inputs, cotangents)
  rate = flops / middle['vjp']
  products = _product_flops(sizes) / middle['products']
  row: dict[str, Any] = {
    **dataclasses.asdict(sizes),
    'rounds': rounds,
    'render_core_s': middle['render'],
    'vjp_core_s': middle['vjp'],
    'vjp_least_s': min(seconds['vjp']),
    'vjp_most_s': max(seconds['vjp']),
    'step_core_s': middle['render'] + middle['vjp'],
    'rays_per_core_s': sizes.rays / (middle['render'] + middle['vjp']),
    'vjp_rays_per_core_s': sizes.rays / middle['vjp'],
    'vjp_gflop': flops / 1e9,
    'vjp_gflop_per_core_s': rate / 1e9,
    'products_gflop_per_core_s': products / 1e9,
    'share_of_products': rate / products,
    'peak_rss_bytes': peak,
  }
  if baseline:
    row['baseline_core_s'] = middle['baseline']
    row['baseline_over_vjp'] = middle['baseline'] / middle['vjp']
    row['baseline_over_step'] = middle['baseline'] / row['step_core_s']
  return row


def _plain(
  run: schema.RunConfig,
  params: Any,
  batch: distill.ViewBatch,
  cotangents: dict[str, np.ndarray],
) -> Callable[[], Any]:
  """Returns the plain reading's gradient: all rays at once."""
  resolution = run.views.resolution
  cameras = batch.views.cameras()
  rays = camera_lib.camera_rays(
    cameras.take(0), resolution, batch.backgrounds[0]
  )
  rays = jax.tree.map(
    lambda leaf: leaf.reshape(resolution**2, leaf.shape[-1]), rays
  )
  flat = {name: value.reshape(-1, 3) for name, value in cotangents.items()}

  @jax.jit
  def gradient(params: Any) -> Any:
    def loss(params: Any) -> jax.Array:
      rgb, normals, acc = plain_nerf.render(
        run.nerf, params, rays, 'normal' in flat
      )
      images = {'rgb': rgb, 'normal': normals}
      total = sum(jnp.vdot(flat[name], images[name]) for name in flat)
      return total + run.learner.opacity_weight * jnp.mean(acc)

    return jax.grad(loss)(params)

  jax.block_until_ready(gradient(params))
  return functools.partial(gradient, params)


def _products(sizes: Sizes) -> Callable[[], Any]:
  """Returns a chain of the trunk's matrix products, and nothing else."""
  width = sizes.widths[1]
  rng = np.random.default_rng(0)
  rows = sizes.chunk * sizes.samples[1]
  x = rng.standard_normal((rows, width), np.float32)
  kernel = rng.standard_normal((width, width), np.float32) / width**0.5

  @jax.jit
  def chain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, _CHAIN, lambda _, y: y @ kernel, x)

  return functools.partial(chain, jnp.asarray(x), jnp.asarray(kernel))


_CHAIN = 200  # Products in a row, so that a call costs nothing beside them.


def _product_flops(sizes: Sizes) -> float:
  rows, width = sizes.chunk * sizes.samples[1], sizes.widths[1]
  return 2.0 * _CHAIN * rows * width**2


def _take_turns(
  turns: dict[str, Callable[[], Any]], rounds: int
) -> dict[str, list[float]]:
  """Returns the processor time of each turn in each round."""
  seconds: dict[str, list[float]] = {name: [] for name in turns}
  for _ in range(rounds):
    for name, turn in turns.items():
      start = time.process_time()
      jax.block_until_ready(turn())
      seconds[name].append(time.process_time() - start)
  return seconds


def _pair(words: Sequence[str]) -> tuple[int, int]:
  first, second = map(int, words)
  return first, second


def main(_: Sequence[str]) -> None:
  device_setup.set_up_jax(1)
  sizes = Sizes(
    FLAGS.rays,
    _pair(FLAGS.widths),
    _pair(FLAGS.depths),
    _pair(FLAGS.samples),
    int(FLAGS.axes),
    FLAGS.levels,
    FLAGS.chunk,
    FLAGS.normals,
    FLAGS.activation,
  )
  row = measure(sizes, FLAGS.rounds, FLAGS.baseline)
  if FLAGS.json:
    print(strict_json.dumps(row))
    return
  for name, value in row.items():
    print(
      f'{name:26} {value:.4g}'
      if isinstance(value, float)
      else f'{name:26} {value}'
    )


if __name__ == '__main__':
  app.run(main)
