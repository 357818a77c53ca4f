"""Pieces of a body and how they become one mesh.

Owns materials, normals of meshes and the join. A piece knows nothing of light.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np
from numpy import typing as npt

# Materials, by which `shading` decides what a hit looks like.
SKIN, EYE, HARD, CLOTH, HAIR, TEETH = range(6)
# What a vertex carries besides its normal, by material:
#   SKIN: position on the base mesh (3), lips, inside of the mouth, 0
#   EYE: direction from the eyeball's middle, on the base mesh (3), 0, 0, 0
#   HAIR: direction of the strand (3), root to tip, shade of the lock, across
NUM_EXTRAS = 6


@dataclasses.dataclass(frozen=True)
class Piece:
  """Triangles of one material.

  Attributes:
    vertices: [N, 3] world.
    triangles: [T, 3] rows of `vertices`.
    normals: [N, 3] unit, outwards.
    material: one of the constants of this module.
    color: [3] linear albedo; the skin's is decided at each hit.
    extras: [N, `NUM_EXTRAS`], see above.
    is_strands: whether it is made of separate strips.
  """

  vertices: np.ndarray
  triangles: np.ndarray
  normals: np.ndarray
  material: int
  color: np.ndarray
  extras: np.ndarray
  is_strands: bool = False


@dataclasses.dataclass(frozen=True)
class Mesh:
  """All pieces of a body.

  Attributes:
    vertices: [N, 3] float32 world.
    triangles: [T, 3] int32.
    normals: [N, 3] float32 unit.
    extras: [N, `NUM_EXTRAS`] float32.
    materials: [T] uint8.
    colors: [P, 3] float32 linear albedo of the pieces.
    piece: [T] uint8, which of the P pieces.
    is_strand: [N] bool.
  """

  vertices: np.ndarray
  triangles: np.ndarray
  normals: np.ndarray
  extras: np.ndarray
  materials: np.ndarray
  colors: np.ndarray
  piece: np.ndarray
  is_strand: np.ndarray


def make(
  vertices: np.ndarray,
  triangles: np.ndarray,
  material: int,
  color: npt.ArrayLike,
  normals: np.ndarray | None = None,
  extras: np.ndarray | None = None,
  is_strands: bool = False,
) -> Piece:
  """Returns a piece of the vertices that its triangles use."""
  used, renumbered = np.unique(triangles, return_inverse=True)
  triangles = renumbered.reshape(triangles.shape).astype(np.int32)
  vertices = np.asarray(vertices, np.float32)[used]
  if normals is None:
    normals = vertex_normals(vertices, triangles)
  else:
    normals = normals[used]
  if extras is None:
    extras = np.zeros((len(used), NUM_EXTRAS), np.float32)
  else:
    extras = extras[used]
  return Piece(
    vertices,
    triangles,
    normals.astype(np.float32),
    material,
    np.asarray(color, np.float32),
    extras.astype(np.float32),
    is_strands,
  )


def join(parts: Sequence[Piece]) -> Mesh:
  """Puts pieces into one mesh."""
  starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
  counts = [len(part.triangles) for part in parts]
  materials = np.array([part.material for part in parts], np.uint8)
  return Mesh(
    np.concatenate([part.vertices for part in parts]),
    np.concatenate(
      [part.triangles + start for part, start in zip(parts, starts)]
    ).astype(np.int32),
    np.concatenate([part.normals for part in parts]),
    np.concatenate([part.extras for part in parts]),
    np.repeat(materials, counts),
    np.stack([part.color for part in parts]),
    np.repeat(np.arange(len(parts), dtype=np.uint8), counts),
    np.concatenate(
      [np.full(len(part.vertices), part.is_strands) for part in parts]
    ),
  )


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
  """Returns [N, 3] means of the triangles' normals, weighted by area."""
  a, b, c = (vertices[triangles[:, k]] for k in range(3))
  face = np.cross(b - a, c - a)
  corners = triangles.ravel()
  total = np.stack(
    [
      np.bincount(corners, np.repeat(face[:, axis], 3), len(vertices))
      for axis in range(3)
    ],
    -1,
  )
  return unit(total).astype(np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
  """Returns vectors [..., 3] at length 1; zero stays zero."""
  length = np.sqrt(np.einsum('...c,...c->...', vectors, vectors))[..., None]
  return vectors / np.maximum(length, 1e-9)
