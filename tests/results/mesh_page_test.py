"""A GLB in three.js, beside the render that it was made from.

`MMDIST_SHOTS=FOLDER pytest tests/results/mesh_page_test.py` leaves the pictures
there, to be looked at.
"""

import os
import pathlib
import re

import jax
import numpy as np
from PIL import Image
import pytest
from scipy import ndimage

from mmdist.cameras import orbits
from mmdist.nerf import field
from mmdist.nerf import images
from mmdist.nerf import pretrained
from mmdist.results import glb
from mmdist.results import mesh_page
from mmdist.results import triangle_mesh
from mmdist.results import turntable
from tests.results import chromium
from tests.results import sphere_field

PIXELS = 192
AZIMUTHS = (0.0, 1.0)


BALL = sphere_field.representation(lambda points: 0.5 + 0.6 * points)


@pytest.fixture(scope='module')
def ball():
  return triangle_mesh.make_mesh(BALL, sphere_field.params_of(), 96, 256)


def test_a_page_loads_nothing_from_elsewhere(ball):
  text = mesh_page.to_html(ball)
  (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', text)
  assert policy.startswith("default-src 'none';") and 'http' not in policy
  # The policy is the first thing that a browser reads.
  assert text.index('Content-Security-Policy') < text.index('<script')
  assert re.findall('<(?:script|link|img|iframe)[^>]*>', text) == (
    ['<script>'] * 2
  )


def head():
  """Returns the shipped NeRF with its mean code."""
  config, params, codes = pretrained.load('nerf')
  return field.conditional_nerf(config), params | {'code': codes.mean(0)}


def views_of(azimuths):
  elevations = np.full(len(azimuths), 0.1)
  return orbits.make_views(
    np.array(azimuths),
    elevations,
    orbits.CAMERA_DISTANCE,
    [orbits.HEAD_TARGET] * len(azimuths),
    [orbits.HEAD_HALF_HEIGHT] * len(azimuths),
  )


def screenshots(page, path, folder, views):
  """Opens a page and looks from each view; returns [V, H, W, 3] in [0, 1]."""
  page.errors.clear()
  page.open(path, PIXELS, PIXELS)
  # Both exist once the model is there.
  page.wait_for('typeof controls === "object" && typeof camera === "object"')
  shots = []
  for pose in views.cameras().camera_to_world:
    position, target = (
      ', '.join(f'{value * glb.METRES_PER_UNIT:.6f}' for value in place)
      for place in (pose[:, 3], orbits.HEAD_TARGET)
    )
    page.run(
      f'camera.position.set({position}); controls.target.set({target});'
      'camera.up.set(0, 1, 0); controls.update(); render(); true'
    )
    page.screenshot(folder / 'shot.png')
    with Image.open(folder / 'shot.png') as shot:
      shots.append(np.asarray(shot.convert('RGB')) / 255)
  loaded = page.run(
    "performance.getEntriesByType('resource').map(entry => entry.name)"
  )
  assert all(name.startswith(('data:', 'blob:')) for name in loaded)
  assert not page.errors
  return np.stack(shots)


def psnr(shown, expected):
  return -10 * np.log10(np.mean((shown - expected) ** 2))


def look(representation, params, mesh, tmp_path, name):
  """Returns what three.js shows, and the renders of the same views."""
  folder = pathlib.Path(os.environ.get('MMDIST_SHOTS', tmp_path))
  folder.mkdir(exist_ok=True)
  views = views_of(AZIMUTHS)
  background = np.array(turntable.BACKGROUND)
  expected = images.render_images(
    representation, params, views, PIXELS, background, with_normals=False
  )
  mesh_page.write(tmp_path / 'mesh.html', mesh)
  with chromium.browser(tmp_path) as page:
    shown = screenshots(page, tmp_path / 'mesh.html', tmp_path, views)
  rows = [np.concatenate(list(row), 1) for row in (expected['rgb'], shown)]
  both = turntable.to_uint8(np.concatenate(rows))
  Image.fromarray(both).save(folder / f'{name}.png')
  return shown, expected


@chromium.needs_chromium
@pytest.mark.slow
def test_three_js_shows_the_shipped_head_as_the_nerf_does(tmp_path):
  representation, params = head()
  params = jax.tree.map(np.asarray, params)
  mesh = triangle_mesh.make_mesh(representation, params, 112, 512)
  assert mesh.surface.is_watertight
  shown, expected = look(representation, params, mesh, tmp_path, 'head')
  for one, other in zip(shown, expected['rgb']):
    assert psnr(one, other) >= 22


@chromium.needs_chromium
@pytest.mark.slow
def test_three_js_adds_no_light_of_its_own(ball, tmp_path):
  params = sphere_field.params_of()
  shown, expected = look(BALL, params, ball, tmp_path, 'ball')
  # Inside of its outline, which is soft in the render and hard in the mesh.
  inside = ndimage.binary_erosion(
    expected['acc'] > 0.99, np.ones((1, 7, 7), bool)
  )
  assert inside.mean() > 0.2
  assert psnr(shown[inside], expected['rgb'][inside]) >= 35
  # The background is that of pictures, to half a byte.
  np.testing.assert_allclose(shown[:, 0, 0], turntable.BACKGROUND[0], atol=3e-3)
