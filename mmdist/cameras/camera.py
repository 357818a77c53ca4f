"""Pinhole cameras around the head, and the cones of their pixels.

Owns poses and rays. Which views exist, and what they are called, belongs to
`mmdist.cameras.orbits`.

World: right-handed, +y up, the face looks along +z. A camera looks along its
own -z with +x right and +y up (OpenGL, as in nerfstudio's `transforms.json`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from numpy import typing as npt

from mmdist.cameras import poses
from mmdist.core import arrays

# A ball around the world's origin that holds head, hat and shoulders.
SCENE_RADIUS = 1.4
# A ray that misses the ball gets a slab; the square of half its thickness.
_SQUARED_SLAB = 1e-2


@dataclasses.dataclass(frozen=True)
class Camera:
  """A pinhole camera, or a batch of them along leading axes.

  Attributes:
    camera_to_world: [..., 3, 4] float32 rotation and position.
    tan_half_fov: [...] tangent of half the (square) field of view.
  """

  camera_to_world: arrays.Array
  tan_half_fov: arrays.Array

  def take(self, indices: int | slice | np.ndarray) -> 'Camera':
    """Returns the cameras at `indices` (an index, slice or array) of [N]."""
    return Camera(self.camera_to_world[indices], self.tan_half_fov[indices])


jax.tree_util.register_dataclass(
  Camera, data_fields=['camera_to_world', 'tan_half_fov'], meta_fields=[]
)


def look_at(
  azimuth: npt.ArrayLike,
  elevation: npt.ArrayLike,
  distance: npt.ArrayLike,
  target: npt.ArrayLike,
  tan_half_fov: npt.ArrayLike,
) -> Camera:
  """Returns cameras on a sphere around `target`; see `poses.look_at`."""
  return Camera(
    *poses.look_at(azimuth, elevation, distance, target, tan_half_fov)
  )


def camera_rays(
  camera: Camera, resolution: int, background: arrays.Array
) -> arrays.Rays:
  """Casts one ray through the middle of every pixel of one camera.

  Args:
    camera: a single camera (no batch axes); `jax.vmap` for many.
    resolution: H = W in pixels.
    background: [3] colour in [0, 1].

  Returns:
    Rays with leading axes [H, W]; row 0 is the top. `near` and `far` bound
    the scene's ball, and a ray that misses it gets a thin slab at its closest
    point.
  """
  ticks = (jnp.arange(resolution) + 0.5) / resolution * 2 - 1
  coordinates = jnp.stack(jnp.meshgrid(ticks, -ticks), -1)
  return pixel_rays(camera, coordinates, resolution, background)


def pixel_rays(
  camera: Camera,
  coordinates: jax.Array,
  resolution: int | arrays.Array,
  background: arrays.Array,
) -> arrays.Rays:
  """Casts rays through given points of pictures.

  Args:
    camera: one camera for all points, or one each, [...].
    coordinates: [..., 2] x to the right and y up, -1 to 1 across the picture.
    resolution: of the picture, for the size of a pixel.
    background: [3] or [..., 3] colour in [0, 1].

  Returns:
    Rays with the leading axes of `coordinates`; bounds as in `camera_rays`.
  """
  pose = jnp.asarray(camera.camera_to_world)
  tan = jnp.asarray(camera.tan_half_fov)[..., None]
  x, y = coordinates[..., :1], coordinates[..., 1:]
  local = jnp.concatenate([x * tan, y * tan, -jnp.ones_like(x)], -1)
  directions = jnp.sum(pose[..., :3] * local[..., None, :], -1)
  directions /= jnp.linalg.norm(directions, axis=-1, keepdims=True)
  origins = jnp.broadcast_to(pose[..., 3], directions.shape)
  near, far = ball_bounds(origins, directions)
  # A square pixel of width w has the variance of a disc of radius w / sqrt(3).
  radii = jnp.full_like(near, 1.0) * (2 * tan / resolution / np.sqrt(3))
  return arrays.Rays(
    origins=origins,
    directions=directions,
    viewdirs=directions,
    radii=radii,
    near=near,
    far=far,
    background=jnp.broadcast_to(jnp.asarray(background), directions.shape),
  )


def ball_bounds(
  origins: jax.Array, directions: jax.Array, radius: float = SCENE_RADIUS
) -> tuple[jax.Array, jax.Array]:
  """Returns [..., 1] near and far where unit-direction rays cross the ball."""
  closest, squared_half = _chord(origins, directions, radius)
  half = jnp.sqrt(jnp.maximum(squared_half, _SQUARED_SLAB))
  return jnp.maximum(closest - half, 1e-2), jnp.maximum(closest + half, 2e-2)


def is_in_ball(
  origins: jax.Array, directions: jax.Array, radius: float = SCENE_RADIUS
) -> jax.Array:
  """Returns [..., 1] whether all of a ray between its bounds is in the ball.

  A ray that misses the ball, or only grazes it, is given a thin slab by
  `ball_bounds`, and so is one whose ball lies behind it. The field is not
  trained there and may hold anything.
  """
  closest, squared_half = _chord(origins, directions, radius)
  half = jnp.sqrt(jnp.maximum(squared_half, _SQUARED_SLAB))
  return (squared_half >= _SQUARED_SLAB) & (closest + half >= 2e-2)


def _chord(
  origins: jax.Array, directions: jax.Array, radius: float
) -> tuple[jax.Array, jax.Array]:
  """Returns [..., 1] where a ray is nearest to the ball's centre, and the
  square of half its chord, which is negative if it misses the ball."""
  closest = -jnp.sum(origins * directions, -1, keepdims=True)
  squared_miss = jnp.sum(origins**2, -1, keepdims=True) - closest**2
  return closest, radius**2 - squared_miss
