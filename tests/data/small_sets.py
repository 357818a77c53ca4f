"""Small multi-view sets of noise, and their folders, to be spoiled."""

import json

import numpy as np

from mmdist.cameras import orbits
from mmdist.data import multiview


def noise(num_subjects=3, num_cameras=4, resolution=6):
  """Returns pictures of noise from the bank's cameras."""
  rng = np.random.default_rng(0)
  cameras = orbits.sample(num_subjects * num_cameras, rng).cameras()
  lead = (num_subjects, num_cameras)
  return multiview.MultiviewSet(
    rng.integers(0, 256, lead + (resolution, resolution, 4), np.uint8),
    cameras.camera_to_world.reshape(lead + (3, 4)),
    cameras.tan_half_fov.reshape(lead),
  )


def write(folder, **sizes):
  """Writes `noise(**sizes)`; returns the folder."""
  multiview.write_transforms(folder, noise(**sizes))
  return folder


def edit(path, change):
  """Applies `change(data)` to a JSON file."""
  data = json.loads(path.read_text())
  change(data)
  path.write_text(json.dumps(data))


def as_blender(place, num_test=1):
  """Turns one subject's folder into Blender's layout."""
  path = place / 'transforms.json'
  frames = [
    {
      'file_path': './' + frame['file_path'].removesuffix('.png'),
      'rotation': 0.01,
      'transform_matrix': frame['transform_matrix'],
    }
    for frame in json.loads(path.read_text())['frames']
  ]
  path.unlink()
  for name, part in (
    ('train', frames[num_test:]),
    ('test', frames[:num_test]),
  ):
    text = json.dumps({'camera_angle_x': 0.6, 'frames': part})
    (place / f'transforms_{name}.json').write_text(text)
