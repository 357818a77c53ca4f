"""Where cameras stand and how they are turned, without JAX.

The convention is that of `mmdist.cameras.camera`, which casts their rays.
"""

import numpy as np
from numpy import typing as npt

from mmdist.core import errors


def look_at(
  azimuth: npt.ArrayLike,
  elevation: npt.ArrayLike,
  distance: npt.ArrayLike,
  target: npt.ArrayLike,
  tan_half_fov: npt.ArrayLike,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns cameras on a sphere around `target`, upright, looking at it.

  Args:
    azimuth: [...] radians; 0 is in front of the face (+z), +pi/2 at +x.
    elevation: [...] radians above the horizon, within (-pi/2, pi/2).
    distance: [...] world units from the target.
    target: [..., 3] what is in the middle of the picture.
    tan_half_fov: [...] tangent of half the field of view.

  Returns:
    (camera_to_world [..., 3, 4], tan_half_fov [...]), float32.

  Raises:
    UserError: a camera is above or below the target.
  """
  azimuth, elevation, distance, tan_half_fov = np.broadcast_arrays(
    *(
      np.asarray(value, np.float64)
      for value in (azimuth, elevation, distance, tan_half_fov)
    )
  )
  if np.any(np.abs(elevation) >= np.pi / 2):
    raise errors.UserError(
      'elevation must lie within (-pi/2, pi/2) radians, where "up" is defined;'
      f' got {elevation.flat[np.argmax(np.abs(elevation))]:.3f}.'
    )
  back = np.stack(
    [
      np.cos(elevation) * np.sin(azimuth),
      np.sin(elevation),
      np.cos(elevation) * np.cos(azimuth),
    ],
    -1,
  )
  right = np.stack([np.cos(azimuth), 0 * azimuth, -np.sin(azimuth)], -1)
  up = np.cross(back, right)
  position = np.asarray(target) + distance[..., None] * back
  pose = np.stack([right, up, back, position], -1)
  return pose.astype(np.float32), tan_half_fov.astype(np.float32)
