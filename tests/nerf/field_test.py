import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.nerf import field
from tests.core import compiling
from tests.nerf import compiled_nerf
from tests.nerf import tiny_nerf

TINY = dataclasses.replace(tiny_nerf.CONFIG, nerf_depth=2)
DIRECTED = dataclasses.replace(TINY, viewdir_levels=2)


camera_rays = compiling.compiled(camera_lib.camera_rays, static_argnums=1)


@functools.cache
def rays_of(resolution=4, background=0.3):
  camera = orbits.turntable(3).cameras().take(1)
  rays = camera_rays(camera, resolution, np.full(3, background))
  return jax.tree.map(lambda leaf: leaf.reshape((-1, leaf.shape[-1])), rays)


def start(config=TINY):
  return compiled_nerf.conditional_nerf(config), compiled_nerf.init(config)


def take(tree, rows):
  return jax.tree.map(lambda leaf: leaf[rows], tree)


def assert_all_finite(tree):
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))


def test_renders_have_the_shapes_and_ranges_of_the_contract():
  representation, params = start()
  renders = representation.render(params, rays_of(), jax.random.key(1))
  assert renders.rgb.shape == renders.normals.shape == (16, 3)
  assert renders.acc.shape == renders.depth.shape == (16,)
  assert renders.regularizer.shape == (16,)
  for values in (renders.rgb, renders.normals, renders.acc):
    assert np.all((values >= 0) & (values <= 1))
  assert set(params) == {'proposal', 'nerf', 'code'}
  assert params['code'].shape == (3,)


def test_without_a_key_the_picture_is_always_the_same():
  representation, params = start()
  first = representation.render(params, rays_of())
  # Traced anew: what is drawn in Python stays the same in a compiled program.
  again = compiling.compiled(field.conditional_nerf(TINY).render)
  np.testing.assert_array_equal(first.rgb, again(params, rays_of()).rgb)
  jittered = representation.render(params, rays_of(), jax.random.key(0))
  assert np.any(np.abs(jittered.rgb - first.rgb) > 1e-5)


def test_normals_change_nothing_but_the_normals():
  representation, params = start()
  key = jax.random.key(1)
  with_ = representation.render(params, rays_of(), key)
  without = representation.render(params, rays_of(), key, with_normals=False)
  np.testing.assert_allclose(with_.rgb, without.rgb, atol=1e-6)
  np.testing.assert_array_equal(without.normals, 0.5)
  assert np.ptp(with_.normals) > 0.01


def test_what_is_clear_shows_the_background_and_mid_grey():
  representation, params = start()
  layers = params['nerf']['density']
  last = max(layers)
  layers[last] = {**layers[last], 'bias': np.full(1, -60.0, 'f')}
  renders = representation.render(params, rays_of(background=0.3))
  np.testing.assert_allclose(renders.rgb, 0.3, atol=1e-5)
  np.testing.assert_allclose(renders.normals, 0.5, atol=1e-5)
  np.testing.assert_allclose(renders.acc, 0, atol=1e-5)
  np.testing.assert_allclose(renders.depth, rays_of().far[:, 0], rtol=1e-5)


def test_every_ray_is_rendered_on_its_own():
  representation, params = start()
  together = representation.render(params, rays_of())
  some = representation.render(params, take(rays_of(), slice(3, 9)))
  np.testing.assert_allclose(some.rgb, together.rgb[3:9], atol=1e-6)
  np.testing.assert_allclose(some.normals, together.normals[3:9], atol=1e-5)


@pytest.mark.parametrize('config', [TINY, DIRECTED], ids=['plain', 'directed'])
def test_a_code_per_ray_renders_each_ray_as_its_subject(config):
  representation, params = start(config)
  codes = np.random.default_rng(5).standard_normal((16, 3), np.float32)
  together = representation.render({**params, 'code': codes}, rays_of())
  for i in (2, 11):
    alone = representation.render({**params, 'code': codes[i]}, rays_of())
    np.testing.assert_allclose(together.rgb[i], alone.rgb[i], atol=1e-5)


def test_the_view_direction_matters_only_where_it_is_encoded():
  def difference(config):
    representation, params = start(config)
    rays = rays_of()
    turned = rays.replace(viewdirs=-rays.viewdirs)
    first = representation.render(params, rays)
    second = representation.render(params, turned)
    np.testing.assert_array_equal(first.acc, second.acc)
    return np.abs(first.rgb - second.rgb).max()

  assert difference(TINY) == 0
  assert difference(DIRECTED) > 1e-4


