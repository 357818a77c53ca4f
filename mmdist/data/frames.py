"""One entry of a `transforms.json`: its files, its pose and its lens."""

from collections.abc import Mapping
import dataclasses
import math
import pathlib
from typing import Any

import numpy as np

from mmdist.core import errors
from mmdist.core import plain_numbers
from mmdist.core import shapes
from mmdist.data import file_names
from mmdist.data import lenses

_CAMERA_MODELS = (
  'OPENCV',
  'PERSPECTIVE',
  'PINHOLE',
  'RADIAL',
  'SIMPLE_PINHOLE',
  'SIMPLE_RADIAL',
)
_DISTORTION = ('k1', 'k2', 'p1', 'p2', 'k3')
_OTHER_DISTORTION = ('k4', 'k5', 'k6', 'distortion_params', 'is_fisheye')
_UNDISTORT = (
  "undistort the pictures, e.g. with 'colmap image_undistorter', and give "
  'their new cameras'
)
_ORTHONORMAL_WITHIN = 1e-3  # Matrices may have been rounded to four digits.


@dataclasses.dataclass(frozen=True)
class Frame:
  """One picture of a subject.

  Attributes:
    source: the JSON file, for messages.
    name: `file_path` there.
    picture: the file.
    mask: its mask's file, or None.
    camera_to_world: [3, 4] float64, OpenGL's: +x right, +y up, -z ahead.
    settings: the file's values, this frame's own before those of all.
    held_out: it is measured and not trained on.
  """

  source: pathlib.Path
  name: str
  picture: pathlib.Path
  mask: pathlib.Path | None
  camera_to_world: np.ndarray
  settings: Mapping[str, Any]
  held_out: bool

  @property
  def label(self) -> str:
    """Returns how messages call it."""
    return f"{self.source}: frame '{self.name}'"


def read_frame(
  source: pathlib.Path,
  data: Mapping[str, Any],
  entry: Mapping[str, Any],
  held_out: bool,
) -> Frame:
  """Reads one entry of a file's frames.

  Args:
    source: the file.
    data: all of it; its lens is that of frames that say nothing else.
    entry: of its 'frames'; has a `file_path`.
    held_out: becomes the frame's.

  Raises:
    FileNotFoundError: its picture or its mask is missing.
    UserError: its pose is no rigid camera-to-world, or its lens no pinhole
      with distortion that can be undone.
  """
  name, mask = entry['file_path'], entry.get('mask_path')
  # A frame's own focal length, in whatever words, replaces that of all.
  common = {key: data[key] for key in data if key != 'frames'}
  for axis in 'xy':
    words = (f'fl_{axis}', f'camera_angle_{axis}')
    if any(word in entry for word in words):
      common = {key: common[key] for key in common if key not in words}
  picture, mask_file = _find_file(source, name, file_names.PICTURES), None
  if mask is not None:
    mask_file = _find_file(source, str(mask), file_names.MASKS)
    if mask_file == picture:  # Found under another name.
      raise errors.UserError(
        f"{source}: the mask_path '{mask}' of '{name}' is its picture; "
        'expected a file of its own, white where the subject is.'
      )
  frame = Frame(
    source,
    name,
    picture,
    mask_file,
    np.zeros((3, 4)),
    {**common, **entry},
    held_out,
  )
  try:
    _check_camera_model(frame.settings)
    pose = _read_pose(entry.get('transform_matrix'))
  except ValueError as error:
    raise errors.UserError(f'{frame.label}: {error}') from error
  return dataclasses.replace(frame, camera_to_world=pose)


def read_lens(frame: Frame, width: int, height: int) -> lenses.Lenses:
  """Returns the lens of a picture of a size, which may be a scaled copy.

  Focal lengths are `fl_x` and `fl_y`, or follow from `camera_angle_x` and
  `camera_angle_y`; pixels are square and the lens is behind the middle if
  nothing else is said.

  Raises:
    UserError: nothing says the focal length, or a value makes no sense.
  """
  settings = frame.settings
  try:
    full_width = _number(settings, 'w', width, 0)
    full_height = _number(settings, 'h', full_width * height / width, 0)
    # A scaled copy may have been rounded to whole pixels.
    if abs(full_width * height - full_height * width) > max(
      full_width, full_height
    ):
      raise errors.UserError(
        f'the picture has {width} x {height} pixels, which is not the shape of '
        f'w, h = {full_width:g} x {full_height:g}; cameras and picture must '
        'belong together (was it cropped or turned?).'
      )
    scale = np.array([width / full_width, height / full_height])
    focal_x = _focal(settings, 'x', full_width)
    focal_y = _focal(settings, 'y', full_height) or focal_x
    if not focal_x:
      raise errors.UserError('has neither fl_x nor camera_angle_x; add one.')
    center = [
      _number(settings, 'cx', full_width / 2),
      _number(settings, 'cy', full_height / 2),
    ]
    distortion = [_number(settings, name, 0.0) for name in _DISTORTION]
    lens = lenses.Lenses(
      np.array([focal_x, focal_y]) * scale,
      np.array(center) * scale,
      np.array(distortion),
    )
    lenses.check(lens, width, height)
  except ValueError as error:
    raise errors.UserError(f'{frame.label}: {error}') from error
  return lens


