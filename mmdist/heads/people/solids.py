"""Simple solids that wear is made of.

Owns grids, surfaces of revolution, balls and tubes, as ([N, 3] vertices,
[T, 3] triangles) with normals outwards.
"""

from collections.abc import Sequence

import numpy as np
from numpy import typing as npt

from mmdist.heads.people import pieces

Solid = tuple[np.ndarray, np.ndarray]
_FULL = (0.0, 2 * np.pi)


def grid(rows: int, columns: int, is_closed: bool) -> np.ndarray:
  """Returns triangles of [columns, rows] vertices; closed joins the ends."""
  i = np.arange(columns if is_closed else columns - 1)[:, None]
  a = i * rows + np.arange(rows - 1)[None]
  b = (i + 1) % columns * rows + np.arange(rows - 1)[None]
  halves = (np.stack([a, a + 1, b], -1), np.stack([b, a + 1, b + 1], -1))
  return np.concatenate([half.reshape(-1, 3) for half in halves])


def revolve(
  profile: npt.ArrayLike,
  segments: int = 40,
  arc: tuple[float, float] = _FULL,
) -> Solid:
  """Turns a profile around the y axis.

  Args:
    profile: [K, 2] radius and height, from the top down along the outside.
    segments: around the axis.
    arc: from where to where, radians from +z to +x.
  """
  is_closed = arc == _FULL
  angle = np.linspace(*arc, segments, endpoint=not is_closed)
  radius, height = np.asarray(profile, float).T
  vertices = np.stack(
    [
      np.outer(np.sin(angle), radius),
      np.tile(height, (segments, 1)),
      np.outer(np.cos(angle), radius),
    ],
    -1,
  )
  return vertices.reshape(-1, 3), grid(len(radius), segments, is_closed)


def ball(centre: npt.ArrayLike, size: npt.ArrayLike, rings: int = 14) -> Solid:
  """Returns an ellipsoid with half axes `size`, [3] or one number."""
  angle = np.linspace(0, np.pi, rings)
  profile = np.stack([np.sin(angle) + 1e-4, np.cos(angle)], 1)
  vertices, triangles = revolve(profile, 20)
  return vertices * np.asarray(size) + np.asarray(centre), triangles


def tube(points: npt.ArrayLike, radius: npt.ArrayLike, sides: int = 8) -> Solid:
  """Returns a tube along points [K, 3], of one radius or of [K]."""
  points = np.asarray(points, float)
  along = pieces.unit(np.gradient(points, axis=0))
  # Any direction that no tube of ours follows.
  across = pieces.unit(np.cross(along, (0.13, 0.31, 0.94)))
  up = np.cross(across, along)
  radius = np.broadcast_to(np.asarray(radius, float), len(points))
  angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[:, None, None]
  ring = np.cos(angle) * across + np.sin(angle) * up
  vertices = points + radius[:, None] * ring
  return vertices.reshape(-1, 3), grid(len(points), sides, True)


def join(solids: Sequence[Solid]) -> Solid:
  """Puts solids into one."""
  starts = np.cumsum([0] + [len(vertices) for vertices, _ in solids[:-1]])
  return (
    np.concatenate([vertices for vertices, _ in solids]),
    np.concatenate([t + start for (_, t), start in zip(solids, starts)]),
  )
