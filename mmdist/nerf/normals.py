"""World-space normals from the analytic gradient of the density."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# In squared units of the raw density per world unit: far below what a surface
# has (10 to 1,000), so that it only matters where there is no gradient.
_EPSILON = 1e-4
MID_GREY = 0.5


def density_normals(
  raw_density_fn: Callable[[jax.Array], tuple[jax.Array, Any]], means: jax.Array
) -> tuple[jax.Array, Any, jax.Array]:
  """Evaluates a density and its normals by one reverse pass.

  Each output depends on its own sample only, so the gradient of the sum holds
  every sample's gradient. The gradient of the raw density points where the
  density's does, because the activation between them increases, and it does
  not vanish where the activation saturates.

  Args:
    raw_density_fn: [N, S, 3] means -> ([N, S] raw densities, any auxiliary).
    means: [N, S, 3] world.

  Returns:
    [N, S] raw densities, the auxiliary, and [N, S, 3] normals: minus the
    gradient, of unit length. Where the gradient vanishes they shrink smoothly
    to zero. Differentiable once more, with finite derivatives everywhere.
  """
  raw, pull_back, auxiliary = jax.vjp(raw_density_fn, means, has_aux=True)
  (gradient,) = pull_back(jnp.ones_like(raw))
  squared = jnp.sum(gradient * gradient, -1, keepdims=True)
  return raw, auxiliary, -gradient * jax.lax.rsqrt(squared + _EPSILON)


def color_normals(normals: jax.Array) -> jax.Array:
  """Turns normals in [-1, 1] into colours in [0, 1]."""
  return (normals + 1) / 2
