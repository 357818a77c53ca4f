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
from tests.results import browsers
from tests.results import sphere_field

FULL = browsers.FULL


@pytest.mark.parametrize(
  'azimuth, elevation', [(0, 0), (0.7, 0.3), (-2.5, -0.4)]
)
def test_a_browsers_camera_is_ours(azimuth, elevation):
  expected = orbits.make_views(
    azimuth, elevation, 3.4, (0.1, 0.2, 0.0), 0.95
  ).cameras()
  pose = expected.camera_to_world[0]
  fov = 2 * np.arctan(expected.tan_half_fov[0])
  found = viewer.camera_of(
    browsers.opencv_quaternion(pose), pose[:, 3], fov, 1.0
  )
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


def shown():
  return browsers.Heads(5)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
  monkeypatch.setattr(viewer, 'DRAFT_RESOLUTION', 8)


def test_a_draft_comes_first_then_the_picture_then_nothing():
  browser = browsers.Browser()
  made = viewer.Viewer(browsers.Server(a=browser), shown(), FULL)
  assert [made.tick(0.0) for _ in range(4)] == [True, True, False, False]
  assert [len(p) for p in browser.pictures] == [8, FULL]
  assert browser.formats == ['jpeg', 'png']  # What stays is not smeared.
  # Red at x > 0, which the camera in front sees on the right.
  middle = browser.pictures[1][FULL // 2] / 255
  np.testing.assert_allclose(middle[FULL * 2 // 3], sphere_field.RED, atol=0.02)
  np.testing.assert_allclose(middle[FULL // 3], sphere_field.BLUE, atol=0.02)
  np.testing.assert_allclose(middle[0], turntable.BACKGROUND, atol=0.01)


def test_a_moved_camera_is_drawn_anew_and_only_there():
  still, moving = browsers.Browser(), browsers.Browser()
  made = viewer.Viewer(browsers.Server(a=still, b=moving), shown(), FULL)
  while made.tick(0.0):
    pass
  moving.camera.position = moving.camera.position + 0.1
  while made.tick(0.0):
    pass
  assert (len(still.pictures), len(moving.pictures)) == (2, 4)


def test_normals_are_shown_when_asked_for_without_a_draft():
  browser = browsers.Browser()
  made = viewer.Viewer(browsers.Server(a=browser), shown(), FULL)
  while made.tick(0.0):
    pass
  made._channel.value = 'normals'
  assert made.tick(0.0) and not made.tick(0.0)
  assert len(browser.pictures[-1]) == FULL
  toward_camera = browser.pictures[-1][FULL // 2, FULL // 2, 2]
  assert toward_camera > 240


def test_depth_is_brighter_where_it_is_nearer_and_nothing_is_black():
  browser = browsers.Browser(64, 64)
  made = viewer.Viewer(browsers.Server(a=browser), shown(), 64)
  made._channel.value = 'depth'
  browsers.drawn(made, 0.0)
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


def test_a_browser_that_left_is_forgotten():
  server = browsers.Server(a=browsers.Browser())
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
  browser = browsers.Browser(width, height)
  made = viewer.Viewer(browsers.Server(a=browser), shown(), most_pixels=100)
  while made.tick(0.0):
    pass
  assert browser.pictures[-1].shape == (height, width, 3)
  assert max(browser.pictures[0].shape) == 8  # A draft, while it moves.


def test_a_large_browser_has_the_most_pixels_of_its_shape():
  browser = browsers.Browser(1600, 800)
  made = viewer.Viewer(browsers.Server(a=browser), shown(), most_pixels=FULL)
  while made.tick(0.0):
    pass
  assert browser.pictures[-1].shape == (FULL // 2, FULL, 3)


def test_a_browser_that_grows_is_drawn_sharp_again():
  browser = browsers.Browser(16, 8)
  made = viewer.Viewer(browsers.Server(a=browser), shown(), most_pixels=100)
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
  whole, banded = (
    browsers.Browser(width, height),
    browsers.Browser(width, height),
  )
  for browser, pixels in ((whole, FULL * FULL), (banded, 5 * FULL)):
    monkeypatch.setattr(viewer, 'BAND_PIXELS', pixels)
    made = viewer.Viewer(browsers.Server(a=browser), shown(), FULL)
    while made.tick(0.0):
      pass
  one, other = whole.pictures[-1], banded.pictures[-1]
  assert one.shape == other.shape == (height, width, 3)
  # Another program: the last bits may differ, and round to another byte.
  assert np.abs(one.astype(int) - other).max() <= 1


def test_whoever_moves_meanwhile_gets_a_draft_at_once(monkeypatch):
  monkeypatch.setattr(viewer, 'BAND_PIXELS', 4 * FULL)
  browser = browsers.Browser()
  made = viewer.Viewer(browsers.Server(a=browser), shown(), FULL)
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
  browser = browsers.Browser(96, 48, fov=1.6)
  source = types.SimpleNamespace(
    steps=lambda: [1], load=lambda step: viewer.Shown(ghosts, {}, step)
  )
  made = viewer.Viewer(browsers.Server(a=browser), source, 96)
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
  browser = browsers.Browser(160, 40, fov=0.9)
  made = viewer.Viewer(browsers.Server(a=browser), shown(), most_pixels=200)
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
  several = {
    f'{w}': browsers.Browser(w, h) for w, h in ((30, 20), (25, 50), (41, 41))
  }
  made = viewer.Viewer(browsers.Server(**several), shown(), most_pixels=100)
  while made.tick(0.0):
    pass
  assert set(numbers) == {8 * 8, viewer.BAND_PIXELS}
