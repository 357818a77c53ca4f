"""Rays that meet nothing are left out, and nobody can tell."""

import jax
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.core import asset_paths
from mmdist.learner import distill
from mmdist.nerf import field
from mmdist.nerf import pretrained
from mmdist.nerf import ray_order
from tests.core import compiling

RESOLUTION = 24
NUM_VIEWS = 2
SHAPE = (NUM_VIEWS, RESOLUTION, RESOLUTION, 3)
LEAST = 1e-3


def make_run(**learner):
  run = schema.RunConfig(num_steps=10)
  run.views.num_views, run.views.resolution = NUM_VIEWS, RESOLUTION
  run.learner = schema.LearnerConfig(**learner)
  return run


def take(config, params, **learner):
  """Returns pictures and gradient of one step."""
  run = make_run(**learner)
  with compiling.in_a_hurry():
    made = distill.make_learner(field.conditional_nerf(config), run)
    return _take(made, run, params)


def _take(made, run, params):
  state = made.init(params)
  batch = distill.sample_batch(run.views, 3, 1)
  rng = np.random.default_rng(0)
  cotangents = {
    name: rng.normal(size=SHAPE).astype(np.float32) / RESOLUTION**2
    for name in ('rgb', 'normal')
  }
  renders = made.render_views(state, batch)
  pulled = made.pull_back(state, batch, cotangents)
  return renders, pulled


def flat(gradient):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])


@pytest.fixture(scope='module')
def head():
  """Returns the small NeRF and the parameters of one of its heads."""
  config, params, codes = pretrained.load(asset_paths.resolve('nerf'))
  return config, {**params, 'code': codes[3]}


@pytest.fixture(scope='module')
def of_all_rays(head):
  return take(*head, empty_opacity=0.0)


@pytest.mark.parametrize('num_kept_chunks', [0, 2])
def test_a_head_looks_the_same_and_is_changed_alike(
  head, of_all_rays, num_kept_chunks
):
  renders, pulled = take(*head, num_kept_chunks=num_kept_chunks)
  everything, pulled_from_all = of_all_rays
  left_out = np.all(renders.rgb == renders.rgb[:, :1, :1], -1)
  assert 0.1 < left_out.mean() < 0.7
  # What is computed is the same; what is not was hardly there.
  for name in ('rgb', 'normals', 'acc'):
    one, other = getattr(renders, name), getattr(everything, name)
    np.testing.assert_allclose(one[~left_out], other[~left_out], atol=2e-5)
    np.testing.assert_allclose(one[left_out], other[left_out], atol=2 * LEAST)
  some, all_ = flat(pulled.gradient), flat(pulled_from_all.gradient)
  off = np.linalg.norm(some - all_) / np.linalg.norm(all_)
  assert 0 < off < LEAST
  for name, value in pulled_from_all.terms.items():
    np.testing.assert_allclose(pulled.terms[name], value, rtol=LEAST)


def test_where_nothing_is_backgrounds_are_seen_and_nothing_moves(head):
  config, params = head
  density = dict(params['nerf']['density'])
  last = max(name for name in density if 'kernel' in density[name])
  density[last] = jax.tree.map(np.zeros_like, density[last])
  density[last]['bias'] = np.full_like(density[last]['bias'], -60.0)
  params = {**params, 'nerf': {**params['nerf'], 'density': density}}
  renders, pulled = take(config, params)
  np.testing.assert_array_equal(renders.acc, 0)
  np.testing.assert_array_equal(renders.normals, 0.5)
  np.testing.assert_array_equal(
    renders.rgb, np.broadcast_to(renders.rgb[:, :1, :1], renders.rgb.shape)
  )
  np.testing.assert_array_equal(flat(pulled.gradient), 0)


@pytest.mark.parametrize('num_devices', [1, 2, 3])
@pytest.mark.parametrize('share', [0.0, 0.4, 1.0])
def test_wanted_rays_are_dealt_out_evenly_and_come_back(num_devices, share):
  wanted = np.random.default_rng(0).uniform(size=(6, 4)) < share
  numbers = np.arange(24).reshape(6, 4)
  order = ray_order.put_first(wanted, num_devices)
  ordered = np.asarray(ray_order.apply(order, numbers))
  rows = ordered.reshape(num_devices, -1, 4)[:, : int(order.num_rounds)]
  assert set(numbers[wanted]) <= set(rows.ravel())
  assert rows.size < wanted.sum() + 4 * num_devices
  np.testing.assert_array_equal(ray_order.undo(order, ordered), numbers)
  counts = np.isin(rows, numbers[wanted]).sum((1, 2))
  assert np.ptp(counts) <= 4
