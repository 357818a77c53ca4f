"""Matrix products of hidden layers, in the precision that is asked for.

Parameters and their gradients, sums, encodings and outputs are float32 always.
With 'bfloat16' the two factors of a product are rounded to bfloat16, their
products are added up in float32, as the matrix units of GPUs and TPUs do, and
what goes from layer to layer is rounded again, which halves the memory that a
GPU has to read and write.

Their derivatives are written out, as products of the same kind, and so are
those of a second differentiation, which normals need. JAX alone would multiply
the float32 gradient of a result with a bfloat16 factor, in float32; and it
would transpose the gradient of a kernel, for which XLA copies one factor on
CPUs: that took a fifth of the time of a vjp.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import ad_checkpoint
import jax.numpy as jnp

from mmdist.core import platforms

# [..., D] x [D, E] -> [..., E].
Product = Callable[[jax.Array, jax.Array], jax.Array]

# A GPU loads rows fast whose length is a multiple of 16 bytes; others take six
# times as long on an H100, and an encoding has 75 columns.
_ALIGNMENT = 8
# Which axis of each factor is summed over.
# What a policy of `jax.checkpoint` knows these products by.
_NAME = 'product'
SAVE_PRODUCTS: Callable[..., Any] = (
  jax.checkpoint_policies.save_only_these_names(_NAME)
)
_AXES = {'nn': (1, 0), 'nt': (1, 1), 'tn': (0, 0)}


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _multiply(
  factors: str, result: str, kind: str, a: jax.Array, b: jax.Array
) -> jax.Array:
  """Multiplies two matrices.

  Args:
    factors: type to which both are rounded.
    result: type to which the sum, which is float32, is rounded.
    kind: says which of them is transposed.
    a, b: the matrices.
  """
  first, second = _AXES[kind]
  return jax.lax.dot_general(
    a.astype(factors),
    b.astype(factors),
    (((first,), (second,)), ((), ())),
    preferred_element_type=jnp.dtype(result),
  )


def _forward(
  factors: str, result: str, kind: str, a: jax.Array, b: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  product = _multiply(factors, result, kind, a, b)
  return ad_checkpoint.checkpoint_name(product, _NAME), (a, b)


def _backward(
  factors: str,
  result: str,
  kind: str,
  kept: tuple[jax.Array, jax.Array],
  gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  del result  # The gradient is of this type already.
  a, b = kept
  # Each is a product of one of the three kinds again, so that it can be
  # differentiated in the same way.
  for_a = functools.partial(_multiply, factors, a.dtype.name)
  for_b = functools.partial(_multiply, factors, b.dtype.name)
  if kind == 'nn':
    return for_a('nt', gradient, b), for_b('tn', a, gradient)
  if kind == 'nt':
    return for_a('nn', gradient, b), for_b('tn', gradient, a)
  return for_a('nt', b, gradient), for_b('nn', a, gradient)


_multiply.defvjp(_forward, _backward)


def _product(dtype: str, x: jax.Array, kernel: jax.Array) -> jax.Array:
  rows = x.reshape(-1, x.shape[-1])
  missing = -rows.shape[-1] % _ALIGNMENT
  if missing and not platforms.is_cpu():
    rows = jnp.pad(rows, [(0, 0), (0, missing)])
    kernel = jnp.pad(kernel, [(0, missing), (0, 0)])
  result = _multiply(dtype, dtype, 'nn', rows, kernel)
  return result.reshape(*x.shape[:-1], kernel.shape[-1])


PRODUCTS: dict[str, Product] = {
  name: functools.partial(_product, name) for name in ('float32', 'bfloat16')
}
