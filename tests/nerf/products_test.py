import jax
from jax.extend import core as extend_core
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.core import platforms
from mmdist.nerf import products

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 7, 13), np.float32)
KERNEL = RNG.standard_normal((13, 6), np.float32)


def twice_differentiated(product):
  """Returns what normals need: the gradient of a gradient, in both factors."""

  def slope(x, kernel):
    return jax.grad(lambda x: jnp.sum(jnp.sin(product(x, kernel))))(x)

  def loss(x, kernel):
    return jnp.sum(jnp.cos(slope(x, kernel)))

  return loss(X, KERNEL), *jax.grad(loss, (0, 1))(X, KERNEL)


def test_products_and_their_derivatives_are_those_of_matmul():
  ours = products.PRODUCTS['float32']
  np.testing.assert_allclose(ours(X, KERNEL), X @ KERNEL, rtol=1e-5, atol=1e-5)
  for a, b in zip(
    twice_differentiated(ours), twice_differentiated(jnp.matmul), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def factors_of(jaxpr) -> list[str]:
  """Returns the types of the factors of all products of a program."""
  found = []
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      found += [variable.aval.dtype.name for variable in equation.invars]
      assert equation.params['preferred_element_type'] is not None
    for inner in extend_core.jaxprs_in_params(equation.params):
      found += factors_of(inner)
  return found


def test_every_product_of_a_second_derivative_has_bfloat16_factors():
  ours = products.PRODUCTS['bfloat16']
  program = jax.make_jaxpr(lambda: twice_differentiated(ours))().jaxpr
  # Of a render, two for its normals' gradient and each of their two factors.
  found = factors_of(program)
  assert len(found) >= 12 and set(found) == {'bfloat16'}
  for a, b in zip(
    twice_differentiated(ours), twice_differentiated(jnp.matmul), strict=True
  ):
    assert a.dtype == jnp.float32
    a, b = np.ravel(a), np.ravel(b)
    assert a @ b > 0.999 * np.linalg.norm(a) * np.linalg.norm(b)
    if a.size > 1:
      assert np.any(a != b)


@pytest.mark.parametrize('dtype', products.PRODUCTS)
def test_rows_are_aligned_on_a_gpu_and_nothing_else_changes(dtype, monkeypatch):
  """13 columns become 16 of which three are zero."""
  product = products.PRODUCTS[dtype]
  plain = product(X, KERNEL)
  gradient = jax.grad(lambda k: jnp.sum(jnp.sin(product(X, k))))(KERNEL)
  monkeypatch.setattr(platforms, 'is_cpu', lambda: False)
  np.testing.assert_allclose(product(X, KERNEL), plain, rtol=1e-5, atol=1e-5)
  aligned = jax.grad(lambda k: jnp.sum(jnp.sin(product(X, k))))(KERNEL)
  assert aligned.shape == KERNEL.shape
  np.testing.assert_allclose(aligned, gradient, rtol=1e-4, atol=1e-4)
  program = str(jax.make_jaxpr(product)(X, KERNEL))
  assert '35,16' in program and '16,6' in program
