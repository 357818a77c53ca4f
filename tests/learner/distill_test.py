"""The two halves of a step against plain `jax.vjp`, and what they refuse."""

import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.core import seeds
from mmdist.learner import distill
from mmdist.learner import optimizer as optimizer_lib
from mmdist.learner import start
from mmdist.run import opening
from tests.core import compiling
from tests.learner import tiny_field


def make_run(**learner) -> schema.RunConfig:
  # 9 x 9 pixels in chunks of 16: two views end in the middle of a chunk.
  return schema.RunConfig(
    num_steps=10,
    views=schema.ViewsConfig(num_views=2, resolution=9),
    learner=schema.LearnerConfig(chunk_size=16, **learner),
  )


@functools.cache  # Each learner is compiled at its first call.
def make_learner(with_normals=True, render=tiny_field.render, **learner):
  """Returns a run and its learner."""
  run = make_run(**learner)
  field = tiny_field.TinyField(tiny_field.init, render)
  with compiling.in_a_hurry():
    return run, distill.make_learner(field, run, with_normals=with_normals)


@pytest.fixture(name='params')
def fixture_params():
  return tiny_field.init(jax.random.key(0))


def random_cotangents(seed: int = 0):
  rng = np.random.default_rng(seed)
  return {
    name: rng.normal(size=(2, 9, 9, 3)).astype(np.float32)
    for name in ('rgb', 'normal')
  }


camera_rays = compiling.compiled(camera_lib.camera_rays, static_argnums=1)


def plain_inputs(batch):
  """Returns the rays of the views one after the other, and their key."""
  cameras = batch.views.cameras()
  rays = [
    camera_rays(
      camera_lib.Camera(cameras.camera_to_world[i], cameras.tan_half_fov[i]),
      9,
      batch.backgrounds[i],
    )
    for i in range(2)
  ]
  rays = jax.tree.map(
    lambda *leaves: np.concatenate([x.reshape(81, -1) for x in leaves]), *rays
  )
  return rays, seeds.jax_key(batch.seed, batch.step, 'jitter')


def plain_render(params, rays, key):
  """Every ray in a loop over chunks, no mapping, no padding, no mesh."""
  renders = []
  for chunk in range(11):
    index = np.minimum(np.arange(chunk * 16, chunk * 16 + 16), 161)
    part = jax.tree.map(operator.itemgetter(index), rays)
    renders.append(
      tiny_field.render(params, part, jax.random.fold_in(key, chunk))
    )
  joined = jax.tree.map(lambda *x: jnp.concatenate(x)[:162], *renders)
  return joined


@compiling.compiled
@functools.partial(jax.grad, has_aux=True)
def plain_passes(params, inputs, cotangents, weights):
  """Returns the gradient and the render.

  The weights are those of the opacity and of the regulariser.
  """
  out = plain_render(params, *inputs)
  loss = (
    jnp.vdot(cotangents['rgb'].reshape(162, 3), out.rgb)
    + jnp.vdot(cotangents['normal'].reshape(162, 3), out.normals)
    + weights[0] * out.acc.mean()
    + weights[1] * out.regularizer.mean()
  )
  return loss, out


def gradient_through_update(learner, params, batch, cotangents):
  """Reads the gradient out of Adam's first moment after one update."""
  state, _ = learner.apply_cotangents(learner.init(params), batch, cotangents)
  moments = optax.tree_utils.tree_get(state.opt_state, 'mu')
  return jax.tree.map(lambda m: m / (1 - 0.9), moments)


# There are 11 chunks on one device.
KEEPING = [
  {},
  {'remat': False},
  *({'num_kept_chunks': number} for number in (1, 4, 11)),
]


@pytest.mark.parametrize('keeping', KEEPING, ids=str)
def test_pull_equals_the_plain_gradient(params, keeping):
  run, learner = make_learner(
    opacity_weight=0.3, regularizer_weight=0.7, num_devices=1, **keeping
  )
  batch = distill.sample_batch(run.views, 5, 3)
  cotangents = random_cotangents()
  ours = gradient_through_update(learner, params, batch, cotangents)
  plain, _ = plain_passes(params, plain_inputs(batch), cotangents, (0.3, 0.7))
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
    # Float32 sums of 162 rays in another order.
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize('num_kept', [0, 2, 11])
def test_what_was_compiled_ahead_is_not_compiled_again(
  params, num_kept, caplog
):
  run, learner = make_learner(
    learning_rate=0.125, num_devices=1, num_kept_chunks=num_kept
  )
  with jax.log_compiles(), compiling.in_a_hurry():
    learner.warm_up(params)
    compiled = [r.getMessage() for r in caplog.records]
    # What another thread compiles is not among these.
    names = ['keep', 'take_back'] if num_kept else ['vjp']
    for name in names:
      said = f'XLA compilation of jit({name})'
      assert sum(said in line for line in compiled) == 1
    caplog.clear()
    state = learner.init(params)
    batch = distill.sample_batch(run.views, run.seed, 1)
    learner.render_views(state, batch)
    learner.apply_cotangents(state, batch, random_cotangents())
  lines = [record.getMessage() for record in caplog.records]
  assert not [line for line in lines if 'Finished XLA compilation' in line]


