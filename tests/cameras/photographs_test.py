import numpy as np

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.cameras import photographs
from tests.core import compiling

camera_rays = compiling.compiled(camera_lib.camera_rays, static_argnums=1)
rays_of = compiling.compiled(photographs.PixelBatch.rays)


def batch_of(num_pixels=6, resolution=8):
  rng = np.random.default_rng(0)
  cameras = orbits.turntable(num_pixels).cameras()
  return photographs.PixelBatch(
    subject=np.arange(num_pixels),
    camera_to_world=cameras.camera_to_world,
    tan_half_fov=cameras.tan_half_fov,
    coordinates=np.full((num_pixels, 2), 0.125, np.float32),
    rgba=rng.uniform(0, 0.5, (num_pixels, 4)).astype(np.float32),
    background=np.full((num_pixels, 3), 0.8, np.float32),
    resolution=resolution,
  )


def test_rays_are_those_of_the_pictures_pixel():
  batch = batch_of()
  rays = rays_of(batch)
  camera = camera_lib.Camera(batch.camera_to_world[3], batch.tan_half_fov[3])
  picture = camera_rays(camera, 8, batch.background[3])
  # x = y = 0.125 is the middle of row 3, column 4 of 8 x 8 pixels.
  np.testing.assert_allclose(
    rays.directions[3], picture.directions[3, 4], atol=1e-6
  )
  np.testing.assert_array_equal(rays.background[3], picture.background[3, 4])


def test_a_clear_pixel_shows_the_background_and_an_opaque_one_does_not():
  batch = batch_of(2)
  batch = batch.replace(rgba=np.array([[0, 0, 0, 0], [0.1, 0.2, 0.3, 1.0]]))
  expected = [[0.8, 0.8, 0.8], [0.1, 0.2, 0.3]]
  np.testing.assert_allclose(batch.rgb(), expected, rtol=1e-6)


def test_cut_keeps_every_pixel_in_order():
  chunks = batch_of().cut(3)
  assert chunks.rgba.shape == (3, 2, 4) and chunks.resolution == 8
  np.testing.assert_array_equal(chunks.subject.ravel(), np.arange(6))
