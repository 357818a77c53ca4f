"""A GLB in three.js, beside the render that it was made from.

`MMDIST_SHOTS=FOLDER pytest tests/results/mesh_page_test.py` leaves the pictures
there, to be looked at.
"""

import os
import pathlib
import re

import jax
import numpy as np
import pytest
from scipy import ndimage

from mmdist.nerf import field
from mmdist.nerf import images
from mmdist.nerf import pretrained
from mmdist.results import mesh_page
from mmdist.results import triangle_mesh
from mmdist.results import turntable
from tests.results import chromium
from tests.results import mesh_shots
from tests.results import sphere_field

PIXELS = 192
ANGLES = ((0, 0.1), (1, 0.1))
BALL = sphere_field.representation(lambda points: 0.5 + 0.6 * points)


@pytest.fixture(scope='module')
def ball():
  return triangle_mesh.make_mesh(BALL, sphere_field.params_of(), 96, 256)


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  with chromium.browser(tmp_path_factory.mktemp('chromium')) as opened:
    yield opened


def test_a_page_loads_nothing_from_elsewhere(ball):
  text = mesh_page.to_html(ball)
  (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', text)
  assert policy.startswith("default-src 'none';") and 'http' not in policy
  # The policy is the first thing that a browser reads.
  assert text.index('Content-Security-Policy') < text.index('<script')
  tags = re.findall('<(?:script|link|img|iframe)[^>]*>', text)
  assert tags == ['<script>'] * 2


def look(page, representation, params, mesh, tmp_path, name):
  """Returns what three.js shows, and the renders of the same views."""
  views = mesh_shots.views_of(ANGLES)
  background = np.array(turntable.BACKGROUND)
  expected = images.render_images(
    representation, params, views, PIXELS, background, with_normals=False
  )
  mesh_page.write(tmp_path / 'mesh.html', mesh)
  shown = mesh_shots.screenshots(page, tmp_path / 'mesh.html', views, PIXELS)
  folder = pathlib.Path(os.environ.get('MMDIST_SHOTS', tmp_path))
  folder.mkdir(exist_ok=True)
  mesh_shots.write_beside(folder / f'{name}.png', expected['rgb'], shown)
  return shown, expected


@chromium.needs_chromium
@pytest.mark.slow
def test_three_js_shows_the_shipped_head_as_the_nerf_does(page, tmp_path):
  config, params, codes = pretrained.load('nerf')
  params = jax.tree.map(np.asarray, params | {'code': codes.mean(0)})
  representation = field.conditional_nerf(config)
  mesh = triangle_mesh.make_mesh(representation, params, 96, 320)
  assert mesh.surface.is_watertight
  shown, expected = look(page, representation, params, mesh, tmp_path, 'head')
  for one, other in zip(shown, expected['rgb']):
    assert mesh_shots.psnr(one, other) >= 22


@chromium.needs_chromium
@pytest.mark.slow
def test_three_js_adds_no_light_of_its_own(page, ball, tmp_path):
  params = sphere_field.params_of()
  shown, expected = look(page, BALL, params, ball, tmp_path, 'ball')
  # Inside of its outline, which is soft in the render and hard in the mesh.
  inside = ndimage.binary_erosion(
    expected['acc'] > 0.99, np.ones((1, 7, 7), bool)
  )
  assert inside.mean() > 0.2
  assert mesh_shots.psnr(shown[inside], expected['rgb'][inside]) >= 35
  # The background is that of pictures, to half a byte.
  np.testing.assert_allclose(shown[:, 0, 0], turntable.BACKGROUND[0], atol=3e-3)


@chromium.needs_chromium
@pytest.mark.slow
def test_a_page_turns_with_the_mouse_and_loads_nothing(page, ball, tmp_path):
  page.errors.clear()
  mesh_page.write(tmp_path / 'mesh.html', ball)
  page.open(tmp_path / 'mesh.html', PIXELS, PIXELS)
  page.wait_for('typeof controls === "object" && typeof camera === "object"')
  before = page.run('camera.position.x')
  page.drag(PIXELS // 2, PIXELS // 2, PIXELS // 4, 0)
  page.wait_for(f'Math.abs(camera.position.x - {before}) > 0.05')
  loaded = page.run(
    "performance.getEntriesByType('resource').map(entry => entry.name)"
  )
  assert all(name.startswith(('data:', 'blob:')) for name in loaded)
  assert not page.errors
