"""The benchmark's baseline computes what the learner does."""

import jax
import numpy as np
import pytest

from experiments.benchmarks import learner
from experiments.benchmarks import plain_nerf
from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.core import seeds
from mmdist.nerf import field
from tests.core import compiling


@pytest.mark.slow
@pytest.mark.parametrize(
  'changes',
  [
    {'icosahedron_axes': False, 'viewdir_levels': 2, 'nerf_depth': 5},
    {'icosahedron_subdivisions': 2, 'nerf_depth': 2, 'activation': 'relu'},
  ],
)
def test_pictures_are_those_of_the_learner(changes):
  config = schema.NerfConfig(
    code_size=4,
    nerf_width=12,
    proposal_width=8,
    num_proposal_samples=8,
    num_nerf_samples=6,
    position_levels=3,
    **changes,
  )
  nerf = field.conditional_nerf(config)
  with compiling.in_a_hurry():
    params = jax.jit(nerf.init)(jax.random.key(0))
    cameras = orbits.sample(1, seeds.generator(0, 0, 'views'), {}).cameras()
    grey = np.full(3, 0.7, np.float32)
    rays = camera_lib.camera_rays(cameras.take(0), 5, grey)
    rays = jax.tree.map(lambda leaf: leaf.reshape(25, -1), rays)
    ours = jax.jit(lambda p, r: nerf.render(p, r, None))(params, rays)
    plain = jax.jit(lambda p, r: plain_nerf.render(config, p, r))(params, rays)
  rgb, normals, acc = plain
  np.testing.assert_allclose(rgb, ours.rgb, atol=2e-5)
  np.testing.assert_allclose(acc, ours.acc, atol=2e-5)
  np.testing.assert_allclose(normals, ours.normals, atol=2e-4)
  assert np.ptp(normals) > 0.01 and acc.max() > 0.1


@pytest.mark.slow
def test_the_benchmark_tells_times_rays_and_memory():
  sizes = learner.Sizes(
    rays=64, widths=(8, 8), depths=(1, 1), samples=(4, 4), levels=2
  )
  row = learner.measure(sizes, rounds=2, baseline=True)
  assert row['rays'] == 64 and row['rounds'] == 2
  assert 0 < row['vjp_core_s'] < row['step_core_s']
  expected = 64 / row['step_core_s']
  assert row['rays_per_core_s'] == pytest.approx(expected)
  assert row['peak_rss_bytes'] > 2**26
  assert row['baseline_over_vjp'] > 0
  assert row['vjp_gflop'] > 0
