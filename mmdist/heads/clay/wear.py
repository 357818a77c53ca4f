"""What a procedural head wears: hats, glasses, horns, headphones, a red nose.

Owns their signed distances; the head itself is `mmdist.heads.clay.geometry`,
and so are the conventions: x is mirrored to be positive, p are the parameters.
"""

import jax
import jax.numpy as jnp

from mmdist.heads.clay import sdf

Array = jax.Array
Parameters = sdf.Parameters


def hat(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to the hat, by its number in `palettes.HATS`."""
  base, zc = 0.40 * p['head_h'], z + 0.06
  radial = jnp.sqrt(x * x + zc * zc + 1e-12)
  width = p['head_w']

  def brimmed() -> Array:
    crown = sdf.ellipsoid(x, y - base - 0.02, zc, 0.53 * width, 0.46, 0.58)
    crown = sdf.smooth_max(crown, base - y, 0.03)
    brim = sdf.disc(x, y - base - 0.05 * x * x, zc, 0.80, 0.035)
    return sdf.smooth_min(crown, 0.9 * brim, 0.05)

  def top() -> Array:
    tube = sdf.disc(x, y - base - 0.25, zc, 0.44 * width, 0.27)
    return jnp.minimum(tube, sdf.disc(x, y - base, zc, 0.70, 0.03))

  def beanie() -> Array:
    shell = sdf.ellipsoid(
      x, y - 0.16, z + 0.08, 0.54 * width, 0.61 * p['head_h'], 0.64
    )
    wool = sdf.smooth_max(shell, 0.34 - 0.20 * (z + 0.08) - y, 0.03)
    band = jnp.abs(y - 0.38 + 0.20 * (z + 0.08)) - 0.07
    roll = sdf.smooth_max(shell - 0.04, band, 0.04)
    pompom = sdf.sphere(x, y - 0.80 * p['head_h'], z + 0.08, 0.11)
    return jnp.minimum(jnp.minimum(wool, roll), pompom)

  def wizard() -> Array:
    up = jnp.clip((y - base) / 0.62, 0.0, 1.0)
    bent = jnp.sqrt(x * x + (zc + 0.16 * up * up) ** 2 + 1e-12)
    cone = sdf.smooth_max(
      0.74 * (bent - 0.50 * (1.0 - up) - 0.02), y - base - 0.62, 0.03
    )
    cone = jnp.maximum(cone, base - y)
    return jnp.minimum(cone, sdf.disc(x, y - base, zc, 0.74, 0.03))

  def cap() -> Array:
    shell = sdf.ellipsoid(
      x, y - 0.16, z + 0.08, 0.52 * width, 0.57 * p['head_h'], 0.61
    )
    dome = sdf.smooth_max(shell, 0.34 - y, 0.03)
    visor = sdf.ellipsoid(
      x, y - 0.37 + 0.25 * (z - 0.5), z - 0.58, 0.36, 0.04, 0.34
    )
    return jnp.minimum(dome, 0.8 * visor)

  def crown() -> Array:
    spikes = 0.13 + 0.075 * jnp.cos(8 * jnp.arctan2(x, zc))
    wall = jnp.abs(radial - 0.52 * width) - 0.035
    return 0.65 * jnp.maximum(wall, jnp.abs(y - base - 0.10) - spikes)

  styles = (
    lambda: jnp.full_like(x, sdf.FAR_AWAY),
    brimmed,
    top,
    beanie,
    wizard,
    cap,
    crown,
  )
  return jax.lax.switch(p['hat'].astype(jnp.int32), styles)


def glasses(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to the frames of glasses (1) or to sunglasses (2)."""
  gx, gy, gz = x - 0.19, y - 0.045, z - 0.53
  in_plane = jnp.sqrt(gx * gx + gy * gy + 1e-12)

  def frames() -> Array:
    ring = jnp.sqrt((in_plane - 0.145) ** 2 + gz * gz + 1e-12) - 0.024
    bridge = sdf.round_cone(
      x, y, z, (0.0, 0.06, 0.55), (0.06, 0.06, 0.54), 0.02, 0.02
    )
    end = (0.50 * p['head_w'], 0.05, -0.05)
    temple = sdf.round_cone(x, y, z, (0.335, 0.05, 0.53), end, 0.018, 0.018)
    return jnp.minimum(ring, jnp.minimum(bridge, temple))

  def shades() -> Array:
    lens = jnp.maximum(in_plane - 0.15, jnp.abs(gz) - 0.016)
    return jnp.minimum(frames(), lens)

  styles = (lambda: jnp.full_like(x, sdf.FAR_AWAY), frames, shades)
  return jax.lax.switch(p['glasses'].astype(jnp.int32), styles)


def horns(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to two curved horns."""

  def pair() -> Array:
    h = p['head_h']
    root = sdf.round_cone(
      x, y, z, (0.24, 0.48 * h, 0.16), (0.45, 0.74 * h, 0.17), 0.115, 0.08
    )
    tip = sdf.round_cone(
      x, y, z, (0.45, 0.74 * h, 0.17), (0.42, 1.02 * h, 0.20), 0.08, 0.012
    )
    return sdf.smooth_min(root, tip, 0.03)

  return sdf.optional(p['horns'], pair, x)


def headphones(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to a band over the head and two cups."""

  def pair() -> Array:
    across = jnp.sqrt(x * x + (y - 0.08) ** 2 + 1e-12) - 0.64
    band = jnp.sqrt(across**2 + (z + 0.06) ** 2 + 1e-12) - 0.045
    band = jnp.maximum(band, 0.02 - y)
    cup = sdf.disc(y, x - 0.545 * p['head_w'], z + 0.06, 0.17, 0.08)
    return jnp.minimum(band, cup)

  return sdf.optional(p['headphones'], pair, x)


def red_nose(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to a clown's nose."""
  tip_z = 0.47 + 0.11 * p['nose']
  return sdf.optional(
    p['red_nose'], lambda: sdf.sphere(x, y + 0.11, z - tip_z - 0.03, 0.125), x
  )
