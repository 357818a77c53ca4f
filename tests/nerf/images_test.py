import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.core import arrays
from mmdist.nerf import field
from mmdist.nerf import images
from tests.core import compiling


def render(params, rays, key=None, *, with_normals=True):
  """Shows where each ray goes, as a stand-in for a NeRF."""
  assert key is None
  normals = (rays.directions + 1) / 2
  return arrays.Renders(
    rgb=params['gain'] * rays.background,
    normals=normals if with_normals else 0 * normals + 0.5,
    acc=rays.directions[:, 0],
    depth=rays.near[:, 0],
    regularizer=rays.near[:, 0],
  )


COMPASS = field.ConditionalNerf(init=None, render=render, density=None)
PARAMS = {'gain': jnp.float32(0.5)}
VIEWS = orbits.turntable(3)

camera_rays = compiling.compiled(camera_lib.camera_rays, static_argnums=1)


@pytest.mark.parametrize('chunk_size', [1, 7, 36, 1000])
def test_pixels_come_back_in_place_whatever_the_chunks(chunk_size):
  pictures = images.render_images(
    COMPASS, PARAMS, VIEWS, 6, np.ones(3), chunk_size=chunk_size
  )
  for i in range(3):
    rays = camera_rays(VIEWS.cameras().take(i), 6, np.ones(3))
    np.testing.assert_allclose(
      pictures['normals'][i], (rays.directions + 1) / 2, atol=1e-6
    )
    np.testing.assert_allclose(
      pictures['acc'][i], rays.directions[..., 0], atol=1e-6
    )
    np.testing.assert_allclose(
      pictures['depth'][i], rays.near[..., 0], rtol=1e-6
    )


def test_rays_of_no_picture_are_rendered_as_those_of_one():
  rays = camera_rays(VIEWS.cameras().take(1), 6, np.ones(3))
  flat = jax.tree.map(lambda leaf: leaf.reshape((36,) + leaf.shape[2:]), rays)
  shown = images.render_rays(COMPASS, PARAMS, flat)
  pictures = images.render_images(COMPASS, PARAMS, VIEWS, 6, np.ones(3))
  for name in images.CHANNELS:
    expected = pictures[name][1].reshape(shown[name].shape)
    np.testing.assert_array_equal(shown[name], expected)


def test_every_view_may_have_its_own_background():
  backgrounds = np.array([[0.2] * 3, [0.4] * 3, [1.0] * 3])
  pictures = images.render_images(COMPASS, PARAMS, VIEWS, 4, backgrounds)
  np.testing.assert_allclose(
    pictures['rgb'][:, 0, 0], backgrounds / 2, rtol=1e-6
  )


def test_cameras_do_as_well_as_views():
  by_views = images.render_images(COMPASS, PARAMS, VIEWS, 4, np.ones(3))
  by_cameras = images.render_images(
    COMPASS, PARAMS, VIEWS.cameras(), 4, np.ones(3), with_normals=False
  )
  np.testing.assert_array_equal(by_views['acc'], by_cameras['acc'])
  np.testing.assert_array_equal(by_cameras['normals'], 0.5)


def test_pictures_are_plain_numpy():
  pictures = images.render_images(COMPASS, PARAMS, VIEWS, 4, np.ones(3))
  assert set(pictures) == {'rgb', 'normals', 'acc', 'depth'}
  for picture in pictures.values():
    assert isinstance(picture, np.ndarray) and picture.dtype == np.float32


def test_a_representation_is_compiled_once_for_all_views():
  traces = []

  def counting(params, rays, key=None, *, with_normals=True):
    traces.append(rays)
    return render(params, rays, key, with_normals=with_normals)

  representation = field.ConditionalNerf(None, counting, None)
  for gain in (0.1, 0.2):
    params = {'gain': jnp.float32(gain)}
    images.render_images(representation, params, VIEWS, 4, np.ones(3))
  assert len(traces) == 1
  assert isinstance(traces[0].origins, jax.core.Tracer)


def test_places_are_those_of_the_whole_picture():
  whole = images.render_images(COMPASS, PARAMS, VIEWS.take([1]), 6, np.ones(3))
  camera = VIEWS.cameras().take(1)
  ticks = (np.arange(6) + 0.5) / 3 - 1
  places = np.stack(np.meshgrid(ticks, -ticks[2:5]), -1).reshape(-1, 2)
  some = images.render_places(COMPASS, PARAMS, camera, places, 6, np.ones(3))
  for name, picture in whole.items():
    wanted = picture[0, 2:5].reshape(some[name].shape)
    np.testing.assert_allclose(some[name], wanted, atol=1e-6)


def test_a_ray_that_misses_the_ball_shows_the_background():
  pose = VIEWS.cameras().camera_to_world[:1]
  wide = camera_lib.Camera(pose, np.float32([2.0]))
  grey = np.float32([0.2, 0.4, 0.6])
  pictures = images.render_images(COMPASS, PARAMS, wide, 9, grey)
  corner = {name: picture[0, 0, 0] for name, picture in pictures.items()}
  np.testing.assert_allclose(corner['rgb'], grey)
  np.testing.assert_allclose(corner['normals'], 0.5)
  assert corner['acc'] == 0
  np.testing.assert_allclose(pictures['rgb'][0, 4, 4], grey / 2)
