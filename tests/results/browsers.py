"""Stand-ins for viser's server, its browsers and a run that they look at."""

import types

import numpy as np

from mmdist.cameras import orbits
from mmdist.nerf import field
from mmdist.results import viewer
from tests.results import sphere_field

FULL = 24


def opencv_quaternion(camera_to_world):
  """[4] wxyz of an OpenGL pose in OpenCV's axes, by eigenvectors."""
  r = camera_to_world[:, :3] * (1, -1, -1)
  k = np.array(
    [
      [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
      [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
      [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
      [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], np.trace(r)],
    ]
  )
  x, y, z, w = np.linalg.eigh(k / 3)[1][:, -1]
  return np.array([w, x, y, z])


class Camera:
  """A browser's camera, as viser has it."""

  def __init__(self, width, height, fov):
    pose = orbits.turntable(1).cameras().camera_to_world[0]
    self.wxyz, self.position = opencv_quaternion(pose), pose[:, 3]
    self.fov = fov
    self.image_width, self.image_height = width, height

  @property
  def aspect(self):
    return self.image_width / self.image_height


class Browser:
  """A client of viser's that keeps the pictures it is sent."""

  def __init__(self, width=FULL, height=FULL, fov=0.55):
    self.camera = Camera(width, height, fov)
    self.pictures, self.formats = [], []
    self.scene = types.SimpleNamespace(set_background_image=self._keep)

  def _keep(self, picture, format):
    assert picture.dtype == np.uint8
    self.pictures.append(picture)
    self.formats.append(format)


class Server:
  """What the viewer uses of viser's server."""

  def __init__(self, **clients):
    self.clients = clients
    self.scene = types.SimpleNamespace(set_up_direction=lambda up: None)
    self.initial_camera = types.SimpleNamespace()
    self.gui = types.SimpleNamespace(
      add_dropdown=lambda label, options: types.SimpleNamespace(
        value=options[0]
      ),
      add_slider=lambda label, initial_value, **limits: types.SimpleNamespace(
        value=initial_value, max=limits['max']
      ),
      add_number=lambda label, value, disabled: types.SimpleNamespace(
        value=value
      ),
    )

  def get_clients(self):
    return dict(self.clients)


REPRESENTATION = field.ConditionalNerf(
  init=None, render=sphere_field.render, density=sphere_field.density
)


class Heads:
  """A source of balls, one for each step; larger at later steps."""

  def __init__(self, *steps, gone=()):
    self.there, self.gone, self.loaded = list(steps), set(gone), []

  def steps(self):
    return list(self.there)

  def load(self, step):
    self.loaded.append(step)
    if step in self.gone:
      return None
    params = sphere_field.params_of(0.6 + 0.02 * step)
    return viewer.Shown(REPRESENTATION, params, step)


def drawn(made, now):
  """Draws all there is to draw; returns how often something was."""
  return sum(iter(lambda: int(made.tick(now)), 0))
