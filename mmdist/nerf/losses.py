"""Losses of rays: pixels, opacity, and proposals that bound the NeRF."""

import jax
import jax.numpy as jnp

from mmdist.core import arrays
from mmdist.nerf import stepfun

# Weights far below it hardly count, so that proposals need not cover them.
_EPSILON = 1e-3


def interlevel(
  sdist: jax.Array,
  weights: jax.Array,
  proposal_sdist: jax.Array,
  proposal_weights: jax.Array,
) -> jax.Array:
  """Punishes a proposal for missing what the NeRF found.

  Zero wherever the proposal's histogram bounds the NeRF's from above. The
  NeRF is the teacher here: no gradient reaches its weights.

  Args:
    sdist: [N, S + 1] fence posts of the NeRF.
    weights: [N, S].
    proposal_sdist: [N, P + 1].
    proposal_weights: [N, P].

  Returns:
    [N] losses.

  Source: mip-NeRF 360, eq. 13.
  """
  weights = jax.lax.stop_gradient(weights)
  bound = stepfun.outer_measure(sdist, proposal_sdist, proposal_weights)
  excess = jnp.maximum(weights - bound, 0.0)
  return jnp.sum(excess**2 / (weights + _EPSILON), -1)


def reconstruction(rgb: jax.Array, target: arrays.Array) -> jax.Array:
  """Returns the mean squared error of [N, 3] colours."""
  return jnp.mean(jnp.square(rgb - target))


def opacity_error(acc: jax.Array, mask: arrays.Array) -> jax.Array:
  """Returns the mean squared error of [N] opacities against a mask."""
  return jnp.mean(jnp.square(acc - mask))


def mse_to_psnr(mse: arrays.Array) -> arrays.Array:
  """Converts a mean squared error of colours in [0, 1] to decibels."""
  return -10.0 * jnp.log10(mse)
