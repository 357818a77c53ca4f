"""What a camera straight above a point of a surface would see.

Only a representation's `render` is needed, so its colours and normals are those
of pictures.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mmdist.core import arrays
from mmdist.core import representation as representation_lib
from mmdist.nerf import images

_DISTANCE = 3.0
_REACH = 0.08  # Half the length of a ray, around its point.
# Of a ray's cone, per unit of distance: about that of a picture of the whole
# head with 160 pixels along a side, see `camera.pixel_rays`.
_PIXEL_RADIUS = 0.002
_BLOCK = 2**14  # Rays that are rendered at once; one program for all.
_SMALLEST_BLOCK = 2**12


@dataclasses.dataclass(frozen=True, eq=False)
class Looks:
  """What rays to N points see.

  Attributes:
    colors: [N, 3] display colours in [0, 1].
    normals: [N, 3] world, outward, of unit length; zero where there is none or
      where they were not asked for.
    acc: [N] how much of each ray the surface stops, in [0, 1].
  """

  colors: np.ndarray
  normals: np.ndarray
  acc: np.ndarray


def look(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  points: np.ndarray,
  normals: np.ndarray,
  with_normals: bool = False,
) -> Looks:
  """Looks straight at points of a surface from outside.

  Args:
    representation: see `core.representation`.
    params: its parameters.
    points: [N, 3] world.
    normals: [N, 3] outward, of unit length.
    with_normals: renders those too, in about twice the time.
  """
  block = _SMALLEST_BLOCK if len(points) <= _SMALLEST_BLOCK else _BLOCK
  missing = -len(points) % block
  points = np.pad(points.astype(np.float32), ((0, missing), (0, 0)), 'edge')
  normals = np.pad(normals.astype(np.float32), ((0, missing), (0, 0)), 'edge')
  parts = [
    _look_once(
      representation,
      params,
      jnp.asarray(points[begin : begin + block]),
      jnp.asarray(normals[begin : begin + block]),
      with_normals,
    )
    for begin in range(0, len(points), block)
  ]
  end = len(points) - missing
  return Looks(*(np.concatenate(columns)[:end] for columns in zip(*parts)))


def _look_once(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  points: jax.Array,
  normals: jax.Array,
  with_normals: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  ones = jnp.ones_like(points[:, :1])
  rays = arrays.Rays(
    origins=points + _DISTANCE * normals,
    directions=-normals,
    viewdirs=-normals,
    radii=_PIXEL_RADIUS * ones,
    near=(_DISTANCE - _REACH) * ones,
    far=(_DISTANCE + _REACH) * ones,
    background=jnp.zeros_like(points),
  )
  seen = images.render_rays(representation, params, rays, with_normals)
  acc = seen['acc']
  # Over black, so that dividing by the opacity leaves the surface's colour.
  colors = np.clip(seen['rgb'] / np.maximum(acc, 1e-3)[:, None], 0, 1)
  # Coloured (n + 1) / 2 over the grey that stands for zero.
  world = 2 * seen['normals'] - 1
  length = np.linalg.norm(world, axis=-1, keepdims=True)
  world = np.where(length > 1e-3, world / np.maximum(length, 1e-3), 0.0)
  return colors, world.astype(np.float32), acc
