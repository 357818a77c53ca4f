"""Signed distances of simple solids, and how they blend.

Owns the vocabulary that `mmdist.heads.clay.geometry` and
`mmdist.heads.clay.wear` are written in. All take coordinates of any shape and
return distances of that shape, world units, negative inside.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

# The parameters of a head; see `mmdist.heads.clay.parameters.shape_parameters`.
Parameters = Mapping[str, jax.Array]
Scalar = jax.Array | float

FAR_AWAY = 10.0  # The distance to a part that a head does not have.


def smooth_min(a: jax.Array, b: jax.Array, k: float) -> jax.Array:
  """Blends two distances over a band of width k (polynomial)."""
  h = jnp.maximum(k - jnp.abs(a - b), 0.0) / k
  return jnp.minimum(a, b) - h * h * k * 0.25


def smooth_max(a: jax.Array, b: jax.Array, k: float) -> jax.Array:
  """Smooth intersection; see `smooth_min`."""
  return -smooth_min(-a, -b, k)


def ellipsoid(
  x: jax.Array, y: jax.Array, z: jax.Array, rx: Scalar, ry: Scalar, rz: Scalar
) -> jax.Array:
  """Distance to an axis-aligned ellipsoid at the origin (first order)."""
  a, b, c = x / rx, y / ry, z / rz
  k0 = jnp.sqrt(a * a + b * b + c * c + 1e-9)
  a, b, c = a / rx, b / ry, c / rz
  return k0 * (k0 - 1.0) * jax.lax.rsqrt(a * a + b * b + c * c + 1e-9)


def sphere(
  x: jax.Array, y: jax.Array, z: jax.Array, radius: Scalar
) -> jax.Array:
  """Distance to a sphere at the origin."""
  return jnp.sqrt(x * x + y * y + z * z + 1e-12) - radius


def round_cone(
  x: jax.Array,
  y: jax.Array,
  z: jax.Array,
  start: Sequence[Scalar],
  end: Sequence[Scalar],
  start_radius: Scalar,
  end_radius: Scalar,
) -> jax.Array:
  """Distance to a capsule whose radius goes from one end to the other."""
  dx, dy, dz = (end[i] - start[i] for i in range(3))
  px, py, pz = x - start[0], y - start[1], z - start[2]
  along = (px * dx + py * dy + pz * dz) / (dx * dx + dy * dy + dz * dz)
  h = jnp.clip(along, 0.0, 1.0)
  radius = start_radius + (end_radius - start_radius) * h
  return sphere(px - h * dx, py - h * dy, pz - h * dz, radius)


def disc(
  x: jax.Array, y: jax.Array, z: jax.Array, radius: Scalar, half_height: Scalar
) -> jax.Array:
  """Distance to an upright cylinder with slightly rounded edges."""
  rounding = 0.012
  a = jnp.sqrt(x * x + z * z + 1e-12) - radius + rounding
  b = jnp.abs(y) - half_height + rounding
  outside = jnp.sqrt(jnp.maximum(a, 0) ** 2 + jnp.maximum(b, 0) ** 2 + 1e-12)
  return jnp.minimum(jnp.maximum(a, b), 0.0) + outside - rounding


def optional(
  present: jax.Array, distance: Callable[[], jax.Array], x: jax.Array
) -> jax.Array:
  """Evaluates `distance()` only for heads that have the part."""
  return jax.lax.cond(
    present > 0.5, distance, lambda: jnp.full_like(x, FAR_AWAY)
  )