def _find_file(source: pathlib.Path, name: str, usual: str) -> pathlib.Path:
  """Returns the file beside `source` that it calls `name`."""
  try:
    found = file_names.find(source.parent, name, usual)
  except ValueError as error:
    raise errors.UserError(f'{source}: {error}') from error
  if found is None:
    raise FileNotFoundError(
      f'{file_names.missing(source.parent, name)}; {source} names it.'
    )
  return found


def _read_pose(matrix: Any) -> np.ndarray:
  """Returns [3, 4] of a rigid [4, 4] matrix, whose last row may be missing."""
  if matrix is None:
    raise errors.UserError('has no transform_matrix.')
  try:
    pose = np.array(matrix, np.float64)
  except (ValueError, TypeError, OverflowError) as error:
    raise errors.UserError(
      'transform_matrix is no matrix of numbers; expected [4, 4].'
    ) from error
  if pose.shape == (3, 4):
    pose = np.concatenate([pose, [[0, 0, 0, 1]]])
  shapes.check_shape('transform_matrix', pose, (4, 4))
  if not np.all(np.isfinite(pose)):
    raise errors.UserError('transform_matrix is not finite.')
  turn = pose[:3, :3]
  off = np.abs(turn @ turn.T - np.eye(3)).max()
  if off > _ORTHONORMAL_WITHIN:
    sizes = ', '.join(f'{size:.4g}' for size in np.linalg.norm(turn, axis=0))
    raise errors.UserError(
      f'transform_matrix is no rotation (its columns have lengths {sizes}, and '
      f'R Rt differs from one by {off:.2g}); export it without scale or '
      'shear.'
    )
  if np.linalg.det(turn) < 0:
    raise errors.UserError(
      'transform_matrix mirrors the world (determinant -1); expected '
      'camera-to-world of OpenGL: +x right, +y up, -z ahead.'
    )
  if np.abs(pose[3] - [0, 0, 0, 1]).max() > _ORTHONORMAL_WITHIN:
    raise errors.UserError(
      'transform_matrix ends with '
      f'{pose[3].tolist()}; expected camera-to-world, whose last row is '
      '[0, 0, 0, 1] (is it transposed?).'
    )
  return pose[:3]


def _check_camera_model(settings: Mapping[str, Any]) -> None:
  """Refuses lenses that are no pinhole with OpenCV's five numbers."""
  model = str(settings.get('camera_model', 'OPENCV'))
  if model.upper() not in _CAMERA_MODELS:
    raise errors.UserError(
      f"camera_model is '{model}'; expected one of "
      f'{", ".join(_CAMERA_MODELS)}, so {_UNDISTORT}.'
    )
  for name in _OTHER_DISTORTION:
    value = settings.get(name, 0)
    if np.any(np.asarray(value, object)):
      raise errors.UserError(
        f'{name} is {value}; only {", ".join(_DISTORTION)} can be undone, so '
        f'{_UNDISTORT}.'
      )


def _focal(settings: Mapping[str, Any], axis: str, size: float) -> float:
  """Returns a focal length in pixels of the full size; 0 if none is given."""
  if f'fl_{axis}' in settings:
    return _number(settings, f'fl_{axis}', 0.0, 0)
  name = f'camera_angle_{axis}'
  if name not in settings:
    return 0.0
  angle = _number(settings, name, 0.0, 0)
  if angle >= math.pi:
    raise errors.UserError(f'{name} is {angle:g}; expected radians below pi.')
  return size / (2 * math.tan(angle / 2))


def _number(
  settings: Mapping[str, Any],
  name: str,
  default: float,
  above: float = -math.inf,
) -> float:
  value = settings.get(name, default)
  number = float(value) if plain_numbers.is_finite(value) else math.nan
  if not number > above:
    expected = 'a number' if above < 0 else f'a number above {above:g}'
    raise errors.UserError(f'{name} is {value!r:.60}; expected {expected}.')
  return number