def test_gradients_of_the_nerf_are_those_of_finite_differences():
  # Its networks do not decide where the samples are, so nothing stops their
  # gradient.
  _, params = start()
  render, rng = field.conditional_nerf(TINY).render, np.random.default_rng(7)
  weights = rng.standard_normal((2, 16, 3), np.float32)

  def loss(nerf, rays):
    renders = render({**params, 'nerf': nerf}, rays)
    both = jnp.stack([renders.rgb, renders.normals])
    return jnp.sum(weights * both)

  value_and_gradient = compiling.compiled(jax.value_and_grad(loss))
  _, gradient = value_and_gradient(params['nerf'], rays_of())
  way = jax.tree.map(
    lambda leaf: rng.standard_normal(leaf.shape, np.float32), params['nerf']
  )
  slope = sum(jax.tree.leaves(jax.tree.map(np.vdot, gradient, way)))

  def moved(step):
    nerf = jax.tree.map(lambda p, w: p + step * w, params['nerf'], way)
    return value_and_gradient(nerf, rays_of())[0]

  step = 2e-3
  difference = (moved(step) - moved(-step)) / (2 * step)
  # float32 sums lose 1e-6 / step. With ReLUs this fails by a factor of four:
  # normals jump.
  assert slope == pytest.approx(float(difference), rel=0.01)


@functools.cache
def gradient_of_all_renders():
  render = field.conditional_nerf(DIRECTED).render

  def loss(params, rays):
    renders = render(params, rays, jax.random.key(0))
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(renders))

  return compiling.compiled(jax.value_and_grad(loss))


@pytest.mark.parametrize('scale', [0.0, 1.0, 30.0])
def test_gradients_are_finite_even_without_density_gradients(scale):
  params = jax.tree.map(
    lambda leaf: np.float32(scale) * leaf, compiled_nerf.init(DIRECTED)
  )
  assert_all_finite(gradient_of_all_renders()(params, rays_of()))


def test_the_proposal_learns_from_the_regularizer_alone():
  representation, params = (
    field.conditional_nerf(TINY),
    compiled_nerf.init(TINY),
  )

  def totals(params, rays):
    renders = representation.render(params, rays)
    return jnp.sum(renders.rgb), jnp.sum(renders.regularizer)

  pixels, regularizer = compiling.compiled(jax.jacrev(totals))(
    params, rays_of()
  )
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(pixels['proposal']))
  nerf = jax.tree.leaves(regularizer['nerf'])
  assert all(np.all(leaf == 0) for leaf in nerf)


def test_preface_has_the_papers_sizes():
  config = field.PRESETS['preface']
  params = jax.eval_shape(
    field.conditional_nerf(config).init, jax.random.key(0)
  )
  nerf, proposal = params['nerf']['density'], params['proposal']
  # Eight and four hidden layers (MagicMirror, A.1), and one of outputs.
  assert len(nerf) == 8 + 1 and len(proposal) == 4 + 1
  assert nerf['CodedDense_1']['kernel'].shape == (1536, 1536)
  assert proposal['CodedDense_1']['kernel'].shape == (768, 768)
  # Twelve levels of sines and cosines on three axes, and the position.
  assert nerf['CodedDense_0']['kernel'].shape[0] == 3 + 2 * 3 * 12
  assert (config.num_proposal_samples, config.num_nerf_samples) == (64, 32)
  assert config.viewdir_levels == 4 and config.num_proposal_passes == 1


def test_quality_renders_the_same_weights_with_more_samples():
  config = field.quality(TINY)
  assert config.num_proposal_passes == 2
  assert config.num_nerf_samples == 4 * TINY.num_nerf_samples
  assert config.num_proposal_samples == 4 * TINY.num_proposal_samples
  representation, params = start()
  fine = compiled_nerf.conditional_nerf(config).render(params, rays_of())
  rough = representation.render(params, rays_of())
  # An untrained field is smooth: five samples see nearly what twenty see, but
  # for the half intervals at both ends.
  np.testing.assert_allclose(fine.rgb, rough.rgb, atol=0.1)


def test_an_unknown_activation_names_the_nearest():
  config = dataclasses.replace(TINY, activation='squaredplus')
  with pytest.raises(ValueError, match="did you mean 'squareplus'"):
    field.conditional_nerf(config)


def test_relus_give_another_network_on_the_same_weights():
  representation, params = start()
  relus = compiled_nerf.conditional_nerf(
    dataclasses.replace(TINY, activation='relu')
  )
  difference = (
    relus.render(params, rays_of()).rgb
    - representation.render(params, rays_of()).rgb
  )
  assert np.abs(difference).max() > 1e-3


def test_what_is_drawn_beforehand_is_what_a_key_draws():
  config = dataclasses.replace(TINY, num_proposal_passes=2)
  representation, params = start(config)
  key = jax.random.key(3)
  drawn = field.conditional_nerf(config).draw(key, 16)
  one = representation.render(params, rays_of(), key)
  two = representation.render(params, rays_of(), drawn)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-6), one, two
  )
  still = representation.render(params, rays_of())
  assert np.any(np.abs(still.rgb - one.rgb) > 1e-5)
