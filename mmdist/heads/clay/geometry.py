"""The signed distance field of a procedural head, and its colours.

Owns geometry and albedo as functions of a point and a head's parameters.
Which parameters a head has is decided in `mmdist.heads.clay.parameters`; rays
are marched in `mmdist.heads.clay.rendering`.

Coordinates: world units, +y up, the face looks along +z, left-right symmetric.
A head is a dict of scalars and colours, so that one compiled renderer serves
all of them. Distances are lower bounds up to `STEP_SAFETY`.
"""

import functools

import jax
import jax.numpy as jnp

from mmdist.heads.clay import sdf
from mmdist.heads.clay import wear as head_wear

Array = jax.Array
Parameters = sdf.Parameters

STEP_SAFETY = 0.85  # Blends and bends stretch distances by about a sixth.


def mouth_frame(
  x: Array, y: Array, z: Array, p: Parameters
) -> tuple[Array, Array, Array]:
  """Bends space so that the mouth's line is straight and centred.

  Returns:
    (yc, zc, half_opening): height above the mouth's line, depth in front of
    the lips, and half the height of the opening, world units.
  """
  line = p['mouth_y'] + p['mouth_curve'] * (2.6 * x * x - 0.035)
  return y - line, z - (0.482 - 1.05 * x * x), 0.008 + 0.095 * p['mouth_open']


