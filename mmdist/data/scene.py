"""Whether cameras stand where the house's world has them.

The NeRF renders a ball around the origin, with +y up and a head of radius
about 1 in it. Poses of another scale, centre or convention train on nothing
and say nothing; these checks do.
"""

import numpy as np

from mmdist.cameras import camera as camera_lib
from mmdist.core import errors

_RADIUS = camera_lib.SCENE_RADIUS
# The ball's diameter in picture widths, below which the head is a speck.
_MIN_SHARE = 0.1
_AXES = ('x', 'y', 'z')


def check_cameras(
  camera_to_world: np.ndarray, corners: np.ndarray, names: list[str]
) -> None:
  """Raises UserError if most of a subject's cameras do not see the scene.

  Args:
    camera_to_world: [K, 3, 4].
    corners: [K, 4, 2] where the rays of each picture's corners cross the plane
      at distance 1 before the camera.
    names: K names of pictures, for the message.
  """
  faults = [
    find_fault(pose, corner) for pose, corner in zip(camera_to_world, corners)
  ]
  bad = [i for i, fault in enumerate(faults) if fault]
  if 2 * len(bad) <= len(faults):
    return
  point, distance = looked_at(camera_to_world)
  where = ', '.join(f'{value:.2f}' for value in point.round(2) + 0.0)
  remedy = (
    f'the cameras look at ({where}) from {distance:.3g} units: subtract the '
    "head's centre from the last column of every transform_matrix and divide "
    "it by the head's radius"
  )
  if all(fault.startswith('is behind') for fault in filter(None, faults)):
    remedy += (
      '; or, if poses are of OpenCV, negate their second and third column'
    )
  raise errors.UserError(
    f'{len(bad)} of {len(faults)} cameras do not see a head of radius 1 at the '
    f'origin, which {faults[bad[0]]} the camera of {names[bad[0]]}; {remedy}.'
  )


def find_fault(pose: np.ndarray, corners: np.ndarray) -> str:
  """Returns what is wrong with one camera, as 'is behind', or ''.

  Args:
    pose: [3, 4].
    corners: [4, 2]; see `check_cameras`.
  """
  origin = -pose[:, 3] @ pose[:, :3]  # As the camera sees it; -z is ahead.
  distance = float(np.linalg.norm(origin))
  if distance < _RADIUS:
    return f'is only {distance:.3g} units from'
  ahead = np.arccos(np.clip(-origin[2] / distance, -1, 1))
  half_ball = np.arcsin(_RADIUS / distance)
  half_view = np.arctan(np.linalg.norm(corners, axis=-1).max())
  if ahead > half_view + half_ball:
    return 'is behind' if ahead > np.pi / 2 else 'is outside the picture of'
  width = np.ptp(corners[:, 0])
  if 2 * _RADIUS / distance < _MIN_SHARE * width:
    return f'is {distance:.3g} units away and a speck to'
  return ''


def looked_at(camera_to_world: np.ndarray) -> tuple[np.ndarray, float]:
  """Returns the [3] point nearest to all optical axes, and its mean distance.

  One camera, or several in parallel, have no such point; theirs is the one
  nearest to the origin.
  """
  ahead = -camera_to_world[:, :, 2]
  across = np.eye(3) - ahead[:, :, None] * ahead[:, None, :]
  positions = camera_to_world[:, :, 3]
  right = np.einsum('kij,kj->i', across, positions)
  point = np.linalg.lstsq(across.sum(0), right, rcond=1e-6)[0]
  return point, float(np.linalg.norm(positions - point, axis=-1).mean())


def up_axis(camera_to_world: np.ndarray) -> str:
  """Returns '+y', '-z', ...: where [K, 3, 4] cameras have up on average.

  An empty string if they do not agree.
  """
  up = camera_to_world[:, :, 1].mean(0)
  axis = int(np.argmax(np.abs(up)))
  if np.abs(up[axis]) < 0.5:
    return ''
  return ('+' if up[axis] > 0 else '-') + _AXES[axis]
