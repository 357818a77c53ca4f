import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.nerf import mlp

WIDTH, CODE = 5, 3


def init(module, features=4):
  x = jax.random.normal(jax.random.key(1), (2, 6, features))
  latent_code = jax.random.normal(jax.random.key(2), (CODE,))
  params = module.init(jax.random.key(3), x, latent_code)
  # Biases start at zero; any others test more.
  leaves, structure = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(4), len(leaves))
  leaves = [
    leaf + 0.1 * jax.random.normal(key, leaf.shape)
    for leaf, key in zip(leaves, keys)
  ]
  return jax.tree.unflatten(structure, leaves), x, latent_code


def test_the_codes_bias_is_a_dense_layer_on_the_joined_input():
  params, x, latent_code = init(mlp.CodedDense(WIDTH))
  answer = mlp.CodedDense(WIDTH).apply(params, x, latent_code)
  layer = params['params']
  joined = np.concatenate([x, np.broadcast_to(latent_code, (2, 6, CODE))], -1)
  kernel = np.concatenate([layer['kernel'], layer['code_kernel']])
  # Sums of eight products in another order.
  np.testing.assert_allclose(answer, joined @ kernel + layer['bias'], atol=1e-5)


@pytest.mark.parametrize(
  'module', [mlp.CodedDense(WIDTH), mlp.ColorMLP(WIDTH)], ids=type
)
def test_one_code_per_ray_renders_each_ray_with_its_own(module):
  params, x, latent_code = init(module)
  codes = jnp.stack([latent_code, -latent_code])
  together = module.apply(params, x, codes)
  for i in range(2):
    alone = module.apply(params, x[i : i + 1], codes[i])
    np.testing.assert_allclose(together[i], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('module', [mlp.DensityMLP(5, WIDTH), mlp.ColorMLP(4)])
def test_the_code_joins_every_layer(module):
  params, _, _ = init(module)
  for layer in params['params'].values():
    assert layer['code_kernel'].shape == (CODE, layer['bias'].size)


def test_deep_networks_see_the_encoding_again_in_the_middle():
  params, _, _ = init(mlp.DensityMLP(8, WIDTH), features=4)
  inputs = [
    params['params'][f'CodedDense_{i}']['kernel'].shape[0] for i in range(9)
  ]
  assert inputs == [4, 5, 5, 5, 5 + 4, 5, 5, 5, 5]


def test_shallow_networks_do_not():
  params, _, _ = init(mlp.DensityMLP(4, WIDTH), features=4)
  shapes = flax.traverse_util.flatten_dict(params['params'])
  assert not any(v.shape[0] == WIDTH + 4 for v in shapes.values())


def test_colours_lie_between_zero_and_one():
  module = mlp.ColorMLP(WIDTH)
  params, x, latent_code = init(module)
  colors = module.apply(params, 100 * x, latent_code)
  assert colors.shape == (2, 6, 3)
  assert np.all((colors >= 0) & (colors <= 1))


def test_squareplus_is_a_smooth_relu():
  x = jnp.linspace(-50, 50, 1001)
  y = mlp.squareplus(x)
  assert np.all(y > 0)
  # It is furthest from the ReLU, by a quarter, at zero.
  np.testing.assert_allclose(y, jnp.maximum(x, 0), atol=0.2501)
  np.testing.assert_allclose(y[::1000], [0, 50], atol=2e-3)
  assert jax.grad(mlp.squareplus)(0.0) == pytest.approx(0.5)