def mouth_cavity(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to the hollow of the mouth."""
  yc, zc, opening = mouth_frame(x, y, z, p)
  width = p['mouth_width']
  return 0.75 * sdf.ellipsoid(x, yc, zc, width, opening * 0.95, 0.15)


def lips(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to the two lips around the opening."""
  yc, zc, opening = mouth_frame(x, y, z, p)
  beyond = jnp.maximum(x - p['mouth_width'], 0.0)
  taper = jnp.clip(1.0 - (x / (p['mouth_width'] + 0.02)) ** 2, 0.0, 1.0)
  radius = (0.020 + 0.022 * taper) * p['lip']
  upper = sdf.sphere(beyond, yc - opening * taper, zc, radius)
  lower = sdf.sphere(beyond, yc + opening * taper, zc, radius * 1.2)
  return 0.65 * jnp.minimum(upper, lower)


def eye_frame(
  x: Array, y: Array, z: Array, p: Parameters
) -> tuple[Array, Array, Array, Array]:
  """Returns coordinates about the eyeball and its radius."""
  return x - 0.19, y - 0.05, z - 0.355, 0.102 * p['eye_size']


def skull(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to skull, face, cheeks, chin, brow ridge and eye sockets."""
  cheek = p['cheek']
  d = sdf.smooth_min(
    sdf.ellipsoid(
      x, y - 0.16, z + 0.08, 0.48 * p['head_w'], 0.50 * p['head_h'], 0.56
    ),
    sdf.ellipsoid(
      x, y + 0.16, z - 0.10, 0.39 * p['face_w'], 0.48 * p['face_h'], 0.40
    ),
    0.22,
  )
  cheekbone = sdf.sphere(
    x - 0.23 * p['face_w'],
    y + 0.15 - 0.05 * cheek,
    z - 0.33,
    0.11 + 0.03 * cheek,
  )
  d = sdf.smooth_min(d, cheekbone, 0.12)
  d = sdf.smooth_min(
    d, sdf.sphere(x, y + 0.53 * p['face_h'], z - 0.28, 0.10 * p['chin']), 0.14
  )
  ridge = sdf.round_cone(
    x, y, z, (0.06, 0.15, 0.43), (0.26, 0.16, 0.34), 0.045, 0.045
  )
  d = sdf.smooth_min(d, ridge, 0.08)
  return sdf.smooth_max(
    d, -sdf.sphere(x - 0.19, y - 0.045, z - 0.56, 0.125), 0.09
  )


def nose(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to bridge, tip and nostrils."""
  tip_z, width = 0.47 + 0.11 * p['nose'], p['nose_w']
  bridge = sdf.round_cone(
    x, y, z, (0.0, 0.08, 0.44), (0.0, -0.11, tip_z), 0.042, 0.066 * width
  )
  wing = sdf.sphere(
    x - 0.055 * width, y + 0.125, z - tip_z + 0.055, 0.046 * width
  )
  return sdf.smooth_min(bridge, wing, 0.04)


def ears(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to round or pointed ears."""
  side = x - 0.475 * p['head_w']
  shell = sdf.ellipsoid(side, y - 0.0, z + 0.06, 0.06, 0.135 * p['ear'], 0.09)
  shell = sdf.smooth_max(
    shell, -sdf.sphere(side - 0.055, y, z + 0.03, 0.06), 0.04
  )
  tip = sdf.optional(
    p['pointed_ears'],
    lambda: sdf.round_cone(
      x, y, z, (0.47, 0.02, -0.05), (0.70, 0.32, -0.16), 0.075, 0.012
    ),
    x,
  )
  return sdf.smooth_min(shell, tip, 0.04)


def eyelids(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to upper and lower lids; `lid` in [-1, 1] is how far they open."""
  ex, ey, ez, radius = eye_frame(x, y, z, p)
  ball = sdf.sphere(ex, ey, ez, radius + 0.02)
  slant = 0.35 * p['brow_tilt'] * ex  # Sad lids fall outwards.
  upper = sdf.smooth_max(ball, radius * p['lid'] - ey - slant, 0.012)
  lower = sdf.smooth_max(ball - -0.004, ey + radius * p['lower_lid'], 0.012)
  return jnp.minimum(upper, lower)


def skin(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to all skin, with the mouth hollowed out."""
  d = sdf.smooth_min(skull(x, y, z, p), nose(x, y, z, p), 0.06)
  d = sdf.smooth_min(d, ears(x, y, z, p), 0.05)
  neck = sdf.round_cone(
    x,
    y,
    z,
    (0.0, -0.40, -0.10),
    (0.0, -1.3, -0.18),
    0.235 * p['neck'],
    0.26 * p['neck'],
  )
  d = sdf.smooth_min(d, neck, 0.10)
  d = sdf.smooth_max(d, -mouth_cavity(x, y, z, p), 0.02)
  return sdf.smooth_min(d, eyelids(x, y, z, p), 0.02)


def brows(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to the eyebrows; positive tilt lowers their inner ends."""
  height, tilt = 0.205 + 0.055 * p['brow_raise'], 0.065 * p['brow_tilt']
  return sdf.round_cone(
    x,
    y,
    z,
    (0.085, height - tilt, 0.475),
    (0.30, height + 0.5 * tilt, 0.375),
    0.034,
    0.022,
  )


def clothes(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to shoulders and collar."""
  body = sdf.ellipsoid(x, y + 1.28, z + 0.16, 0.92 * p['shoulders'], 0.44, 0.40)
  collar = sdf.round_cone(
    x,
    y,
    z,
    (0.0, -0.88, -0.15),
    (0.0, -1.4, -0.16),
    0.29 * p['neck'] + 0.02,
    0.40,
  )
  return sdf.smooth_min(body, collar, 0.15)


def hair(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to the hair; a hat presses everything above its rim down."""
  styles = (_no_hair, _short_hair, _long_hair, _afro, _mohawk, _bun)
  d = jax.lax.switch(p['hair_style'].astype(jnp.int32), styles, x, y, z, p)
  rim = y - 0.36 + 0.10 * z
  covered = (p['hat'] > 0.5) & (p['hat'] < 5.5)  # A crown covers nothing.
  return jnp.where(covered, sdf.smooth_max(d, rim, 0.03), d)


def _behind_hairline(y: Array, z: Array) -> Array:
  return 0.60 * (z - 0.30) - 0.80 * (y - 0.30)


def _strands(x: Array, y: Array, z: Array) -> Array:
  """Grooves that run down from the crown."""
  return 0.010 * jnp.cos(22.0 * jnp.arctan2(z + 0.1, x + 1e-6) + 5.0 * y)


def _no_hair(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  del y, z, p
  return jnp.full_like(x, sdf.FAR_AWAY)


def _short_hair(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  thickness = p['hair_thickness']
  width = 0.48 * p['head_w'] + thickness
  height = 0.50 * p['head_h'] + thickness
  cap = sdf.ellipsoid(x, y - 0.16, z + 0.08, width, height, 0.56 + thickness)
  return sdf.smooth_max(cap + _strands(x, y, z), _behind_hairline(y, z), 0.05)


def _long_hair(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  fall = sdf.ellipsoid(x, y + 0.25, z + 0.18, 0.62, 0.72, 0.46)
  fall = sdf.smooth_max(fall + 1.5 * _strands(x, y, z), z - 0.16, 0.06)
  return sdf.smooth_min(_short_hair(x, y, z, p), fall, 0.08)


def _afro(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  del p
  curls = jnp.sin(17 * x) * jnp.sin(17 * y) * jnp.sin(17 * z)
  ball = sdf.sphere(x, y - 0.24, z + 0.14, 0.76) + 0.022 * curls
  return sdf.smooth_max(ball, _behind_hairline(y, z) - 0.02, 0.08)


def _mohawk(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  ridge = 0.025 * jnp.cos(14.0 * jnp.arctan2(y, z))
  fin = sdf.ellipsoid(x, y - 0.18, z + 0.10, 0.085, 0.80 * p['head_h'], 0.76)
  return 0.9 * jnp.maximum(fin + ridge, _behind_hairline(y, z) - 0.05)


def _bun(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  knot = sdf.sphere(x, y - 0.74 * p['head_h'], z + 0.22, 0.21) + _strands(
    x, y, z
  )
  return jnp.minimum(_short_hair(x, y, z, p), knot)


def beard(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to a beard, a long beard (2) or a moustache (3)."""
  yc, zc, opening = mouth_frame(x, y, z, p)
  width = p['mouth_width']

  def full() -> Array:
    shell = sdf.ellipsoid(
      x,
      y + 0.18,
      z - 0.10,
      0.39 * p['face_w'] + 0.05,
      0.48 * p['face_h'] + 0.07,
      0.45,
    )
    edge = sdf.smooth_max(
      y + 0.20 - 0.5 * jnp.maximum(x - 0.16, 0), -(z - 0.02), 0.04
    )
    whole = sdf.smooth_max(shell, edge, 0.04)
    hole = sdf.ellipsoid(x, yc, zc, width + 0.03, 0.05 + opening, 0.2)
    return sdf.smooth_max(whole, -0.75 * hole, 0.02)

  def long() -> Array:
    waves = 0.012 * jnp.cos(26.0 * x + 4.0 * y)
    lobe = sdf.ellipsoid(x, y + 0.76, z - 0.28, 0.25, 0.36, 0.15) + waves
    return sdf.smooth_min(full(), lobe, 0.15)

  def moustache() -> Array:
    droop = y + 0.205 + 0.7 * x * x
    bow = sdf.sphere(
      jnp.maximum(x - 0.16, 0), droop, z - 0.525 + 1.1 * x * x, 0.042
    )
    return 0.8 * bow

  styles = (lambda: jnp.full_like(x, sdf.FAR_AWAY), full, long, moustache)
  return jax.lax.switch(p['beard'].astype(jnp.int32), styles)


def eyeball(x: Array, y: Array, z: Array, p: Parameters) -> Array:
  """Distance to the eyeballs."""
  ex, ey, ez, radius = eye_frame(x, y, z, p)
  return sdf.sphere(ex, ey, ez, radius)


# The order of the parts has no effect: the nearest one is taken.
PARTS = {
  'skin': skin,
  'eye': eyeball,
  'lip': lips,
  'brow': brows,
  'clothes': clothes,
  'hair': hair,
  'beard': beard,
  'hat': head_wear.hat,
  'glasses': head_wear.glasses,
  'horns': head_wear.horns,
  'headphones': head_wear.headphones,
  'red_nose': head_wear.red_nose,
}


def part_distances(points: Array, p: Parameters) -> dict[str, Array]:
  """Returns {part: [N] distance} at [N, 3] points."""
  x, y, z = jnp.abs(points[:, 0]), points[:, 1], points[:, 2]
  return {name: part(x, y, z, p) for name, part in PARTS.items()}


def distance(points: Array, p: Parameters) -> Array:
  """Returns the [N] signed distance of [N, 3] points to the head."""
  return functools.reduce(jnp.minimum, part_distances(points, p).values())


def albedo(points: Array, p: Parameters, footprint: Array) -> Array:
  """Returns [N, 3] colours in [0, 1] at surface points.

  Args:
    points: [N, 3] on the surface.
    p: a head's parameters.
    footprint: [N] size of a pixel at the point; colours of parts that meet
      within it are mixed, which stands in for supersampling.
  """
  distances = part_distances(points, p)
  nearest = functools.reduce(jnp.minimum, distances.values())
  colours = {
    **{name: p[f'color_{name}'] for name in PARTS if f'color_{name}' in p},
    'skin': _skin_color(points, p, footprint),
    'eye': _eye_color(points, p, footprint),
    'red_nose': jnp.array([0.85, 0.06, 0.06]),
  }
  total = mixed = jnp.zeros(())
  for name, d in distances.items():
    share = jnp.clip(1.0 - (d - nearest) / footprint, 0.0, 1.0)[:, None]
    total, mixed = total + share, mixed + share * colours[name]
  return mixed / total


def _skin_color(points: Array, p: Parameters, footprint: Array) -> Array:
  """Skin with blush; the inside of the mouth with teeth and tongue."""
  x, y, z = jnp.abs(points[:, 0]), points[:, 1], points[:, 2]
  front = (z > 0.2).astype(x.dtype)
  blush = jnp.exp(-((x - 0.25) ** 2 + (y + 0.13) ** 2) / 0.012) * front * 0.25
  tint = 1 - blush[:, None] * jnp.array([0.1, 0.55, 0.5])
  yc, _, opening = mouth_frame(x, y, z, p)
  edge = jnp.minimum(footprint, 0.02)
  inside = _step(-mouth_cavity(x, y, z, p) + 0.012, edge) * front
  teeth = _step(yc + 0.05 * opening, edge)[:, None]
  hollow = jnp.array([0.30, 0.03, 0.05])
  mouth = hollow + teeth * (jnp.array([0.96, 0.95, 0.92]) - hollow)
  return (
    p['color_skin'] * tint * (1 - inside[:, None]) + mouth * inside[:, None]
  )


def _eye_color(points: Array, p: Parameters, footprint: Array) -> Array:
  """White, iris and pupil by angle from the gaze."""
  x, y, z = jnp.abs(points[:, 0]), points[:, 1], points[:, 2]
  ex, ey, _, radius = eye_frame(x, y, z, p)
  out = jnp.sqrt(ex * ex + ey * ey)
  edge = jnp.minimum(footprint, 0.02)
  iris = _step(0.66 * radius - out, edge)[:, None]
  pupil = _step(0.36 * radius - out, edge)[:, None]
  color = jnp.array([0.97, 0.97, 0.97]) * (1 - iris) + p['color_eye'] * iris
  return color * (1 - pupil) + 0.02 * pupil


def _step(value: Array, width: Array) -> Array:
  return jnp.clip(value / width + 0.5, 0.0, 1.0)
