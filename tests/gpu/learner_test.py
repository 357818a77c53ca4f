"""The learner on a GPU: near the CPU's numbers, and the same bits every time.

JAX multiplies float32 as TF32 on a GPU unless it is told not to, with 10 bits
of mantissa: both ways are compared with the CPU.
"""

import functools

import jax
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.core import seeds
from mmdist.learner import distill
from mmdist.learner import passes
from mmdist.learner import start
from mmdist.run import opening

pytestmark = pytest.mark.gpu
DEVICE = 'gpu'
SIZE = 32


def layout_of(platform: str) -> device_mesh.Layout:
  return device_mesh.layout_of(jax.devices(platform)[:1])


def both_passes(platform: str, precision: str | None) -> dict:
  """Returns colours, normals and the gradient of one view of the mean head."""
  config = schema.RunConfig()
  config.views.num_views, config.views.resolution = 1, SIZE
  config.learner.chunk_size = 512
  representation = opening.representation_of(config)
  layout = layout_of(platform)
  params = layout.replicate(start.load_params(config))
  chunk = functools.partial(representation.render, with_normals=True)
  common = (chunk, config.learner, SIZE, layout)
  batch = distill.sample_batch(config.views, 0, 0)
  rng = np.random.default_rng(0)
  cotangents = {
    channel: rng.normal(size=(1, SIZE, SIZE, 3)).astype(np.float32) / SIZE**2
    for channel in ('rgb', 'normal')
  }
  with (
    jax.default_device(jax.devices(platform)[0]),
    jax.default_matmul_precision(precision or 'default'),
  ):
    key = seeds.jax_key(0, 0, 'jitter')
    inputs = (params, batch.views.cameras(), batch.backgrounds, key)
    rgb, normals, _ = passes.make_render(*common)(*inputs)
    gradient, _, _ = passes.make_vjp(*common)(*inputs, cotangents)
  leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(gradient)]
  return {
    'rgb': np.asarray(rgb),
    'normals': np.asarray(normals),
    'gradient': np.concatenate(leaves),
  }


@functools.cache
def on_cpu() -> dict:
  return both_passes('cpu', 'highest')


@pytest.mark.parametrize(
  'precision, tolerances',
  [
    # Float32 in another order. Sampling along a ray amplifies it a little, and
    # a gradient of normals is a second derivative.
    ('highest', {'rgb': 1e-3, 'normals': 1e-3, 'gradient': 1e-2}),
    # TF32.
    (None, {'rgb': 1e-2, 'normals': 2e-2, 'gradient': 0.2}),
  ],
)
def test_passes_on_the_gpu_are_near_those_of_the_cpu(
  precision, tolerances, record_property
):
  found, expected = both_passes(DEVICE, precision), on_cpu()
  deviations = {
    name: float(
      np.linalg.norm(found[name] - expected[name])
      / np.linalg.norm(expected[name])
    )
    for name in tolerances
  }
  for name, deviation in deviations.items():
    record_property(name, f'{deviation:.2e}')
  assert all(deviations[name] < tolerances[name] for name in tolerances)


def test_the_same_passes_have_the_same_bits():
  one, two = (both_passes(DEVICE, None) for _ in range(2))
  for name, values in one.items():
    np.testing.assert_array_equal(values, two[name], err_msg=name)
