"""Volume rendering: cones cut at fence posts, weights, and their sums."""

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from mmdist.core import arrays


@struct.dataclass
class Gaussians:
  """What a pixel's cone holds between two fence posts, as Gaussians.

  Attributes:
    means: [N, S, 3] world.
    along: [N, S] variance along the ray.
    across: [N, S] variance across the ray.
    directions: [N, 3] unit directions of the rays.
  """

  means: jax.Array
  along: jax.Array
  across: jax.Array
  directions: jax.Array

  def variances(self, axes: arrays.Array) -> jax.Array:
    """Returns [N, S, A] variances along the unit `axes` [3, A]."""
    aligned = jnp.square(self.directions @ axes)[:, None, :]
    return self.along[..., None] * aligned + self.across[..., None] * (
      1 - aligned
    )


def sdist_to_tdist(sdist: jax.Array, rays: arrays.Rays) -> jax.Array:
  """Maps [N, S + 1] posts in [0, 1] to distances from near to far."""
  return rays.near + (rays.far - rays.near) * sdist


def cast_frustums(rays: arrays.Rays, tdist: jax.Array) -> Gaussians:
  """Approximates conical frustums between fence posts by Gaussians.

  Args:
    rays: [N].
    tdist: [N, S + 1] positive distances, increasing.

  Source: mip-NeRF, eq. 7 (the numerically stable form).
  """
  middle = (tdist[:, :-1] + tdist[:, 1:]) / 2
  half = (tdist[:, 1:] - tdist[:, :-1]) / 2
  middle2, half2 = middle**2, half**2
  total = 3 * middle2 + half2
  distance = middle + 2 * middle * half2 / total
  along = half2 / 3 - (4 / 15) * half2**2 * (12 * middle2 - half2) / total**2
  across = middle2 / 4 + (5 / 12) * half2 - (4 / 15) * half2**2 / total
  directions = rays.directions[:, None, :]
  return Gaussians(
    means=rays.origins[:, None, :] + distance[..., None] * directions,
    along=along,
    across=rays.radii**2 * across,
    directions=rays.directions,
  )


def density_to_weights(density: jax.Array, tdist: jax.Array) -> jax.Array:
  """Turns densities between fence posts into compositing weights.

  Args:
    density: [N, S] per world unit, non-negative.
    tdist: [N, S + 1] distances of the fence posts, increasing.

  Returns:
    [N, S] weights; each ray sums to at most 1, the rest is background.

  Source: Max 1995, eq. 3; mip-NeRF 360, section 2.
  """
  optical_depth = density * jnp.diff(tdist, axis=-1)
  # The cumulative sum is a product with a triangle of ones, because XLA's own
  # is slower on CPUs.
  before = np.triu(np.ones((density.shape[-1],) * 2, np.float32), 1)
  depth_before = jnp.matmul(
    optical_depth, before, precision=jax.lax.Precision.HIGHEST
  )
  return -jnp.expm1(-optical_depth) * jnp.exp(-depth_before)


def composite(
  weights: jax.Array, values: jax.Array, background: jax.Array
) -> jax.Array:
  """Sums [N, S, D] values by [N, S] weights over a [N, D] background."""
  acc = jnp.sum(weights, -1, keepdims=True)
  return jnp.sum(weights[..., None] * values, 1) + (1 - acc) * background


def expected_distance(
  weights: jax.Array, tdist: jax.Array, rays: arrays.Rays
) -> jax.Array:
  """Returns [N] mean distances; what passes every sample counts as `far`."""
  middle = (tdist[:, :-1] + tdist[:, 1:]) / 2
  return composite(weights, middle[..., None], rays.far)[:, 0]
