"""Activations whose derivatives are written in what they return.

Normals need the derivative of a network, and their gradient a second one.
Activations are in memory in any case, as the factors of the next products.
Where every derivative is a function of them, a backward pass keeps nothing
else; of a formula in the argument, JAX keeps two more arrays for each layer.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp

from mmdist.core import names

# The b of squareplus: it rounds the kink within about half a unit of 0, and
# pre-activations have a standard deviation of about 1.
_SMOOTHNESS = 0.25

Activation = Callable[[jax.Array], jax.Array]


def _squareplus(x: jax.Array) -> jax.Array:
  """A smooth ReLU, (x + sqrt(x^2 + 1/4)) / 2.

  Normals are gradients of the density, so with ReLUs they jump wherever a unit
  switches. Their derivative does not see these jumps, so that the gradient of a
  normal prior would be wrong by factors. (The paper, after mip-NeRF 360, has
  ReLUs.)

  Source: Barron 2021, 'Squareplus: A Softplus-Like Algebraic Rectifier'.
  """
  return 0.5 * (x + jnp.sqrt(x * x + _SMOOTHNESS))


@jax.custom_jvp
def _slope_of_squareplus(y: jax.Array) -> jax.Array:
  # From x = y - b / (4 y).
  squared = y * y
  return squared / (squared + _SMOOTHNESS / 4)


@_slope_of_squareplus.defjvp
def _slope_jvp(
  primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
  (y,) = primals
  denominator = y * y + _SMOOTHNESS / 4
  curve = y * (0.5 * _SMOOTHNESS) / (denominator * denominator)
  return _slope_of_squareplus(y), curve * tangents[0]


def _relu(x: jax.Array) -> jax.Array:
  return jnp.maximum(x, 0)


def _slope_of_relu(y: jax.Array) -> jax.Array:
  return (y > 0).astype(y.dtype)


# The function, and its derivative where its value is y.
_ALL: dict[str, tuple[Activation, Activation]] = {
  'squareplus': (_squareplus, _slope_of_squareplus),
  'relu': (_relu, _slope_of_relu),
}


@functools.lru_cache(maxsize=8)
def activation(name: str, dtype: str = 'float32') -> Activation:
  """Returns an elementwise function of float32.

  Args:
    name: 'squareplus' or 'relu'.
    dtype: of what it returns; its derivatives are those of the rounded value.

  Raises:
    UserError: another name.
  """
  names.check_choice('nerf.activation', name, _ALL)
  function, slope = _ALL[name]

  @jax.custom_jvp
  def activate(x: jax.Array) -> jax.Array:
    return function(x).astype(dtype)

  @activate.defjvp
  def _(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
  ) -> tuple[jax.Array, jax.Array]:
    y = activate(primals[0])
    moved = slope(y.astype(jnp.float32)) * tangents[0]
    return y, moved.astype(dtype)

  return activate
