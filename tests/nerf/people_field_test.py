"""The shipped search space of people shows its own subjects."""

import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.core import asset_paths
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.nerf import field
from mmdist.nerf import images as nerf_images
from mmdist.nerf import pretrained

PEOPLE = worlds.get('people')
SIZE = 32
GREY = 0.75
NEUTRAL = (0, 2, 4)  # Even subjects have no expression.


@pytest.fixture(scope='module', name='nerf')
def fixture_nerf():
  return pretrained.load(asset_paths.resolve('people_nerf'))


@pytest.fixture(scope='module', name='views')
def fixture_views():
  return orbits.make_views(
    np.array([0.0, 1.2]),
    0.05,
    orbits.CAMERA_DISTANCE,
    orbits.HEAD_TARGET,
    orbits.HEAD_HALF_HEIGHT,
  )


@pytest.fixture(scope='module', name='truth')
def fixture_truth(views):
  pictures = []
  for index in NEUTRAL:
    head = subjects.sample_head(PEOPLE, 0, index, neutral=True)
    seen = subjects.render_heads(PEOPLE, [head] * len(views), views, SIZE)
    pictures.append(seen.over(np.full(3, GREY)))
  return np.stack(pictures)


def shown(nerf, code, views):
  config, params, _ = nerf
  representation = field.conditional_nerf(config)
  background = np.full(3, GREY, np.float32)
  params = {**params, 'code': code}
  rendered = nerf_images.render_images(
    representation, params, views, SIZE, background, with_normals=False
  )
  return rendered['rgb']


def psnr(one, other):
  return -10 * np.log10(np.mean((one - other) ** 2))


def test_every_code_shows_its_own_subject(nerf, views, truth):
  for row, index in enumerate(NEUTRAL):
    picture = shown(nerf, nerf[2][index], views)
    found = [psnr(picture, other) for other in truth]
    assert int(np.argmax(found)) == row
    assert found[row] > 21, found


def test_there_are_a_thousand_subjects_and_the_mean_is_a_head(nerf, views):
  codes = nerf[2]
  assert codes.shape == (1000, nerf[0].code_size)
  mean = shown(nerf, codes.mean(0), views)
  # The corners above the shoulders are empty, the middle is not.
  np.testing.assert_allclose(mean[:, 0, [0, -1]], GREY, atol=0.02)
  assert np.abs(mean[:, SIZE // 2, SIZE // 2] - GREY).max(-1).min() > 0.05