def test_without_remat_a_step_renders_once(params):
  """Its second half takes what the first kept, and only of the same step."""
  traced = []

  def render(params, rays, key, *, with_normals=True):
    traced.append(len(rays.near))
    return tiny_field.render(params, rays, key, with_normals=with_normals)

  field = tiny_field.TinyField(tiny_field.init, render)
  run = make_run(remat=False)
  with compiling.in_a_hurry():
    learner = distill.make_learner(field, run)
  state = learner.init(params)
  batch = distill.sample_batch(run.views, 5, 3)
  cotangents = random_cotangents()

  def kept_bytes():
    return sum(leaf.nbytes for leaf in jax.live_arrays())

  learner.render_views(state, batch)
  learner.apply_cotangents(state, batch, cotangents)
  assert len(traced) == 1
  before = kept_bytes()
  learner.render_views(state, batch)
  held = kept_bytes() - before
  moved, stats = learner.apply_cotangents(state, batch, cotangents)
  assert kept_bytes() - before < held  # They are let go.
  # Of another step nothing is kept, and it is rendered.
  other = distill.sample_batch(run.views, 5, 4)
  learner.render_views(state, other)
  again, stats_again = learner.apply_cotangents(state, batch, cotangents)
  assert stats == stats_again
  jax.tree.map(np.testing.assert_array_equal, moved.params, again.params)


@pytest.mark.parametrize('keeping', KEEPING, ids=str)
def test_renders_equal_the_plain_render(params, keeping):
  run, learner = make_learner(num_devices=1, **keeping)
  batch = distill.sample_batch(run.views, 0, 0)
  renders = learner.render_views(learner.init(params), batch)
  _, plain = plain_passes(
    params, plain_inputs(batch), random_cotangents(), (0.0, 0.0)
  )
  # The compiler fuses the mapped render otherwise: a few float32 ulps.
  np.testing.assert_allclose(renders.rgb.reshape(162, 3), plain.rgb, atol=1e-5)
  np.testing.assert_allclose(
    renders.normals.reshape(162, 3), plain.normals, atol=1e-5
  )
  np.testing.assert_allclose(renders.acc.ravel(), plain.acc, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_is_near_float32_on_the_shipped_field():
  """Images above 45 dB, and gradients of one direction."""
  run = schema.RunConfig()
  run.views.resolution, run.learner.chunk_size = 24, 64
  batch = distill.sample_batch(run.views, 0, 0)
  params = start.load_params(run)
  rng = np.random.default_rng(0)
  shape = (run.views.num_views, 24, 24, 3)
  cotangents = {
    name: rng.normal(size=shape).astype(np.float32) / np.prod(shape)
    for name in ('rgb', 'normal')
  }
  found = {}
  for compute in ('float32', 'bfloat16'):
    run.learner.compute = compute
    representation = distill.with_compute(
      opening.representation_of(run), compute
    )
    _, (render, vjp) = distill._make_passes(
      representation,
      True,
      dataclasses.astuple(run.learner),
      24,
      device_mesh.local_layout(1),
    )
    images = jax.device_get(render(params, *distill._inputs(batch)))
    gradient, *_ = vjp(params, *distill._inputs(batch), cotangents)
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(gradient)]
    found[compute] = images, np.concatenate(leaves).astype(np.float64)
  (images, gradient), (rounded, other) = found.values()
  for one, two in zip(images, rounded, strict=True):
    error = np.mean((one - two) ** 2)
    assert 0 < error < 10**-4.5
  cosine = gradient @ other
  cosine /= np.linalg.norm(gradient) * np.linalg.norm(other)
  assert 0.995 < cosine < 1


def test_a_representation_that_knows_one_precision_is_not_asked_for_another():
  run = make_run(compute='bfloat16')
  with pytest.raises(ValueError, match="compute is 'bfloat16', and this rep"):
    distill.make_learner(tiny_field.tiny_field(), run)


def test_the_same_step_draws_the_same_batch():
  views = schema.ViewsConfig(num_views=3)
  one, two = (distill.sample_batch(views, 1, 7) for _ in range(2))
  other = distill.sample_batch(views, 1, 8)
  np.testing.assert_array_equal(one.backgrounds, two.backgrounds)
  assert one.views.words == two.views.words
  assert not np.array_equal(one.backgrounds, other.backgrounds)
  assert np.all((one.backgrounds >= 0.35) & (one.backgrounds <= 1.0))
  np.testing.assert_array_equal(one.backgrounds[:, 0], one.backgrounds[:, 2])


def test_trainable_code_moves_only_the_code(params):
  run, learner = make_learner(trainable='code')
  batch = distill.sample_batch(run.views, 0, 0)
  state, _ = learner.apply_cotangents(
    learner.init(params), batch, random_cotangents()
  )
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, params)
  assert moved['code']
  assert not any(jax.tree.leaves((moved['nerf'], moved['proposal'])))


