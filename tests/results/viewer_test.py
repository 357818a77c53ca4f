import types

import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.core import arrays
from mmdist.nerf import field
from mmdist.nerf import images
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
  rows, columns = viewer.crop(FULL, aspect)
  assert (len(rows), len(columns)) == shape
  middle = (FULL - 1) / 2
  assert np.mean(rows) == pytest.approx(middle)
  assert np.mean(columns) == pytest.approx(middle)


def test_the_vertical_field_of_view_is_the_browsers():
  wide, square, high = (
    viewer.camera_of((1, 0, 0, 0), (0, 0, 0), 0.8, aspect).tan_half_fov[0]
    for aspect in (2.0, 1.0, 0.5)
  )
  # A wide picture keeps only the middle half of the square's rows.
  np.testing.assert_allclose([wide / 2, square, high], np.tan(0.4), rtol=1e-6)


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


def shown():
  return Heads(5)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
  monkeypatch.setattr(viewer, 'DRAFT_RESOLUTION', 8)


def test_a_draft_comes_first_then_the_picture_then_nothing():
  browser = Browser()
  made = viewer.Viewer(Server(a=browser), shown(), FULL)
  assert [made.tick(0.0) for _ in range(4)] == [True, True, False, False]
  assert [len(p) for p in browser.pictures] == [8, FULL]
  assert browser.formats == ['jpeg', 'png']  # What stays is not smeared.
  # Red at x > 0, which the camera in front sees on the right.
  middle = browser.pictures[1][FULL // 2] / 255
  np.testing.assert_allclose(middle[FULL * 2 // 3], sphere_field.RED, atol=0.02)
  np.testing.assert_allclose(middle[FULL // 3], sphere_field.BLUE, atol=0.02)
  np.testing.assert_allclose(middle[0], turntable.BACKGROUND, atol=0.01)


def test_a_moved_camera_is_drawn_anew_and_only_there():
  still, moving = Browser(), Browser()
  made = viewer.Viewer(Server(a=still, b=moving), shown(), FULL)
  while made.tick(0.0):
    pass
  moving.camera.position = moving.camera.position + 0.1
  while made.tick(0.0):
    pass
  assert (len(still.pictures), len(moving.pictures)) == (2, 4)


def test_normals_are_shown_when_asked_for_without_a_draft():
  browser = Browser()
  made = viewer.Viewer(Server(a=browser), shown(), FULL)
  while made.tick(0.0):
    pass
  made._channel.value = 'normals'
  assert made.tick(0.0) and not made.tick(0.0)
  assert len(browser.pictures[-1]) == FULL
  toward_camera = browser.pictures[-1][FULL // 2, FULL // 2, 2]
  assert toward_camera > 240


def drawn(made, now):
  """Draws all there is to draw; returns how often something was."""
  return sum(iter(lambda: int(made.tick(now)), 0))


def test_depth_is_brighter_where_it_is_nearer_and_nothing_is_black():
  browser = Browser(64, 64)
  made = viewer.Viewer(Server(a=browser), shown(), 64)
  made._channel.value = 'depth'
  drawn(made, 0.0)
  picture = browser.pictures[-1] / 255
  np.testing.assert_allclose(picture[..., 0], picture[..., 2])
  grey = picture[..., 0]
  # By hand: a ball of radius 0.7 around the middle, seen from 3.4 away.
  distance = np.linalg.norm(browser.camera.position)
  tan = np.tan(0.55 / 2) * ((np.arange(64) + 0.5) / 32 - 1)
  across, up = np.meshgrid(tan, -tan)
  ways = np.stack([across, up, -np.ones_like(up)], -1)
  pose = orbits.turntable(1).cameras().camera_to_world[0]
  ways = ways / np.linalg.norm(ways, axis=-1, keepdims=True) @ pose[:, :3].T
  along = -(ways @ pose[:, 3])
  miss2 = distance**2 - along**2
  hit = miss2 < 0.6**2
  depth = along[hit] - np.sqrt(0.7**2 - miss2[hit])
  expected = 0.15 + 0.85 * 0.5 * (1 + distance - depth)
  np.testing.assert_allclose(grey[hit], expected, atol=0.03)
  assert grey[miss2 > 0.8**2].max() < 0.01
  # The middle bulges toward the camera.
  assert grey[32, 32] > grey[32, 20] > 0.5


def test_a_run_that_goes_on_is_followed():
  browser, heads = Browser(), Heads(5)
  made = viewer.Viewer(Server(a=browser), heads, FULL)
  start = made._looked_at
  drawn(made, start)
  assert made._step.value == 5
  heads.there.append(6)
  assert not made.tick(start + 1)  # It is not looked for all the time.
  later = start + viewer.LOOK_FOR_PARAMS_EVERY_S + 1
  assert drawn(made, later) == 1
  assert (made._step.value, made._slider.value, made._slider.max) == (6, 1, 1)
  assert len(browser.pictures) == 3


def test_the_slider_shows_an_earlier_checkpoint_and_stays_there():
  browser, heads = Browser(), Heads(0, 5, 10)
  made = viewer.Viewer(Server(a=browser), heads, FULL)
  drawn(made, 0.0)
  late = browser.pictures[-1]
  made._slider.value = 1
  assert drawn(made, 0.0) == 1  # The camera rests, so there is no draft.
  assert made._step.value == 5
  assert (browser.pictures[-1] != late).any()
  # Step 0 goes and 15 comes: still step 5.
  heads.there = [5, 10, 15]
  later = made._looked_at + viewer.LOOK_FOR_PARAMS_EVERY_S + 1
  assert drawn(made, later) == 0
  assert (made._slider.value, made._slider.max, made._step.value) == (0, 2, 5)
  assert heads.loaded == [10, 5]
  # When that goes too, the next one is shown.
  heads.there = [10, 15]
  drawn(made, later + viewer.LOOK_FOR_PARAMS_EVERY_S + 1)
  assert (made._slider.value, made._step.value) == (0, 10)


def test_a_checkpoint_that_cannot_be_read_is_passed_over():
  heads = Heads(5, 10, 15, gone=[15])
  made = viewer.Viewer(Server(), heads, FULL)
  assert (made._step.value, made._slider.value, made._slider.max) == (10, 1, 1)
  heads.there.append(20)
  heads.gone.add(5)
  made.tick(made._looked_at + viewer.LOOK_FOR_PARAMS_EVERY_S + 1)
  assert made._step.value == 20
  made._slider.value = 0
  made.tick(made._looked_at)
  assert made._step.value == 10 and heads.loaded.count(15) == 1


def test_a_browser_that_left_is_forgotten():
  server = Server(a=Browser())
  made = viewer.Viewer(server, shown(), FULL)
  while made.tick(0.0):
    pass
  server.clients.clear()
  assert not made.tick(0.0) and not made._pictures


def test_a_picture_becomes_sharp_in_stages():
  assert viewer.stages(512) == [8, 32, 128, 512]
  assert viewer.stages(FULL) == [8, FULL]
  assert viewer.stages(4) == [4]
  # 128 of 150 would hardly be sharper than 150 itself, and take as long.
  assert viewer.stages(150) == [8, 32, 150]


@pytest.mark.parametrize('width, height', [(40, 20), (18, 30), (25, 25)])
def test_a_picture_at_rest_has_the_browsers_pixels(width, height):
  browser = Browser(width, height)
  made = viewer.Viewer(Server(a=browser), shown(), most_pixels=100)
  while made.tick(0.0):
    pass
  assert browser.pictures[-1].shape == (height, width, 3)
  assert max(browser.pictures[0].shape) == 8  # A draft, while it moves.


def test_a_large_browser_has_the_most_pixels_of_its_shape():
  browser = Browser(1600, 800)
  made = viewer.Viewer(Server(a=browser), shown(), most_pixels=FULL)
  while made.tick(0.0):
    pass
  assert browser.pictures[-1].shape == (FULL // 2, FULL, 3)


def test_a_browser_that_grows_is_drawn_sharp_again():
  browser = Browser(16, 8)
  made = viewer.Viewer(Server(a=browser), shown(), most_pixels=100)
  while made.tick(0.0):
    pass
  browser.camera.image_width, browser.camera.image_height = 32, 16
  while made.tick(0.0):
    pass
  # The same picture with more pixels, so a draft would only flicker.
  sizes = [picture.shape[1] for picture in browser.pictures]
  assert sizes == [8, 16, 32]


@pytest.mark.parametrize('width, height', [(14, 24), (24, 24), (24, 14)])
def test_bands_are_the_picture(monkeypatch, width, height):
  whole, banded = Browser(width, height), Browser(width, height)
  for browser, pixels in ((whole, FULL * FULL), (banded, 5 * FULL)):
    monkeypatch.setattr(viewer, 'BAND_PIXELS', pixels)
    made = viewer.Viewer(Server(a=browser), shown(), FULL)
    while made.tick(0.0):
      pass
  one, other = whole.pictures[-1], banded.pictures[-1]
  assert one.shape == other.shape == (height, width, 3)
  # Another program: the last bits may differ, and round to another byte.
  assert np.abs(one.astype(int) - other).max() <= 1


def test_whoever_moves_meanwhile_gets_a_draft_at_once(monkeypatch):
  monkeypatch.setattr(viewer, 'BAND_PIXELS', 4 * FULL)
  browser = Browser()
  made = viewer.Viewer(Server(a=browser), shown(), FULL)
  assert made.tick(0.0) and made.tick(0.0)  # The draft, and a band.
  browser.camera.position = browser.camera.position + 0.1
  assert made.tick(0.0)
  assert [len(p) for p in browser.pictures] == [8, 8]


def ghostly(params, rays, key=None, *, with_normals=True):
  """Balls without end: the field repeats itself, as an encoding does."""
  middle = rays.origins + (rays.near + rays.far) / 2 * rays.directions
  repeats = jnp.abs((middle + 1) % 2 - 1)
  dense = (jnp.linalg.norm(repeats, axis=-1) < 0.7).astype(jnp.float32)
  red = jnp.array([1.0, 0.0, 0.0])
  rgb = jnp.where(dense[:, None] > 0, red, rays.background)
  normals = jnp.where(dense[:, None] > 0, 0.9, 0.5) * jnp.ones(3)
  return arrays.Renders(rgb, normals, dense, dense, dense)


@pytest.mark.parametrize('channel', ['colour', 'normals'])
def test_a_wide_window_shows_one_head_on_an_empty_ground(channel):
  ghosts = field.ConditionalNerf(init=None, render=ghostly, density=None)
  browser = Browser(96, 48, fov=1.6)
  source = types.SimpleNamespace(
    steps=lambda: [1], load=lambda step: viewer.Shown(ghosts, {}, step)
  )
  made = viewer.Viewer(Server(a=browser), source, 96)
  made._channel.value = channel
  while made.tick(0.0):
    pass
  picture = browser.pictures[-1]
  empty = np.array(turntable.BACKGROUND if channel == 'colour' else [0.5] * 3)
  is_empty = np.abs(picture / 255 - empty).max(-1) < 0.01
  # Where pixels look, by hand: how near their rays come to the middle.
  rows, columns = np.mgrid[:48, :96]
  tan = np.tan(0.8) * 2
  x = ((columns + 0.5) / 96 * 2 - 1) * tan
  y = ((rows + 24.5) / 96 * 2 - 1) * tan
  position = browser.camera.position
  pose = orbits.turntable(1).cameras().camera_to_world[0]
  ways = np.stack([x, -y, -np.ones_like(x)], -1) @ pose[:, :3].T
  ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
  miss = np.linalg.norm(np.cross(ways, position), axis=-1)
  assert is_empty[miss > camera_lib.SCENE_RADIUS].all()
  assert not is_empty[miss < 0.6].any()
  assert 0 < (miss < 0.6).sum() < 0.1 * miss.size


def rendered(monkeypatch) -> list[int]:
  """Notes how many places are rendered each time."""
  numbers, render = [], images.render_places

  def count(representation, params, camera, places, *rest, **more):
    numbers.append(len(places))
    return render(representation, params, camera, places, *rest, **more)

  monkeypatch.setattr(images, 'render_places', count)
  return numbers


def test_what_can_only_be_background_is_not_rendered(monkeypatch):
  numbers = rendered(monkeypatch)
  monkeypatch.setattr(viewer, 'BAND_PIXELS', 100)
  browser = Browser(160, 40, fov=0.9)
  made = viewer.Viewer(Server(a=browser), shown(), most_pixels=200)
  while made.tick(0.0):
    pass
  # From 3.4 away the ball is seen under an angle of 2 asin(1.4 / 3.4).
  radius = 20 * np.tan(np.arcsin(1.4 / 3.4)) / np.tan(0.45)
  disc = np.pi * radius**2
  assert disc < 0.5 * browser.pictures[-1].shape[0] * 160
  bands = [number for number in numbers if number == 100]
  # The rim of the disc, and the last band, which is filled up.
  assert disc <= 100 * len(bands) <= 1.1 * disc + 100


def test_browsers_of_all_sizes_share_what_is_compiled(monkeypatch):
  numbers = rendered(monkeypatch)
  browsers = {f'{w}': Browser(w, h) for w, h in ((30, 20), (25, 50), (41, 41))}
  made = viewer.Viewer(Server(**browsers), shown(), most_pixels=100)
  while made.tick(0.0):
    pass
  assert set(numbers) == {8 * 8, viewer.BAND_PIXELS}
