"""Sets of subjects photographed by several cameras, and their files.

Owns the set, and its folder in the layout of nerfstudio's `transforms.json`
and of Blender's NeRF sets. Drawing pixels from a set belongs to
`mmdist.data.pixel_stream`.

A folder holds one folder per subject, in order of their names; each has its
pictures and a `transforms.json`, or Blender's `transforms_train.json` and
`transforms_test.json`. A folder that has such a file itself is one subject.

Poses are taken as they stand, neither centred nor scaled. The world must be
the house's: +y up (Blender's and nerfstudio's own is +z), the face along +z,
the head at the origin with a radius of about 1. What lies beyond the ball of
`camera.SCENE_RADIUS` cannot be learned, so subjects must be cut out: by
opacity, or by masks that are white where the subject is. (For nerfstudio a
black mask means "unknown"; here it means "empty".) Names of files may be those
of another machine: see `mmdist.data.file_names`.
"""

from collections.abc import Iterator, Sequence
import concurrent.futures
import dataclasses
import math
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from mmdist.core import cores
from mmdist.core import errors
from mmdist.core import shapes
from mmdist.core import strict_json
from mmdist.data import frames as frames_lib
from mmdist.data import lenses as lenses_lib
from mmdist.data import picture_files
from mmdist.data import scene
from mmdist.data import transforms

TRANSFORMS_NAME = transforms.NAME
# What a picture is for, in `MultiviewSet.split`.
TRAINED, HELD_OUT, ABSENT = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class MultiviewSet:
  """M subjects, each seen by K cameras or fewer.

  Attributes:
    images: [M, K, H, W, 4] uint8 colour and opacity; the colour is not
      multiplied by the opacity (as in PNG files).
    camera_to_world: [M, K, 3, 4] float32; see `mmdist.cameras.camera`.
    tan_half_fov: [M, K] float32, across the width.
    lenses: [M, K]; None if all are ideal pinholes, and then H = W.
    split: [M, K] uint8, TRAINED, HELD_OUT or, where a subject has fewer
      pictures, ABSENT; None if nothing was decided and none is absent.
    names: of the M subjects, or empty.
  """

  images: np.ndarray
  camera_to_world: np.ndarray
  tan_half_fov: np.ndarray
  lenses: lenses_lib.Lenses | None = None
  split: np.ndarray | None = None
  names: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    width = 'W' if self.lenses else 'H'
    shapes.check_shape('images', self.images, ('M', 'K', 'H', width, 4))
    lead = self.images.shape[:2]
    shapes.check_shape('camera_to_world', self.camera_to_world, (*lead, 3, 4))
    shapes.check_shape('tan_half_fov', self.tan_half_fov, lead)
    if self.lenses:
      shapes.check_shape('lenses.focal', self.lenses.focal, (*lead, 2))
    if self.split is not None:
      shapes.check_shape('split', self.split, lead)
    if self.images.dtype != np.uint8:
      raise errors.UserError(f'images are {self.images.dtype}; expected uint8.')

  @property
  def num_subjects(self) -> int:
    return self.images.shape[0]

  @property
  def num_cameras(self) -> int:
    return self.images.shape[1]

  @property
  def height(self) -> int:
    return self.images.shape[2]

  @property
  def resolution(self) -> int:
    """Returns the width, which is the height too for ideal lenses."""
    return self.images.shape[3]

  def take(self, subjects: slice) -> 'MultiviewSet':
    """Returns the set of some subjects."""
    return MultiviewSet(
      self.images[subjects],
      self.camera_to_world[subjects],
      self.tan_half_fov[subjects],
      self.lenses and self.lenses.take(subjects),
      None if self.split is None else self.split[subjects],
      self.names[subjects],
    )

  def is_trained(self) -> np.ndarray:
    """Returns [M, K], which pictures are there and not held out."""
    return self._decided_split() == TRAINED

  def is_held_out(self) -> np.ndarray:
    """Returns [M, K]; without a split, `held_out_cameras` decides."""
    return self._decided_split() == HELD_OUT

  def coordinates(
    self,
    subject: np.ndarray,
    camera: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
  ) -> np.ndarray:
    """Returns [..., 2] float32 where pixels are, in a `PixelBatch`'s terms.

    Args:
      subject: [...] number, as the others.
      camera: of the subject.
      row: from the top.
      column: from the left.
    """
    if self.lenses is None:
      size = self.resolution
      x, y = 2 * (column + 0.5) / size - 1, 1 - 2 * (row + 0.5) / size
      return np.stack(np.broadcast_arrays(x, y), -1).astype(np.float32)
    lenses = self.lenses.take((subject, camera))
    tangents = lenses_lib.pixels_to_tangents(lenses, column, row)
    # `camera.pixel_rays` multiplies by it.
    tan = self.tan_half_fov[subject, camera][..., None]
    return (tangents / tan).astype(np.float32)

  def _decided_split(self) -> np.ndarray:
    if self.split is not None:
      return self.split
    split = np.full(self.images.shape[:2], TRAINED)
    cameras = held_out_cameras(self.num_subjects, self.num_cameras)
    split[np.arange(len(split)), cameras] = HELD_OUT
    return split


