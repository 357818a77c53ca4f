import functools

import flax
import jax
import numpy as np
import pytest

from mmdist.nerf import mlp
from tests.core import compiling

WIDTH, CODE = 5, 3


@functools.cache  # Modules are equal if their fields are.
def init(module):
  rng = np.random.default_rng(1)
  x = rng.standard_normal((2, 6, 4), np.float32)
  latent_code = rng.standard_normal(CODE, np.float32)
  params = compiling.compiled(module.init)(jax.random.key(3), x, latent_code)
  # Biases start at zero; any others test more.
  params = jax.tree.map(
    lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape, np.float32),
    params,
  )
  return params, x, latent_code


def shapes_of(module, features=4):
  return jax.eval_shape(
    module.init, jax.random.key(0), np.ones((2, 6, features)), np.ones(CODE)
  )['params']


@functools.cache
def apply_of(module):
  return compiling.compiled(module.apply)


def test_the_codes_bias_is_a_dense_layer_on_the_joined_input():
  params, x, latent_code = init(mlp.CodedDense(WIDTH))
  answer = apply_of(mlp.CodedDense(WIDTH))(params, x, latent_code)
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
  codes = np.stack([latent_code, -latent_code])
  together = apply_of(module)(params, x, codes)
  for i in range(2):
    alone = apply_of(module)(params, x[i : i + 1], codes[i])
    np.testing.assert_allclose(together[i], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('module', [mlp.DensityMLP(5, WIDTH), mlp.ColorMLP(4)])
def test_the_code_joins_every_layer(module):
  for layer in shapes_of(module).values():
    assert layer['code_kernel'].shape == (CODE, layer['bias'].size)


def test_deep_networks_see_the_encoding_again_in_the_middle():
  layers = shapes_of(mlp.DensityMLP(8, WIDTH), features=4)
  inputs = [layers[f'CodedDense_{i}']['kernel'].shape[0] for i in range(9)]
  assert inputs == [4, 5, 5, 5, 5 + 4, 5, 5, 5, 5]


def test_shallow_networks_do_not():
  layers = shapes_of(mlp.DensityMLP(4, WIDTH), features=4)
  shapes = flax.traverse_util.flatten_dict(layers)
  assert not any(v.shape[0] == WIDTH + 4 for v in shapes.values())


def test_colours_lie_between_zero_and_one():
  module = mlp.ColorMLP(WIDTH)
  params, x, latent_code = init(module)
  colors = apply_of(module)(params, 100 * x, latent_code)
  assert colors.shape == (2, 6, 3)
  assert np.all((colors >= 0) & (colors <= 1))
