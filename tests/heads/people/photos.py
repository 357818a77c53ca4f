"""Small pictures of people that the tests of this folder look at."""

import functools

import numpy as np

from mmdist.cameras import orbits
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import bodies

RESOLUTION = 48
# (azimuth, elevation, target, half height) by name.
VIEWS = {
  'front': (0.0, 0.05, orbits.HEAD_TARGET, orbits.HEAD_HALF_HEIGHT),
  'quarter': (0.8, 0.1, orbits.HEAD_TARGET, orbits.HEAD_HALF_HEIGHT),
  'side': (1.6, 0.1, orbits.HEAD_TARGET, orbits.HEAD_HALF_HEIGHT),
  'back': (np.pi, 0.1, orbits.HEAD_TARGET, orbits.HEAD_HALF_HEIGHT),
} | {
  kind.word: (0.1, 0.05, kind.target, kind.half_height)
  for kind in orbits.ORBIT_KINDS
  if kind.word
}


def person(seed: int = 3, **words) -> bodies.Body:
  """Returns a body; the same seed is the same person."""
  attributes = people_attributes.Attributes(**words)
  return bodies.make(attributes, np.random.default_rng(seed))


def photograph(body: bodies.Body, *names: str, resolution: int = RESOLUTION):
  """Returns (rgba, normals, depth) of named views."""
  rows = [VIEWS[name] for name in names]
  views = orbits.make_views(
    np.array([row[0] for row in rows]),
    np.array([row[1] for row in rows]),
    orbits.CAMERA_DISTANCE,
    np.array([row[2] for row in rows]),
    np.array([row[3] for row in rows]),
  )
  cameras = views.cameras()
  return bodies.render(
    body, cameras.camera_to_world, cameras.tan_half_fov, resolution
  )


@functools.cache
def picture(view: str, seed: int = 3, **words) -> np.ndarray:
  """Returns [H, W, 4] of one person from one view, taken once."""
  return photograph(person(seed, **words), view)[0][0]


def changed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns [H, W] whether two pictures differ to the eye."""
  return np.abs(a - b).max(-1) > 0.06
