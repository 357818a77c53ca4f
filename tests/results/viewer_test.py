import types

import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.nerf import field
from mmdist.results import turntable
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


@pytest.mark.parametrize(
  'azimuth, elevation', [(0, 0), (0.7, 0.3), (-2.5, -0.4)]
)
def test_a_browsers_camera_is_ours(azimuth, elevation):
  expected = orbits.make_views(
    azimuth, elevation, 3.4, (0.1, 0.2, 0.0), 0.95
  ).cameras()
  pose = expected.camera_to_world[0]
  fov = 2 * np.arctan(expected.tan_half_fov[0])
  found = viewer.camera_of(opencv_quaternion(pose), pose[:, 3], fov, 1.0)
  np.testing.assert_allclose(
    found.camera_to_world, expected.camera_to_world, atol=1e-5
  )
  np.testing.assert_allclose(found.tan_half_fov, expected.tan_half_fov, 1e-5)


@pytest.mark.parametrize(
  'aspect, shape', [(1.0, (24, 24)), (2.0, (12, 24)), (0.5, (24, 12))]
)
def test_a_wide_or_high_picture_is_the_middle_of_a_square_one(aspect, shape):
  rows, columns = np.mgrid[:FULL, :FULL]
  image = np.stack([rows, columns, rows], -1)
  found = viewer.crop(image, aspect)
  assert found.shape[:2] == shape
  np.testing.assert_allclose(found[..., 0].mean(), rows.mean())
  np.testing.assert_allclose(found[..., 1].mean(), columns.mean())


def test_the_vertical_field_of_view_is_the_browsers():
  wide, square, high = (
    viewer.camera_of((1, 0, 0, 0), (0, 0, 0), 0.8, aspect).tan_half_fov[0]
    for aspect in (2.0, 1.0, 0.5)
  )
  # A wide picture keeps only the middle half of the square's rows.
  np.testing.assert_allclose([wide / 2, square, high], np.tan(0.4), rtol=1e-6)


class Browser:
  """A client of viser's that keeps the pictures it is sent."""

  def __init__(self):
    pose = orbits.turntable(1).cameras().camera_to_world[0]
    self.camera = types.SimpleNamespace(
      wxyz=opencv_quaternion(pose), position=pose[:, 3], fov=0.55, aspect=1.0
    )
    self.pictures = []
    self.scene = types.SimpleNamespace(set_background_image=self._keep)

  def _keep(self, picture, format):
    assert format == 'jpeg' and picture.dtype == np.uint8
    self.pictures.append(picture)


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
      add_number=lambda label, value, disabled: types.SimpleNamespace(
        value=value
      ),
    )

  def get_clients(self):
    return dict(self.clients)


REPRESENTATION = field.ConditionalNerf(
  init=None, render=sphere_field.render, density=sphere_field.density
)


def shown(step=5, radius=0.7):
  return viewer.Shown(REPRESENTATION, sphere_field.params_of(radius), step)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
  monkeypatch.setattr(viewer, 'DRAFT_RESOLUTION', 8)


def test_a_draft_comes_first_then_the_picture_then_nothing():
  browser = Browser()
  made = viewer.Viewer(Server(a=browser), shown, FULL)
  assert [made.tick(0.0) for _ in range(4)] == [True, True, False, False]
  assert [len(p) for p in browser.pictures] == [8, FULL]
  # Red at x > 0, which the camera in front sees on the right.
  middle = browser.pictures[1][FULL // 2] / 255
  np.testing.assert_allclose(middle[FULL * 2 // 3], sphere_field.RED, atol=0.02)
  np.testing.assert_allclose(middle[FULL // 3], sphere_field.BLUE, atol=0.02)
  np.testing.assert_allclose(middle[0], turntable.BACKGROUND, atol=0.01)


def test_a_moved_camera_is_drawn_anew_and_only_there():
  still, moving = Browser(), Browser()
  made = viewer.Viewer(Server(a=still, b=moving), shown, FULL)
  while made.tick(0.0):
    pass
  moving.camera.position = moving.camera.position + 0.1
  while made.tick(0.0):
    pass
  assert (len(still.pictures), len(moving.pictures)) == (2, 4)


def test_normals_are_shown_when_asked_for_without_a_draft():
  browser = Browser()
  made = viewer.Viewer(Server(a=browser), shown, FULL)
  while made.tick(0.0):
    pass
  made._channel.value = 'normals'
  assert made.tick(0.0) and not made.tick(0.0)
  assert len(browser.pictures[-1]) == FULL
  toward_camera = browser.pictures[-1][FULL // 2, FULL // 2, 2]
  assert toward_camera > 240


def test_a_run_that_goes_on_is_followed():
  browser, steps = Browser(), iter([5, 6])
  made = viewer.Viewer(Server(a=browser), lambda: shown(next(steps)), FULL)
  start = made._loaded_at
  while made.tick(start):
    pass
  assert made._step.value == 5
  later = start + viewer.LOOK_FOR_PARAMS_EVERY_S + 1
  assert made.tick(later) and not made.tick(later)
  assert made._step.value == 6 and len(browser.pictures) == 3


def test_a_browser_that_left_is_forgotten():
  server = Server(a=Browser())
  made = viewer.Viewer(server, shown, FULL)
  while made.tick(0.0):
    pass
  server.clients.clear()
  assert not made.tick(0.0) and not made._done
