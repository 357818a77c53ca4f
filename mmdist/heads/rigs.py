"""Where the cameras of a studio stand: the views that all subjects have.

The conditional NeRF learns from what these cameras see. Nothing here imports
JAX.
"""

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import seeds

_JITTER_RAD = (0.12, 0.06)  # Standard deviations of azimuth and elevation.


class Camera(NamedTuple):
  """One camera of a rig.

  Attributes:
    azimuth: radians.
    elevation: radians.
    half_height: world units from the middle of the frame to its edge.
    target: what is in the middle of the frame, world.
  """

  azimuth: float
  elevation: float
  half_height: float = orbits.HEAD_HALF_HEIGHT
  target: tuple[float, float, float] = orbits.HEAD_TARGET


# Ten around, above, below, and one nearer to the face.
WHOLE_HEADS = (
  Camera(0.0, 0.05),
  Camera(-0.4, 0.1),
  Camera(0.4, 0.1),
  Camera(-0.9, 0.1),
  Camera(0.9, 0.1),
  Camera(-1.6, 0.1),
  Camera(1.6, 0.1),
  Camera(math.pi, 0.1),
  Camera(-2.4, 0.15),
  Camera(2.4, 0.15),
  Camera(0.1, 0.85),
  Camera(0.0, -0.1, 0.5),
  Camera(0.0, -0.4),
)
_MOUTH, _EYES = (
  next(kind for kind in orbits.ORBIT_KINDS if kind.word == word)
  for word in ('mouth', 'eyes')
)
# Lips, lids and teeth are a pixel or two wide in a whole head.
CLOSE_UPS = tuple(
  Camera(azimuth, 0.05, kind.half_height, kind.target)
  for kind, azimuth in (
    (_MOUTH, 0.0),
    (_MOUTH, -0.5),
    (_MOUTH, 0.5),
    (_EYES, -0.25),
    (_EYES, 0.25),
  )
)


def views(
  rig: Sequence[Camera], seed: int, index: int, num_cameras: int
) -> orbits.Views:
  """Returns where the cameras stand for one subject.

  Args:
    rig: where they stand, roughly.
    seed: of the family of subjects.
    index: of the subject; each one's cameras differ a little.
    num_cameras: K; beyond the rig's they stand at random.
  """
  rng = seeds.generator(seed, index, 'rig')
  extra = max(0, num_cameras - len(rig))
  azimuths = rng.uniform(-np.pi, np.pi, extra)
  elevations = rng.uniform(-0.3, 0.8, extra)
  cameras = [
    *rig,
    *(Camera(*row) for row in zip(azimuths, elevations, strict=True)),
  ][:num_cameras]
  jitter = rng.normal(0, 1, (num_cameras, 2)) * _JITTER_RAD
  azimuth, elevation, half_height, target = (
    np.asarray(column, np.float64) for column in zip(*cameras, strict=True)
  )
  return orbits.make_views(
    azimuth + jitter[:, 0],
    elevation + jitter[:, 1],
    orbits.CAMERA_DISTANCE,
    target,
    half_height * rng.uniform(0.97, 1.05, num_cameras),
  )
