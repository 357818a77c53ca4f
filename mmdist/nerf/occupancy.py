"""Which rays can meet anything: the others need not be rendered.

Many pixels of a picture of a head show its background alone. What is here
bounds from above the opacity that a ray can gather, from the density at the
corners of cells: each cell counts with the largest of its eight. That is no
proof, as the density between the corners is not known; how far pictures and
gradients are from those of all rays is measured
(tests/learner/empty_rays_test.py).
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmdist.cameras import camera as camera_lib
from mmdist.core import arrays
from mmdist.core import device_mesh
from mmdist.core import representation as representation_lib
from mmdist.nerf import normals

# Along each edge of the cube around the scene's ball. A cell is 2.7 pixels
# wide in a 64-pixel picture of the head.
NUM_CELLS = 32
_SPACING = 2 * camera_lib.SCENE_RADIUS / NUM_CELLS
# Of the Gaussians at which the density is taken: that of a uniform cell, and
# about that of a sample of the render where a ray meets nothing.
_SPREAD = _SPACING / np.sqrt(12)

# Of parameters, points [N, 3] and a standard deviation; returns [N] densities.
BlurredDensity = Callable[
  [representation_lib.Params, jax.Array, float], jax.Array
]


def make_grid(
  density: BlurredDensity,
  params: representation_lib.Params,
  layout: device_mesh.Layout,
  points_at_once: int,
) -> jax.Array:
  """Returns what the density in each cell is at most, under `jax.jit`.

  Args:
    density: takes Gaussians instead of points, whose encoding is what the
      render sees.
    params: the parameters.
    layout: each device takes a part of the corners; all get the same bits.
    points_at_once: on each device; bounds the memory.

  Returns:
    [G, G, G] per world unit, the largest of its corners; 0 outside the ball.
  """
  points, inside = _points()
  rounds = -(-len(points) // (points_at_once * layout.num_devices))
  missing = rounds * layout.num_devices * points_at_once - len(points)
  padded = np.pad(points, ((0, missing), (0, 0)), mode='edge')
  cut = jnp.asarray(padded).reshape(-1, points_at_once, 3)

  def local(params: representation_lib.Params, cut: jax.Array) -> Any:
    return jax.lax.map(lambda some: density(params, some, _SPREAD), cut)

  found = layout.map_chunks(local, sums=False)(params, cut)
  found = layout.compute_alike(found).reshape(-1)[: len(points)]
  corners = jnp.zeros((NUM_CELLS + 1) ** 3, found.dtype)
  corners = corners.at[inside].set(found, unique_indices=True)
  corners = corners.reshape((NUM_CELLS + 1,) * 3)
  return jax.lax.reduce_window(
    corners, 0.0, jax.lax.max, (2, 2, 2), (1, 1, 1), 'VALID'
  )


def most_opacity(grid: jax.Array, rays: arrays.Rays) -> jax.Array:
  """Returns [N] what the opacity of rays [N] is at most, by the grid."""
  shares = (np.arange(NUM_CELLS, dtype=np.float32) + 0.5) / NUM_CELLS
  length = rays.far - rays.near
  distances = rays.near + length * shares
  cell = jnp.zeros(distances.shape, jnp.int32)
  is_in = jnp.ones(distances.shape, bool)
  # One axis after the other: an array of three would be three times as large.
  for axis in range(3):
    along = (
      rays.origins[:, axis, None] + distances * (rays.directions[:, axis, None])
    )
    place = jnp.floor((along + camera_lib.SCENE_RADIUS) / _SPACING)
    is_in &= (place >= 0) & (place < NUM_CELLS)
    place = jnp.clip(place, 0, NUM_CELLS - 1).astype(jnp.int32)
    cell = cell * NUM_CELLS + place
  density = jnp.where(is_in, grid.reshape(-1)[cell], 0)
  depth = jnp.sum(density, -1) * length[:, 0] / NUM_CELLS
  return -jnp.expm1(-depth)


def may_show(opacity: jax.Array, least: float) -> jax.Array:
  """Returns where opacities reach `least`, or are no numbers.

  What is not finite has to be seen, or a broken field would look empty.
  """
  return ~(opacity <= least)


def empty_renders(rays: arrays.Rays) -> dict[str, jax.Array]:
  """Returns what is seen along rays [...] where nothing is.

  Returns:
    'rgb' and 'normals' [..., 3], 'acc' and 'depth' [...], as in `Renders`.
  """
  background = rays.background
  return {
    'rgb': background,
    # Of a ray's own values, so that they are each device's as these are.
    'normals': 0 * background + normals.MID_GREY,
    'acc': 0 * background[..., 0],
    'depth': rays.far[..., 0],
  }


@functools.cache
def _points() -> tuple[np.ndarray, np.ndarray]:
  """Returns the corners of cells in the ball, [M, 3], and which they are.

  Those of cells that the ball cuts are among them.
  """
  ticks = np.arange(NUM_CELLS + 1) * _SPACING - camera_lib.SCENE_RADIUS
  cube = np.stack(np.meshgrid(ticks, ticks, ticks, indexing='ij'), -1)
  flat = cube.reshape(-1, 3)
  reach = camera_lib.SCENE_RADIUS + _SPACING
  inside = np.flatnonzero(np.linalg.norm(flat, axis=-1) <= reach)
  return flat[inside].astype(np.float32), inside
