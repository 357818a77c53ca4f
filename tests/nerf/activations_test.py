import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.nerf import activations

FORMULAS = {
  'squareplus': lambda x: (x + jnp.sqrt(x * x + 0.25)) / 2,
  'relu': jax.nn.relu,
}
X = np.linspace(-8, 8, 401, dtype=np.float32)


def test_squareplus_is_a_smooth_relu():
  squareplus = activations.activation('squareplus')
  x = np.linspace(-50, 50, 1001, dtype=np.float32)
  y = np.asarray(squareplus(x))
  assert np.all(y > 0)
  # It is furthest from the ReLU, by a quarter, at zero.
  np.testing.assert_allclose(y, np.maximum(x, 0), atol=0.2501)
  np.testing.assert_allclose(y[::1000], [0, 50], atol=2e-3)
  assert jax.grad(squareplus)(0.0) == pytest.approx(0.5)


@pytest.mark.parametrize('name', FORMULAS)
def test_derivatives_are_those_of_the_formula(name):
  """The first and the second; a third is that of what the second is made of."""
  ours, plain = activations.activation(name), FORMULAS[name]
  np.testing.assert_array_equal(ours(X), plain(X))
  for times in range(1, 4):
    ours, plain = jax.grad(ours), jax.grad(plain)
    np.testing.assert_allclose(
      jax.vmap(ours)(X), jax.vmap(plain)(X), atol=2e-5 * 3**times
    )


@pytest.mark.parametrize('name', FORMULAS)
def test_a_rounded_activation_keeps_what_it_returns_and_nothing_else(name):
  activate = activations.activation(name, 'bfloat16')
  y, pull_back = jax.vjp(activate, X)
  assert y.dtype == jnp.bfloat16
  exact = FORMULAS[name](X)
  np.testing.assert_allclose(np.float32(y), exact, rtol=2**-8, atol=1e-6)
  (kept,) = [leaf for leaf in jax.tree.leaves(pull_back) if leaf.size > 1]
  assert kept.shape == X.shape
  (slope,) = pull_back(jnp.ones_like(y))
  expected = jax.vmap(jax.grad(FORMULAS[name]))(X)
  np.testing.assert_allclose(slope, expected, atol=2e-2)


def test_an_unknown_activation_is_refused():
  with pytest.raises(ValueError, match="did you mean 'squareplus'"):
    activations.activation('squareplu')
