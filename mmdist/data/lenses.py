"""Lenses of real cameras: from a pixel to the direction of its ray, exactly.

The words and the maths are OpenCV's, as nerfstudio writes them: focal lengths
and principal point in pixels, the picture's corner at (0, 0), radial and
tangential distortion. Distortion is undone ray by ray, so that no picture is
resampled.
"""

import dataclasses
from typing import Any

import numpy as np

from mmdist.core import errors

# Of Newton's method; with any real lens five are exact up to rounding.
_NUM_STEPS = 12
_MAX_ERROR_PIXELS = 1e-3
_NUM_TICKS = 33  # Points along each axis at which a lens is tried.


@dataclasses.dataclass(frozen=True)
class Lenses:
  """The lenses of cameras [...].

  Attributes:
    focal: [..., 2] fl_x and fl_y, pixels.
    center: [..., 2] cx and cy, pixels; the first pixel's middle is (0.5, 0.5).
    distortion: [..., 5] k1, k2, p1, p2 and k3; zero for a pinhole.
  """

  focal: np.ndarray
  center: np.ndarray
  distortion: np.ndarray

  def take(self, indices: Any) -> 'Lenses':
    """Returns the lenses at `indices`, which index the leading axes."""
    return Lenses(
      self.focal[indices], self.center[indices], self.distortion[indices]
    )

  def put(self, indices: Any, other: 'Lenses') -> None:
    """Writes `other` over the lenses at `indices`."""
    for field in dataclasses.fields(self):
      getattr(self, field.name)[indices] = getattr(other, field.name)


def ideal(shape: tuple[int, ...], width: int, height: int) -> Lenses:
  """Returns ideal lenses [*shape] for pictures of one size, in pixels.

  They are behind the middle, and half of their horizontal field of view has a
  tangent of 1.
  """
  middle = np.array([width, height]) / 2
  return Lenses(
    np.full((*shape, 2), width / 2),
    np.tile(middle, (*shape, 1)),
    np.zeros((*shape, 5)),
  )


def is_ideal(lenses: Lenses, width: int, height: int) -> bool:
  """Returns whether all are pinholes behind the middle of square pictures."""
  middle = np.array([width, height]) / 2
  return bool(
    width == height
    and np.all(lenses.focal[..., 0] == lenses.focal[..., 1])
    and np.all(lenses.center == middle)
    and not np.any(lenses.distortion)
  )


def pixels_to_tangents(
  lenses: Lenses, column: np.ndarray, row: np.ndarray
) -> np.ndarray:
  """Returns where rays cross the plane at distance 1 before the camera.

  Args:
    lenses: [...].
    column: [...] number of the pixel from the left.
    row: [...] from the top.

  Returns:
    [..., 2] x to the right and y up.
  """
  pixel = np.stack(np.broadcast_arrays(column, row), -1) + 0.5
  tangents = undistort((pixel - lenses.center) / lenses.focal, lenses)
  return tangents * [1, -1]


def undistort(points: np.ndarray, lenses: Lenses) -> np.ndarray:
  """Undoes the distortion of [..., 2] points, x right and y down.

  Newton's method on OpenCV's polynomial. See `check` for where it holds.
  """
  answer = np.array(points)
  if not np.any(lenses.distortion):
    return answer
  with np.errstate(all='ignore'):  # Beyond the lens's range; `check` finds it.
    for _ in range(_NUM_STEPS):
      distorted, (xx, xy, yy) = _distort(answer, lenses.distortion)
      off_x, off_y = np.moveaxis(distorted - points, -1, 0)
      determinant = xx * yy - xy * xy
      answer[..., 0] -= (yy * off_x - xy * off_y) / determinant
      answer[..., 1] -= (xx * off_y - xy * off_x) / determinant
  return answer


def check(lens: Lenses, width: int, height: int) -> None:
  """Raises UserError unless one lens can be undone all over its picture."""
  if not np.any(lens.distortion):
    return
  column, row = np.meshgrid(
    np.linspace(-0.5, width - 0.5, _NUM_TICKS),
    np.linspace(-0.5, height - 0.5, _NUM_TICKS),
  )
  points = (np.stack([column, row], -1) + 0.5 - lens.center) / lens.focal
  with np.errstate(all='ignore'):
    answer = undistort(points, lens)
    distorted, (xx, xy, yy) = _distort(answer, lens.distortion)
    error = np.abs(distorted - points) * lens.focal
    # Where the picture is folded over, the determinant of the Jacobian is
    # negative; where it is turned by 180 degrees, its trace is.
    unfolded = (xx * yy - xy * xy > 0) & (xx + yy > 0)
  if not np.all((error < _MAX_ERROR_PIXELS) & unfolded[..., None]):
    words = ', '.join(f'{value:g}' for value in lens.distortion)
    raise errors.UserError(
      f'the distortion k1, k2, p1, p2, k3 = {words} folds the edge of the '
      'picture over and cannot be undone; undistort the pictures first, e.g. '
      "with 'colmap image_undistorter'."
    )


def _distort(
  points: np.ndarray, distortion: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Returns [..., 2] distorted points, and xx, xy and yy of the (symmetric)
  Jacobian."""
  x, y = np.moveaxis(points, -1, 0)
  k1, k2, p1, p2, k3 = np.moveaxis(distortion, -1, 0)
  r2 = x * x + y * y
  radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
  slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
  distorted = np.stack(
    [
      x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
      y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y),
    ],
    -1,
  )
  return distorted, (
    radial + slope * x * x + 2 * p1 * y + 6 * p2 * x,
    slope * x * y + 2 * p1 * x + 2 * p2 * y,
    radial + slope * y * y + 6 * p1 * y + 2 * p2 * x,
  )
