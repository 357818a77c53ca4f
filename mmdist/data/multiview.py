"""Sets of subjects photographed by several cameras, and their files.

Owns the set and the `transforms.json` layout of nerfstudio and of Blender's
NeRF sets. Drawing pixels from a set belongs to `mmdist.data.pixel_stream`.

A folder holds one folder per subject, in order of their names; each has a
`transforms.json` and its pictures. The world must be the house's: +y up, the
face along +z, head radius about 1.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image

from mmdist.core import shapes

TRANSFORMS_NAME = 'transforms.json'


@dataclasses.dataclass(frozen=True)
class MultiviewSet:
  """M subjects, each seen by K cameras.

  Attributes:
    images: [M, K, H, W, 4] uint8 colour and opacity, H = W; the colour is not
      multiplied by the opacity (as in PNG files).
    camera_to_world: [M, K, 3, 4] float32; see `mmdist.cameras.camera`.
    tan_half_fov: [M, K] float32.
  """

  images: np.ndarray
  camera_to_world: np.ndarray
  tan_half_fov: np.ndarray

  def __post_init__(self):
    shapes.check_shape('images', self.images, ('M', 'K', 'H', 'H', 4))
    num_subjects, num_cameras = self.images.shape[:2]
    shapes.check_shape(
      'camera_to_world', self.camera_to_world, (num_subjects, num_cameras, 3, 4)
    )
    shapes.check_shape(
      'tan_half_fov', self.tan_half_fov, (num_subjects, num_cameras)
    )
    if self.images.dtype != np.uint8:
      raise ValueError(f'images are {self.images.dtype}; expected uint8.')

  @property
  def num_subjects(self) -> int:
    return self.images.shape[0]

  @property
  def num_cameras(self) -> int:
    return self.images.shape[1]

  @property
  def resolution(self) -> int:
    return self.images.shape[2]

  def take(self, subjects) -> 'MultiviewSet':
    """Returns the set of the given subjects, an index or slice."""
    return MultiviewSet(
      self.images[subjects],
      self.camera_to_world[subjects],
      self.tan_half_fov[subjects],
    )


def premultiplied_to_rgba8(rgba) -> np.ndarray:
  """Turns [..., 4] premultiplied floats in [0, 1] into straight uint8."""
  rgba = np.asarray(rgba, np.float32)
  alpha = rgba[..., 3:]
  rgb = np.where(alpha > 0, rgba[..., :3] / np.maximum(alpha, 1e-6), 0)
  straight = np.concatenate([np.clip(rgb, 0, 1), np.clip(alpha, 0, 1)], -1)
  return np.round(straight * 255).astype(np.uint8)


def rgba8_to_premultiplied(rgba8) -> np.ndarray:
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
  """Writes a set as `read_transforms` reads it; overwrites what is there."""
  for subject in range(multiview_set.num_subjects):
    place = pathlib.Path(folder) / f'{subject:05d}'
    (place / 'images').mkdir(parents=True, exist_ok=True)
    frames = []
    for camera in range(multiview_set.num_cameras):
      name = f'images/{camera:03d}.png'
      image = multiview_set.images[subject, camera]
      Image.fromarray(image, 'RGBA').save(place / name)
      frames.append(_frame(name, multiview_set, subject, camera))
    text = json.dumps({'camera_model': 'OPENCV', 'frames': frames}, indent=2)
    (place / TRANSFORMS_NAME).write_text(text + '\n')


def _frame(name: str, multiview_set: MultiviewSet, subject, camera):
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
  """Reads a folder of subjects, or of one subject.

  Pictures are square, of one size, and every subject has as many; pictures
  without opacity count as opaque.

  Raises:
    FileNotFoundError: the folder, a `transforms.json` or a picture is missing.
    ValueError: a file cannot be understood, or pictures do not fit together.
  """
  folder = pathlib.Path(folder)
  places = [path.parent for path in sorted(folder.glob(f'*/{TRANSFORMS_NAME}'))]
  if (folder / TRANSFORMS_NAME).is_file():
    places = [folder]
  if not places:
    raise FileNotFoundError(
      f'{folder} holds no subject; expected {folder}/*/{TRANSFORMS_NAME}.'
    )
  subjects = [_read_subject(place) for place in places]
  first = subjects[0][0].shape
  for place, (images, _, _) in zip(places, subjects):
    if images.shape != first:
      raise ValueError(
        f'{place} has pictures {images.shape[:3]} [number, height, width], '
        f'but {places[0]} has {first[:3]}; give every subject as many, of '
        'one size.'
      )
  return MultiviewSet(*(np.stack(column) for column in zip(*subjects)))


def _read_subject(place: pathlib.Path):
  """Returns [K, H, W, 4] images, [K, 3, 4] poses and [K] tangents."""
  path = place / TRANSFORMS_NAME
  try:
    data = json.loads(path.read_text())
    frames = data['frames']
    poses = np.array([f['transform_matrix'] for f in frames], np.float32)
    images = [_read_image(place / f['file_path']) for f in frames]
    tangents = [
      _tan_half_fov({**data, **frame}, image.shape[1])
      for frame, image in zip(frames, images)
    ]
    shapes.check_shape('transform_matrix', poses, (len(frames), 4, 4))
    return _stack(images), poses[:, :3], np.array(tangents, np.float32)
  except KeyError as error:
    raise ValueError(
      f'{path} has no {error}; is it of another kind?'
    ) from error
  except ValueError as error:  # Bad JSON is a ValueError too.
    raise ValueError(f'{path}: {error}') from error


def _stack(images: Sequence[np.ndarray]) -> np.ndarray:
  sizes = {image.shape[:2] for image in images}
  if len(sizes) != 1 or len(set(*sizes)) != 1:
    raise ValueError(
      f'pictures of sizes {sorted(sizes)}; expected square ones of one size.'
    )
  return np.stack(images)


def _read_image(path: pathlib.Path) -> np.ndarray:
  """Reads a picture as [H, W, 4] uint8; Blender leaves '.png' away."""
  if not path.suffix:
    path = path.with_suffix('.png')
  if not path.is_file():
    raise FileNotFoundError(f'the picture {path} is missing.')
  with Image.open(path) as image:
    return np.asarray(image.convert('RGBA'))


def _tan_half_fov(camera: Mapping[str, Any], width: int) -> float:
  """Returns the tangent of half the horizontal field of view."""
  if 'fl_x' in camera:
    return camera.get('w', width) / (2 * camera['fl_x'])
  return math.tan(camera['camera_angle_x'] / 2)
