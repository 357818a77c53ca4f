"""Rays that meet nothing are left out, and nobody can tell."""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.core import asset_paths
from mmdist.core import errors
from mmdist.learner import distill
from mmdist.learner import step_parts
from mmdist.nerf import field
from mmdist.nerf import images
from mmdist.nerf import pretrained
from mmdist.nerf import ray_order
from tests.core import compiling
from tests.learner import tiny_field

RESOLUTION = 24
NUM_VIEWS = 2
SHAPE = (NUM_VIEWS, RESOLUTION, RESOLUTION, 3)
LEAST = 1e-3
NUM_SAMPLES = 48


@dataclasses.dataclass(frozen=True)
class Ball:
  """A ball with a hard edge; everything else is the tiny field's."""

  init: Callable
  render: Callable
  draw: Callable
  blurred_density: Callable


def density(params, points, spread=None):
  distance = jnp.sqrt(jnp.sum(points**2, -1) + 1e-3)
  return 60 * jax.nn.sigmoid(60 * (params['nerf']['radius'] - distance))


def draw(key, num_rays):
  return jax.random.uniform(key, (num_rays, NUM_SAMPLES))


def render(params, rays, jitter, *, with_normals=True):
  return tiny_field.render_at(density, params, rays, jitter, with_normals)


BALL = Ball(tiny_field.init, render, draw, density)


def make_params(radius=0.45):
  params = tiny_field.init(jax.random.key(0))
  params['nerf']['radius'] = jnp.float32(radius)
  return params


def take(num_parts=1, radius=0.45, **learner):
  """Returns pictures, gradient and parts of the loss of one step."""
  run = schema.RunConfig(num_steps=10)
  run.views = schema.ViewsConfig(
    num_views=NUM_VIEWS, resolution=RESOLUTION, micro_batches=num_parts
  )
  run.learner = schema.LearnerConfig(opacity_weight=0.3, **learner)
  rng = np.random.default_rng(0)
  cotangents = {
    name: rng.normal(size=SHAPE).astype(np.float32) / RESOLUTION**2
    for name in ('rgb', 'normal')
  }
  with compiling.in_a_hurry():
    made = distill.make_learner(BALL, run)
    state = made.init(make_params(radius))
    batch = distill.sample_batch(run.views, 3, 1)
    parts = step_parts.cut(batch, num_parts)
    renders = [made.render_views(state, part) for part in parts]
    pulled = [
      made.pull_back(
        state,
        part,
        {
          name: value[part.first_view : part.first_view + len(part.views)]
          for name, value in cotangents.items()
        },
      )
      for part in parts
    ]
  whole = pulled[0] if num_parts == 1 else step_parts.add(*pulled)
  return step_parts.join_renders(renders), whole


def flat(gradient):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])


@pytest.fixture(scope='module')
def of_all_rays():
  return take(empty_opacity=0.0)


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'num_kept_chunks': 3},
    {'num_parts': 2},
    {'remat': False},
  ],
  ids=str,
)
def test_a_ball_looks_the_same_and_is_changed_alike(of_all_rays, changes):
  renders, pulled = take(**changes)
  everything, pulled_from_all = of_all_rays
  # What is computed is the same; what is not was hardly there.
  seen = everything.acc > LEAST
  assert 0.1 < seen.mean() < 0.7
  for name in ('rgb', 'normals', 'acc'):
    one, other = getattr(renders, name), getattr(everything, name)
    np.testing.assert_allclose(one[seen], other[seen], atol=1e-5)
    np.testing.assert_allclose(one[~seen], other[~seen], atol=2 * LEAST)
  some, all_ = flat(pulled.gradient), flat(pulled_from_all.gradient)
  off = np.linalg.norm(some - all_) / np.linalg.norm(all_)
  assert off < 5 * LEAST
  for name, value in pulled_from_all.terms.items():
    np.testing.assert_allclose(pulled.terms[name], value, rtol=LEAST)


def test_rays_that_show_nothing_are_backgrounds_to_the_bit():
  renders, _ = take()
  corner = renders.rgb[:, :1, :1]
  empty = np.all(renders.rgb == corner, -1)
  assert empty.mean() > 0.1
  assert np.all(renders.normals[empty] == 0.5)
  assert np.all(renders.acc[empty] == 0)


def test_where_nothing_is_nothing_moves():
  renders, pulled = take(radius=-1.0)
  assert np.all(renders.acc == 0) and np.all(renders.normals == 0.5)
  assert np.all(renders.rgb == renders.rgb[:, :1, :1])
  assert np.all(flat(pulled.gradient) == 0)


def test_a_field_of_no_numbers_is_not_taken_for_an_empty_one():
  with pytest.raises(errors.NotFinite, match='render'):
    take(radius=np.nan)


def test_a_vjp_without_its_render_takes_all_rays(of_all_rays):
  """Of another step's opacities it would leave out the wrong ones."""
  run = schema.RunConfig()
  run.views.num_views, run.views.resolution = NUM_VIEWS, RESOLUTION
  with compiling.in_a_hurry():
    made = distill.make_learner(BALL, run)
    state = made.init(make_params())
    other = distill.sample_batch(run.views, 3, 0)
    batch = distill.sample_batch(run.views, 3, 1)
    made.render_views(state, batch)
    told = made.pull_back(state, batch, {})
    made.render_views(state, other)
    alone = made.pull_back(state, batch, {})
  for name in told.terms:
    np.testing.assert_allclose(told.terms[name], alone.terms[name], rtol=LEAST)


def test_pictures_of_the_shipped_head_are_those_of_all_its_rays():
  config, params, codes = pretrained.load(asset_paths.resolve('nerf'))
  representation = field.conditional_nerf(config)
  params = {**params, 'code': codes[3]}
  views = orbits.sample(2, np.random.default_rng(0), {'mouth': 0.0})
  some, all_ = (
    images.render_images(
      of, params, views, 32, np.full(3, 0.7, np.float32), with_normals=False
    )
    for of in (
      representation,
      dataclasses.replace(representation, blurred_density=None),
    )
  )
  assert (some['acc'] == 0).mean() > 0.2
  for name in ('rgb', 'acc'):
    np.testing.assert_allclose(some[name], all_[name], atol=2 * LEAST)
  broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), params)
  seen = images.render_images(
    representation, broken, views, 32, np.zeros(3), with_normals=False
  )
  assert np.isnan(seen['rgb']).any()
  shown = all_['acc'] > LEAST
  np.testing.assert_allclose(some['depth'][shown], all_['depth'][shown], 1e-5)


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