def premultiplied_to_rgba8(rgba: np.ndarray) -> np.ndarray:
  """Turns [..., 4] premultiplied floats in [0, 1] into straight uint8."""
  rgba = np.asarray(rgba, np.float32)
  alpha = rgba[..., 3:]
  rgb = np.where(alpha > 0, rgba[..., :3] / np.maximum(alpha, 1e-6), 0)
  straight = np.concatenate([np.clip(rgb, 0, 1), np.clip(alpha, 0, 1)], -1)
  return np.round(straight * 255).astype(np.uint8)


def rgba8_to_premultiplied(rgba8: np.ndarray) -> np.ndarray:
  """Turns [..., 4] straight uint8 into premultiplied float32 in [0, 1]."""
  rgba = np.asarray(rgba8, np.float32) / 255
  rgba[..., :3] *= rgba[..., 3:]
  return rgba


def held_out_cameras(num_subjects: int, num_cameras: int) -> np.ndarray:
  """Returns [M] the camera kept from training, another for each subject.

  Together they cover every place of the rig, while every place is trained on.
  """
  return np.arange(num_subjects) % num_cameras


def write_transforms(
  folder: str | os.PathLike, multiview_set: MultiviewSet
) -> None:
  """Writes a set as `read_transforms` reads it; overwrites what is there.

  Raises:
    UserError: the set has lenses or a split, which are not written.
  """
  if multiview_set.lenses or multiview_set.split is not None:
    raise errors.UserError(
      'a set that was read from files is not written again; copy its folder.'
    )
  for subject in range(multiview_set.num_subjects):
    place = pathlib.Path(folder) / f'{subject:05d}'
    (place / 'images').mkdir(parents=True, exist_ok=True)
    frames = []
    for camera in range(multiview_set.num_cameras):
      name = f'images/{camera:03d}.png'
      image = multiview_set.images[subject, camera]
      Image.fromarray(image, 'RGBA').save(place / name)
      frames.append(_frame(name, multiview_set, subject, camera))
    text = strict_json.dumps(
      {'camera_model': 'OPENCV', 'frames': frames}, indent=2
    )
    (place / TRANSFORMS_NAME).write_text(text + '\n', 'utf-8')


def _frame(
  name: str, multiview_set: MultiviewSet, subject: int, camera: int
) -> dict[str, Any]:
  """Describes one picture, with intrinsics in both tools' words."""
  size = multiview_set.resolution
  tan = float(multiview_set.tan_half_fov[subject, camera])
  pose = np.eye(4)
  pose[:3] = multiview_set.camera_to_world[subject, camera]
  focal = size / (2 * tan)
  return {
    'file_path': name,
    'transform_matrix': pose.tolist(),
    'camera_angle_x': 2 * math.atan(tan),
    'w': size,
    'h': size,
    'fl_x': focal,
    'fl_y': focal,
    'cx': size / 2,
    'cy': size / 2,
  }


