"""A step in parts against the step as a whole."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.learner import chunks as chunks_lib
from mmdist.learner import distill
from mmdist.learner import step_parts
from tests.core import compiling
from tests.learner import tiny_field

RESOLUTION = 8


def make_run(num_views, num_parts, chunk_size=16, **learner):
  return schema.RunConfig(
    num_steps=10,
    views=schema.ViewsConfig(
      num_views=num_views, resolution=RESOLUTION, micro_batches=num_parts
    ),
    learner=schema.LearnerConfig(
      chunk_size=chunk_size,
      opacity_weight=0.3,
      regularizer_weight=0.7,
      **learner,
    ),
  )


def make_learner(run, render=tiny_field.render):
  field = tiny_field.TinyField(tiny_field.init, render)
  with compiling.in_a_hurry():
    learner = distill.make_learner(field, run)
  return learner, learner.init(tiny_field.init(jax.random.key(0)))


def cotangents_of(num_views):
  rng = np.random.default_rng(0)
  shape = (num_views, RESOLUTION, RESOLUTION, 3)
  return {
    name: rng.normal(size=shape).astype(np.float32)
    for name in ('rgb', 'normal')
  }


def take(run, learner, state):
  """Returns renders, gradient and what an update gives, part by part."""
  batch = distill.sample_batch(run.views, 5, 3)
  cotangents = cotangents_of(len(batch.views))
  parts = step_parts.cut(batch, run.views.micro_batches)
  renders = [learner.render_views(state, part) for part in parts]
  pulled = []
  for part in parts:
    rows = slice(part.first_view, part.first_view + len(part.views))
    own = {name: one[rows] for name, one in cotangents.items()}
    pulled.append(learner.pull_back(state, part, own))
  total = functools.reduce(step_parts.add, pulled)
  return step_parts.join_renders(renders), total, learner.update(state, total)


def flat(tree):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def assert_near(one, other):
  """Sums of float32 in another order: 1e-5 of the whole vector."""
  one, other = flat(one), flat(other)
  assert np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(other)


@functools.cache
def whole(num_views, chunk_size):
  run = make_run(num_views, 1, chunk_size)
  return take(run, *make_learner(run))


@pytest.mark.parametrize(
  'keeping',
  # The smallest of the parts has 4 chunks, of which it keeps all.
  [{}, {'remat': False}, {'num_kept_chunks': 2}, {'num_kept_chunks': 8}],
  ids=str,
)
@pytest.mark.parametrize('num_views, num_parts', [(4, 2), (5, 2), (5, 3)])
def test_parts_add_up_to_the_whole(num_views, num_parts, keeping):
  run = make_run(num_views, num_parts, num_devices=1, **keeping)
  renders, pulled, (_, stats) = take(run, *make_learner(run))
  expected, pulled_once, (_, expected_stats) = whole(num_views, 16)
  for field in ('rgb', 'normals', 'acc'):
    # With the same jitter; the compiler fuses a shorter loop otherwise.
    np.testing.assert_allclose(
      getattr(renders, field), getattr(expected, field), atol=1e-5
    )
  assert_near(pulled.gradient, pulled_once.gradient)
  assert_near(pulled.norms, pulled_once.norms)
  assert stats == pytest.approx(expected_stats, rel=1e-5)


def test_where_parts_begin_within_a_chunk_they_have_jitter_of_their_own():
  # 64 pixels a view in chunks of 48.
  run = make_run(4, 4, chunk_size=48)
  renders, pulled, _ = take(run, *make_learner(run))
  expected, pulled_once, _ = whole(4, 48)
  same = [
    np.allclose(one, other, atol=1e-5)
    for one, other in zip(renders.rgb, expected.rgb, strict=True)
  ]
  # The first and the fourth begin with a chunk of the whole step.
  assert same == [True, False, False, True]
  one, other = flat(pulled.gradient), flat(pulled_once.gradient)
  assert one @ other > 0.9 * np.linalg.norm(one) * np.linalg.norm(other)


@pytest.mark.parametrize('chunk_size', [16, 24, 48, 64, 100, 10**4])
@pytest.mark.parametrize('num_parts', [1, 2, 3, 5])
def test_no_two_chunks_of_a_step_have_one_number(num_parts, chunk_size):
  seen, size = [], RESOLUTION**2
  for part in np.array_split(np.arange(5), num_parts):
    first = chunks_lib.first_chunk_of(int(part[0]), 5, RESOLUTION, chunk_size)
    if part[0] * size % chunk_size == 0:
      assert first == part[0] * size // chunk_size
    num_chunks = -(-len(part) * size // chunk_size)
    seen += range(first, first + num_chunks)
  assert len(set(seen)) == len(seen)


@pytest.mark.parametrize('num_views, num_parts', [(5, 3), (7, 4), (4, 4)])
def test_parts_are_the_batch_cut_into_two_sizes_at_most(num_views, num_parts):
  views = schema.ViewsConfig(num_views=num_views)
  batch = distill.sample_batch(views, 0, 2)
  parts = step_parts.cut(batch, num_parts)
  assert len(parts) == num_parts
  assert len({len(part.views) for part in parts}) <= 2
  assert sum((part.views.words for part in parts), ()) == batch.views.words
  np.testing.assert_array_equal(
    np.concatenate([part.backgrounds for part in parts]), batch.backgrounds
  )
  ends = np.cumsum([len(part.views) for part in parts])
  assert [part.first_view for part in parts] == [0, *ends[:-1]]
  assert step_parts.cut(batch, 1)[0] is batch


def counting(traced):
  def render(params, rays, key, *, with_normals=True):
    traced.append(len(rays.near))
    return tiny_field.render(params, rays, key, with_normals=with_normals)

  return render


@pytest.mark.parametrize(
  'num_views, keeping, shapes',
  [
    (4, {'remat': False}, 1),
    (5, {'remat': False}, 2),
    # A chunk that is kept, the others, and twice their vjp, whose shapes are
    # traced before it.
    (4, {'num_kept_chunks': 2}, 4),
    (5, {'num_kept_chunks': 2}, 8),
  ],
  ids=str,
)
def test_warming_up_compiles_every_shape(num_views, keeping, shapes):
  traced = []
  run = make_run(num_views, 2, num_devices=1, **keeping)
  learner, state = make_learner(run, counting(traced))
  with compiling.in_a_hurry():
    learner.warm_up(state.params)
  assert len(traced) == shapes
  take(run, learner, state)
  assert len(traced) == shapes


def live_bytes():
  return sum(leaf.nbytes for leaf in jax.live_arrays())


def test_each_part_is_kept_until_it_is_taken_back():
  run = make_run(4, 4, remat=False)
  learner, state = make_learner(run)
  take(run, learner, state)
  batch = distill.sample_batch(run.views, 5, 3)
  none = live_bytes()
  held = []
  parts = step_parts.cut(batch, 4)
  for part in parts:
    learner.render_views(state, part)
    held.append(live_bytes() - none)
  each = held[0]
  assert each > 0 and np.allclose(held, each * np.arange(1, 5), rtol=0.05)
  # A step that is given up leaves nothing behind once the next one begins.
  again = step_parts.cut(distill.sample_batch(run.views, 5, 3), 4)
  learner.render_views(state, again[0])
  assert live_bytes() - none < 1.5 * each
  # A part that was not rendered, or was let go, is rendered when it is asked.
  cotangents = {'rgb': cotangents_of(4)['rgb'][1:2]}
  found = learner.pull_back(state, parts[1], cotangents)
  expected = learner.pull_back(state, again[1], cotangents)
  jax.tree.map(np.testing.assert_array_equal, found.gradient, expected.gradient)


def test_a_sum_that_is_not_finite_is_seen_in_any_part():
  run = make_run(4, 2)
  learner, state = make_learner(run)
  batch = distill.sample_batch(run.views, 0, 6)
  for part in step_parts.cut(batch, 2):
    bad = np.zeros((2, RESOLUTION, RESOLUTION, 3), np.float32)
    bad[1, 0, 0, 0] = np.inf
    with pytest.raises(FloatingPointError, match='step 6: 1 of 384'):
      learner.pull_back(state, part, {'rgb': bad})
  pulled = step_parts.add(
    *(learner.pull_back(state, part, {}) for part in step_parts.cut(batch, 2))
  )
  broken = dataclasses.replace(
    pulled, norms=jax.tree.map(lambda x: x * jnp.nan, pulled.norms)
  )
  with pytest.raises(FloatingPointError, match='norm of the gradient'):
    learner.update(state, broken)
