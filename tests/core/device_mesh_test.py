"""Layouts over fake devices, in processes of their own."""

from concurrent import futures
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.core import device_mesh

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Renders one batch and takes one step for each 'kind:count' it is given, and
# writes the arrays; of the ball, or of the shipped NeRF, on so many devices.
_STEPS = """
import sys
import jax
import numpy as np
from mmdist.config import schema
from mmdist.learner import distill
from mmdist.learner import start
from mmdist.nerf import field
from tests.core import compiling
from tests.learner import tiny_field
local_count, folder = int(sys.argv[1]), sys.argv[2]
assert jax.local_device_count() == local_count
for name in sys.argv[3:]:
  kind, count = name.split(':')
  run = schema.RunConfig(
    num_steps=10,
    views=schema.ViewsConfig(num_views=2, resolution=9),
    learner=schema.LearnerConfig(
      chunk_size=16,
      num_devices=0 if int(count) == local_count else int(count),
      remat=kind != 'kept',
      num_kept_chunks=2 if kind == 'partly' else 0,
    ),
  )
  if kind in ('ball', 'kept', 'partly'):
    representation = tiny_field.tiny_field()
    params = tiny_field.init(jax.random.key(0))
  else:
    representation = field.conditional_nerf(run.nerf)
    params = start.load_params(run)
  # Pictures are compiled as they are in a run: its fusions must not change
  # their bits. Gradients differ by rounding anyway.
  learner = distill.make_learner(representation, run)
  distill._make_passes_once.cache_clear()
  with compiling.in_a_hurry():
    hurried = distill.make_learner(representation, run)
  state = learner.init(params)
  batch = distill.sample_batch(run.views, 0, 0)
  renders = learner.render_views(state, batch)
  assert len(state.step.sharding.device_set) == int(count)
  cotangents = {'rgb': renders.rgb - 0.2, 'normal': renders.normals}
  state, stats = hurried.apply_cotangents(state, batch, cotangents)
  params = jax.device_get(state.params)
  np.savez(
    f'{folder}/{name}.npz',
    rgb=renders.rgb,
    normals=renders.normals,
    acc=renders.acc,
    params=np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]),
    gradient_norm=stats['gradient_norm'],
  )
"""


def take_steps(local_count: int, folder, *names: str) -> None:
  run_on(local_count, _STEPS, str(local_count), str(folder), *names)


def run_on(local_count: int, program: str, *words: str) -> None:
  flag = f'--xla_force_host_platform_device_count={local_count}'
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': flag,
    'PYTHONPATH': str(ROOT),
  }
  command = [sys.executable, '-c', program, *words]
  subprocess.run(command, env=environment, cwd=ROOT, check=True)


@pytest.fixture(name='steps', scope='module')
def fixture_steps(tmp_path_factory):
  """The arrays of each 'kind:count'; processes take seconds to start."""
  folder = tmp_path_factory.mktemp('steps')
  # At once: they compile for most of their time, each on one core.
  with futures.ThreadPoolExecutor() as both:
    one = both.submit(
      take_steps, 1, folder, 'ball:1', 'nerf:1', 'kept:1', 'partly:1'
    )
    take_steps(8, folder, 'ball:2', 'ball:4', 'nerf:8', 'kept:4', 'partly:2')
    one.result()
  return {path.stem: dict(np.load(path)) for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize(
  'kind, counts',
  [('ball', (2, 4)), ('nerf', (8,)), ('kept', (4,)), ('partly', (2,))],
)
def test_images_are_the_same_bits_on_any_number_of_devices(steps, kind, counts):
  one = steps[f'{kind}:1']
  for num_devices in counts:
    many = steps[f'{kind}:{num_devices}']
    for name in ('rgb', 'normals', 'acc'):
      # On two devices other chunks are kept, and these are rendered one by one.
      tolerance = 3e-6 if kind == 'partly' else 0
      np.testing.assert_allclose(many[name], one[name], rtol=0, atol=tolerance)
    # Gradients are summed in another order: float32 rounding, which Adam's
    # first step magnifies where a gradient is nearly zero.
    np.testing.assert_allclose(
      many['gradient_norm'], one['gradient_norm'], rtol=1e-5
    )
    moved = np.abs(many['params'] - one['params'])
    # Where a gradient is nothing but rounding, Adam's first step, which is of
    # the size of the rate, may go either way: that is one weight in ten
    # thousand of the NeRF, at most.
    assert np.mean(moved > (1e-5 if kind == 'nerf' else 1e-6)) <= 1e-4
    rate = schema.LearnerConfig().learning_rate
    assert moved.max() < (2.1 * rate if kind == 'nerf' else 1e-5)


_PICTURES = """
import jax
import numpy as np
from mmdist.config import schema
from mmdist.learner import distill
from tests.learner import tiny_field
pictures = []
for num_devices in (1, 2):
  # Of fewer pixels XLA computes the rays alike in any case.
  run = schema.RunConfig(
    num_steps=10, views=schema.ViewsConfig(num_views=2, resolution=32)
  )
  run.learner.num_devices = num_devices
  learner = distill.make_learner(tiny_field.tiny_field(), run)
  state = learner.init(tiny_field.init(jax.random.key(0)))
  batch = distill.sample_batch(run.views, 0, 0)
  pictures.append(learner.render_views(state, batch))
for name in ('rgb', 'normals', 'acc'):
  np.testing.assert_array_equal(*(getattr(one, name) for one in pictures))
"""


@pytest.mark.slow
def test_rays_are_the_same_bits_on_any_number_of_devices():
  run_on(2, _PICTURES)


def test_all_local_devices_by_default():
  layout = device_mesh.local_layout()
  assert layout.num_devices == jax.local_device_count()


def test_more_devices_than_there_are_is_refused():
  there = jax.local_device_count()
  with pytest.raises(ValueError, match=f'has {there} cpu device'):
    device_mesh.local_layout(there + 1)


def test_sums_are_over_all_chunks():
  layout = device_mesh.local_layout()

  @jax.jit
  def total(scale, chunks):
    return layout.map_chunks(lambda s, c: s * c.sum(), sums=True)(scale, chunks)

  assert total(2.0, np.arange(8.0)) == 56.0


def test_maps_keep_the_chunks_in_order():
  layout = device_mesh.local_layout()

  @jax.jit
  def shift(offset, chunks):
    return layout.map_chunks(lambda o, c: o + c, sums=False)(offset, chunks)

  np.testing.assert_array_equal(shift(1.0, np.arange(8.0)), np.arange(1.0, 9.0))
