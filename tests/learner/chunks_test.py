"""Cutting and joining are inverse, whatever does not divide."""

import jax
import numpy as np
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.learner import chunks as chunks_lib
from tests.core import compiling

camera_rays = compiling.compiled(camera_lib.camera_rays, static_argnums=1)
cast = compiling.compiled(chunks_lib.cast, static_argnums=(2, 3, 4))


@pytest.mark.parametrize('size', [1, 7, 16, 98, 200])
@pytest.mark.parametrize('num_devices', [1, 3])
def test_joining_undoes_cutting(size, num_devices):
  pixels = np.arange(2 * 7 * 7 * 3, dtype=np.float32).reshape(2, 7, 7, 3)
  cut = chunks_lib.cut(pixels, size, num_devices)
  assert cut.shape[1:] == (size, 3)
  assert len(cut) % num_devices == 0
  np.testing.assert_array_equal(chunks_lib.join(cut, 2, 7), pixels)


def test_padding_is_zero_and_less_than_one_round():
  cut = chunks_lib.cut(np.ones((1, 5, 5)), 4, 2)
  assert cut.shape == (8, 4)
  assert cut.sum() == 25


def test_chunks_hold_the_rays_of_the_cameras_in_order():
  cameras = orbits.turntable(2).cameras()
  backgrounds = np.float32([[0.2] * 3, [0.7] * 3])
  chunks = cast(cameras, backgrounds, 5, 8, 1)
  second = jax.tree.map(lambda leaf: leaf[1], cameras)
  rays = camera_rays(second, 5, backgrounds[1])
  joined = chunks_lib.join(chunks.rays.directions, 2, 5)
  # Single against vectorised float32 rotation.
  np.testing.assert_allclose(joined[1], rays.directions, atol=1e-6)
  np.testing.assert_array_equal(
    chunks_lib.join(chunks.rays.background, 2, 5)[:, 0, 0], backgrounds
  )
  np.testing.assert_array_equal(chunks.index, np.arange(7))


def test_padding_repeats_a_ray_and_is_masked():
  cameras = orbits.turntable(1).cameras()
  chunks = cast(cameras, np.ones((1, 3), np.float32), 5, 8, 1)
  assert chunks.mask.sum() == 25
  last = chunks.rays.directions[-1]
  np.testing.assert_array_equal(last, np.broadcast_to(last[0], last.shape))