def read_transforms(folder: str | os.PathLike) -> MultiviewSet:
  """Reads a folder of subjects, or of one subject; checks all of it.

  Pictures are of one size, 8-bit PNG or JPEG; those without opacity or mask
  count as opaque. Lenses are pinholes, whose distortion k1, k2, p1, p2, k3 is
  undone ray by ray. See `transforms.read_subject` for what is held out.

  Raises:
    FileNotFoundError: the folder, a `transforms.json` or a picture is missing.
    UserError: a file cannot be understood or is not supported, pictures do
      not fit together, or most of a subject's cameras do not see the scene.
  """
  places = transforms.find_subjects(folder)
  subjects = [
    transforms.read_subject(place, number)
    for number, place in enumerate(places)
  ]
  first = picture_files.read_picture(subjects[0][0].picture)
  height, width = first.shape[:2]
  shape = (len(subjects), max(map(len, subjects)))
  images = np.zeros((*shape, height, width, 4), np.uint8)
  poses = np.zeros((*shape, 3, 4), np.float32)
  lenses = lenses_lib.ideal(shape, width, height)
  split = np.full(shape, ABSENT, np.uint8)
  for m, frames in enumerate(subjects):
    for k, frame in enumerate(frames):
      poses[m, k] = frame.camera_to_world
      split[m, k] = HELD_OUT if frame.held_out else TRAINED
    for k, (image, lens) in enumerate(_read_frames(frames)):
      _check_size(frames[k], image.shape, subjects[0][0], first.shape)
      images[m, k] = image
      lenses.put((m, k), lens)
    _check_scene(frames, poses[m], lenses.take(m), width, height)
  tan = width / (2 * lenses.focal[..., 0])
  return MultiviewSet(
    images,
    poses,
    tan.astype(np.float32),
    None if lenses_lib.is_ideal(lenses, width, height) else lenses,
    split,
    tuple(place.resolve().name for place in places),
  )


def find_oddities(multiview_set: MultiviewSet) -> list[str]:
  """Returns a line for each thing that is allowed and probably not meant."""
  is_there = multiview_set.is_trained() | multiview_set.is_held_out()
  opaque: list[str] = []
  tilted: dict[str, list[str]] = {}
  for m, there in enumerate(is_there):
    name = multiview_set.names[m] if multiview_set.names else str(m)
    if multiview_set.images[m, there, ..., 3].min() == 255:
      opaque.append(name)
    up = scene.up_axis(multiview_set.camera_to_world[m, there])
    if up not in ('', '+y'):
      tilted.setdefault(up, []).append(name)
  lines = [
    f'the cameras of {_count(names)} have {up} up, but the world has +y up; '
    'turn every transform_matrix'
    + (
      ' by -90 degrees about x (its rows y, z become z, -y).'
      if up == '+z'
      else '.'
    )
    for up, names in tilted.items()
  ]
  if opaque:
    lines.append(
      f'the pictures of {_count(opaque)} are opaque all over, so what is '
      'behind the subject is learned as part of it; cut it out by opacity or '
      'by mask_path.'
    )
  return lines


def _count(names: Sequence[str]) -> str:
  if len(names) == 1:
    return f"'{names[0]}'"
  return f"{len(names)} subjects ('{names[0]}' is the first)"


def _read_frames(
  frames: Sequence[frames_lib.Frame],
) -> Iterator[tuple[np.ndarray, lenses_lib.Lenses]]:
  """Yields the picture, mask joined to its opacity, and the lens of each."""

  def read(frame: frames_lib.Frame) -> tuple[np.ndarray, lenses_lib.Lenses]:
    image = picture_files.read_picture(frame.picture)
    if frame.mask:
      mask = picture_files.read_mask(frame.mask, image.shape[:2])
      image = image.copy()
      image[..., 3] = np.round(image[..., 3] * (mask / 255))
    return image, frames_lib.read_lens(frame, image.shape[1], image.shape[0])

  num_threads = cores.count()
  with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
    yield from pool.map(read, frames)


def _check_size(
  frame: frames_lib.Frame,
  shape: tuple[int, ...],
  first: frames_lib.Frame,
  expected: tuple[int, ...],
) -> None:
  if shape != expected:
    raise errors.UserError(
      f'{frame.picture} has {shape[1]} x {shape[0]} pixels, but '
      f'{first.picture} has {expected[1]} x {expected[0]}; give all pictures '
      'of all subjects one size.'
    )


def _check_scene(
  frames: Sequence[frames_lib.Frame],
  poses: np.ndarray,
  lenses: lenses_lib.Lenses,
  width: int,
  height: int,
) -> None:
  """Raises UserError if most of a subject's cameras look elsewhere."""
  column, row = np.meshgrid([-0.5, width - 0.5], [-0.5, height - 0.5])
  corners = [
    lenses_lib.pixels_to_tangents(lenses.take(k), column, row).reshape(4, 2)
    for k in range(len(frames))
  ]
  try:
    scene.check_cameras(
      poses[: len(frames)], np.stack(corners), [f.name for f in frames]
    )
  except ValueError as error:
    raise errors.UserError(f'{frames[0].source}: {error}') from error