def test_without_normals_they_are_grey_and_not_pulled(params):
  run, learner = make_learner(with_normals=False)
  state = learner.init(params)
  batch = distill.sample_batch(run.views, 0, 0)
  assert np.all(learner.render_views(state, batch).normals == 0.5)
  with pytest.raises(ValueError, match="channel 'normal', which this learner"):
    learner.apply_cotangents(state, batch, random_cotangents())


def test_a_missing_channel_pulls_with_zero(params):
  run, learner = make_learner()
  batch = distill.sample_batch(run.views, 0, 0)
  rgb = {'rgb': random_cotangents()['rgb']}
  both = rgb | {'normal': np.zeros_like(rgb['rgb'])}
  one, _ = learner.apply_cotangents(learner.init(params), batch, rgb)
  two, _ = learner.apply_cotangents(learner.init(params), batch, both)
  jax.tree.map(np.testing.assert_array_equal, one.params, two.params)


def test_statistics_are_named_and_finite(params):
  run, learner = make_learner()
  batch = distill.sample_batch(run.views, 0, 4)
  state = learner.init(params)
  _, stats = learner.apply_cotangents(state, batch, random_cotangents())
  acc = learner.render_views(state, batch).acc
  # A mean of 162 float32 in another order.
  assert stats['mean_opacity'] == pytest.approx(acc.mean(), rel=1e-5)
  assert stats['learning_rate'] == pytest.approx(3e-3 * 0.2**0.4)
  assert stats['gradient_norm'] > 0


def test_after_steps_left_out_the_rate_is_that_of_the_step(params):
  # Without moments every update is the sign of the gradient, times the rate.
  run, learner = make_learner(
    adam_b1=0.0, adam_b2=0.0, code_learning_rate_ratio=1.0
  )
  left_out = learner.init(params)
  for _ in range(4):
    left_out = learner.skip(left_out)
  never = learner.init(params).replace(step=jnp.int32(4))
  batch = distill.sample_batch(run.views, 0, 4)
  after, stats = learner.apply_cotangents(left_out, batch, random_cotangents())
  expected, _ = learner.apply_cotangents(never, batch, random_cotangents())
  jax.tree.map(np.testing.assert_array_equal, after.params, expected.params)
  rate = optimizer_lib.learning_rate_at(run.learner, run.num_steps, 4)
  moved = np.abs(after.params['nerf']['colors'] - params['nerf']['colors'])
  # The difference of two parameters near 1 is rounded to their ulps.
  np.testing.assert_allclose(moved, rate, atol=3e-7)
  assert stats['learning_rate'] == rate
  assert 2 * rate == optimizer_lib.proxy_learning_rate_at(
    run.learner, run.num_steps, 4
  )


def test_where_the_code_moves_alone_its_rate_is_logged(params):
  run, learner = make_learner(
    trainable='code', learning_rate=1e-3, code_learning_rate_ratio=30.0
  )
  batch = distill.sample_batch(run.views, 0, 0)
  state, stats = learner.apply_cotangents(
    learner.init(params), batch, random_cotangents()
  )
  assert stats['learning_rate'] == 3e-2
  moved = np.abs(state.params['code'] - params['code'])
  np.testing.assert_allclose(moved, 3e-2, rtol=1e-5)


def test_a_cotangent_of_another_shape_is_refused(params):
  run, learner = make_learner()
  batch = distill.sample_batch(run.views, 0, 0)
  bad = {'rgb': np.zeros((2, 8, 9, 3), np.float32)}
  with pytest.raises(ValueError, match=r'cotangent of rgb has shape \(2, 8'):
    learner.apply_cotangents(learner.init(params), batch, bad)


def test_a_cotangent_that_is_not_finite_names_step_and_channel(params):
  run, learner = make_learner()
  batch = distill.sample_batch(run.views, 0, 6)
  bad = random_cotangents()
  bad['normal'][0, 0, 0, 0] = np.nan
  with pytest.raises(
    FloatingPointError, match='step 6: 1 of 486 .* summed cotangent on normal'
  ):
    learner.apply_cotangents(learner.init(params), batch, bad)


def test_parameters_that_are_not_finite_name_the_render(params):
  run, learner = make_learner()
  params['code'] = params['code'].at[0].set(jnp.inf - jnp.inf)
  batch = distill.sample_batch(run.views, 0, 2)
  with pytest.raises(FloatingPointError, match=r'step 2: .* render \(rgb\)'):
    learner.render_views(learner.init(params), batch)


def test_a_gradient_that_is_not_finite_names_the_parameter(params):
  def render(params, rays, key, *, with_normals):
    out = tiny_field.render(params, rays, key, with_normals=with_normals)
    # sqrt has an infinite slope at 0, and 0 * inf is not a number.
    return dataclasses.replace(
      out, acc=out.acc + 0 * jnp.sqrt(params['nerf']['radius'] - 0.8)
    )

  run, learner = make_learner(render=render)
  batch = distill.sample_batch(run.views, 0, 9)
  with pytest.raises(
    FloatingPointError, match='step 9: .* gradient of nerf/radius'
  ):
    learner.apply_cotangents(learner.init(params), batch, random_cotangents())
