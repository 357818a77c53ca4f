"""Textures of a mesh: the representation's colours and normals.

Owns what each texel shows. Where it lies on the surface is
`mmdist.results.unwrapping`'s, and what is seen there
`mmdist.results.surface_looks`'.
"""

import dataclasses

import numpy as np
import trimesh

from mmdist.core import representation as representation_lib
from mmdist.core import vectors
from mmdist.results import surface_looks
from mmdist.results import unwrapping

# Less of a ray is stopped where a triangle lies beside the surface, at the tip
# of a hair; the colours of its corners are nearer to the truth there.
_LEAST_ACC = 0.5
# The cosine to the mesh's own normal below which a rendered one is doubted: it
# belongs to another part that the ray met, or to none.
_LEAST_COSINE = 0.3
_TEXELS_AT_ONCE = 2**18  # Bounds the memory; a multiple of a block of rays.
_FLAT = (0.5, 0.5, 1.0)  # A normal map's colour of the mesh's own normal.


@dataclasses.dataclass(frozen=True, eq=False)
class Textured:
  """A mesh with two textures.

  Attributes:
    mesh: with texture coordinates and tangents.
    colors: [T, T, 3] uint8 display colours (sRGB).
    normals: [T, T, 3] uint8 normal map in tangent space: x along the tangent,
      y along the bitangent, z along the normal, each (n + 1) / 2.
  """

  mesh: unwrapping.Unwrapped
  colors: np.ndarray
  normals: np.ndarray


def bake(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  mesh: trimesh.Trimesh,
  texture_size: int,
) -> Textured:
  """Unwraps a mesh and renders its textures, one ray for each texel.

  Args:
    representation: see `core.representation`.
    params: its parameters.
    mesh: closed, in world units, normals outward.
    texture_size: T, texels of a side.
  """
  unwrapped = unwrapping.unwrap(mesh, texture_size)
  texels = unwrapping.covered_texels(unwrapped, texture_size)
  at_vertices = surface_looks.look(
    representation, params, unwrapped.vertices, unwrapped.normals
  )
  colors = np.zeros((texture_size, texture_size, 3), np.uint8)
  normal_map = np.zeros_like(colors)
  for begin in range(0, len(texels.rows), _TEXELS_AT_ONCE):
    block = texels.take(slice(begin, begin + _TEXELS_AT_ONCE))
    points = block.interpolate(unwrapped, unwrapped.vertices)
    normals = vectors.unit(block.interpolate(unwrapped, unwrapped.normals))
    seen = surface_looks.look(representation, params, points, normals, True)
    is_sure = seen.acc >= _LEAST_ACC
    colors[block.rows, block.columns] = _to_bytes(
      np.where(
        is_sure[:, None],
        seen.colors,
        block.interpolate(unwrapped, at_vertices.colors),
      )
    )
    local = _to_tangent_space(unwrapped, block, normals, seen.normals)
    has_normal = is_sure & (np.sum(normals * seen.normals, -1) >= _LEAST_COSINE)
    normal_map[block.rows, block.columns] = _to_bytes(
      np.where(has_normal[:, None], (local + 1) / 2, _FLAT)
    )
  return Textured(
    unwrapped,
    unwrapping.fill_gaps(colors, texels),
    unwrapping.fill_gaps(normal_map, texels),
  )


def _to_bytes(values: np.ndarray) -> np.ndarray:
  return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _to_tangent_space(
  mesh: unwrapping.Unwrapped,
  texels: unwrapping.Texels,
  normals: np.ndarray,
  world: np.ndarray,
) -> np.ndarray:
  """Returns [K, 3] along tangent, bitangent and normal.

  A viewer adds the three up again, interpolated as here; they are not quite
  perpendicular within a triangle, so that this solves for the factors.
  """
  tangents = texels.interpolate(mesh, mesh.tangents)
  along, sign = vectors.unit(tangents[:, :3]), np.sign(tangents[:, 3:])
  across = sign * np.cross(normals, along)
  frame = np.stack([along, across, normals], -1)
  volume = np.linalg.det(frame)
  frame[np.abs(volume) < 1e-3] = np.eye(3)  # Too flat to be solved.
  return vectors.unit(np.linalg.solve(frame, world[..., None])[..., 0])
