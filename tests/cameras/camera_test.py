import jax
import numpy as np
import pytest

from mmdist.cameras import camera as camera_lib
from tests.core import compiling

ORIGIN = (0.0, 0.0, 0.0)

ball_bounds = compiling.compiled(camera_lib.ball_bounds)
camera_rays = compiling.compiled(camera_lib.camera_rays, static_argnums=1)
pixel_rays = compiling.compiled(camera_lib.pixel_rays, static_argnums=2)


def some_camera(seed=0):
  rng = np.random.default_rng(seed)
  return camera_lib.look_at(
    rng.uniform(-np.pi, np.pi),
    rng.uniform(-1.2, 1.2),
    rng.uniform(2.0, 4.0),
    rng.normal(0, 0.2, 3),
    rng.uniform(0.1, 0.5),
  )


def test_azimuth_zero_is_in_front_of_the_face_with_x_to_the_right():
  pose = camera_lib.look_at(0.0, 0.0, 3.0, ORIGIN, 0.3).camera_to_world
  np.testing.assert_allclose(pose[:, :3], np.eye(3), atol=1e-7)
  np.testing.assert_allclose(pose[:, 3], [0, 0, 3], atol=1e-7)


def test_a_quarter_turn_stands_at_positive_x():
  camera = camera_lib.look_at(np.pi / 2, 0.0, 3.0, (0, 1, 0), 0.3)
  np.testing.assert_allclose(camera.camera_to_world[:, 3], [3, 1, 0], atol=1e-6)


def test_elevation_raises_the_camera():
  camera = camera_lib.look_at(0.4, np.pi / 6, 2.0, ORIGIN, 0.3)
  assert camera.camera_to_world[1, 3] == pytest.approx(1.0)


@pytest.mark.parametrize('seed', range(5))
def test_poses_are_rotations_with_up_pointing_up(seed):
  rotation = some_camera(seed).camera_to_world[:, :3]
  np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-6)
  assert np.linalg.det(rotation) == pytest.approx(1, abs=1e-6)
  assert rotation[1, 1] > 0 and rotation[1, 0] == 0


def test_looking_straight_down_has_no_up():
  with pytest.raises(ValueError, match='within .-pi/2, pi/2.* got 1.571'):
    camera_lib.look_at(0.0, [0.3, np.pi / 2], 3.0, ORIGIN, 0.3)


def test_numbers_broadcast_to_a_batch_of_cameras():
  cameras = camera_lib.look_at(np.zeros(4), 0.1, 3.0, ORIGIN, 0.3)
  assert cameras.camera_to_world.shape == (4, 3, 4)
  assert cameras.tan_half_fov.shape == (4,)
  assert cameras.take([2, 0]).camera_to_world.shape == (2, 3, 4)
  assert cameras.take(1).tan_half_fov == cameras.tan_half_fov[1]


@pytest.mark.parametrize('seed', range(3))
def test_rays_pass_through_points_where_a_pinhole_projects_them(seed):
  camera, resolution = some_camera(seed), 16
  rays = camera_rays(camera, resolution, np.ones(3))
  row, column = 3, 11
  point = rays.origins[row, column] + 2.5 * rays.directions[row, column]
  # The textbook projection, independent of how rays are cast.
  rotation, position = np.split(camera.camera_to_world, [3], 1)
  x, y, z = rotation.T @ (point - position[:, 0])
  u = (x / -z / camera.tan_half_fov + 1) / 2 * resolution
  v = (1 - y / -z / camera.tan_half_fov) / 2 * resolution
  np.testing.assert_allclose([u, v], [column + 0.5, row + 0.5], atol=1e-3)


def test_the_middle_ray_hits_the_target():
  target = np.array([0.1, 0.2, -0.3])
  camera = camera_lib.look_at(0.7, 0.3, 3.0, target, 0.3)
  rays = camera_rays(camera, 5, np.ones(3))
  hit = rays.origins[2, 2] + 3.0 * rays.directions[2, 2]
  np.testing.assert_allclose(hit, target, atol=1e-5)


def test_rows_go_down_and_columns_go_right():
  camera = camera_lib.look_at(0.0, 0.0, 3.0, ORIGIN, 0.3)
  directions = camera_rays(camera, 4, np.ones(3)).directions
  assert np.all(np.diff(directions[..., 1], axis=0) < 0)
  assert np.all(np.diff(directions[..., 0], axis=1) > 0)


def test_directions_have_unit_length_and_are_the_view_directions():
  rays = camera_rays(some_camera(), 8, np.ones(3))
  length = np.linalg.norm(rays.directions, axis=-1)
  np.testing.assert_allclose(length, 1, atol=1e-6)
  np.testing.assert_array_equal(rays.directions, rays.viewdirs)


def test_radius_has_the_variance_of_a_square_pixel():
  camera, resolution = some_camera(), 64
  rays = camera_rays(camera, resolution, np.ones(3))
  width = 2 * camera.tan_half_fov / resolution
  # Uniform in a square of width w: w^2 / 12. In a disc of radius r: r^2 / 4.
  np.testing.assert_allclose(rays.radii**2 / 4, width**2 / 12, rtol=1e-5)


def test_pixels_of_many_cameras_are_those_of_each_camera():
  cameras = [some_camera(seed) for seed in range(3)]
  batch = camera_lib.Camera(
    np.stack([c.camera_to_world for c in cameras]),
    np.stack([c.tan_half_fov for c in cameras]),
  )
  # The middle of row 1, column 2 of 4 x 4 pixels.
  coordinates = np.full((3, 2), 0.25, np.float32)
  rays = pixel_rays(batch, coordinates, 4, np.ones(3))
  for i, camera in enumerate(cameras):
    expected = camera_rays(camera, 4, np.ones(3))
    for name in ('origins', 'directions', 'radii', 'near', 'far'):
      np.testing.assert_allclose(
        getattr(rays, name)[i], getattr(expected, name)[1, 2], rtol=1e-5
      )


def test_near_and_far_lie_on_the_ball():
  camera = camera_lib.look_at(0.5, 0.2, 3.4, ORIGIN, 0.2)
  rays = camera_rays(camera, 8, np.ones(3))
  for distance in (rays.near, rays.far):
    points = rays.origins + distance * rays.directions
    radius = np.linalg.norm(points, axis=-1)
    np.testing.assert_allclose(radius, camera_lib.SCENE_RADIUS, rtol=1e-5)


def test_a_ray_that_misses_the_ball_gets_a_thin_slab_where_it_is_closest():
  origins, directions = np.float32([[0.0, 5.0, 3.0], [0.0, 0.0, -1.0]])
  near, far = ball_bounds(origins, directions)
  assert 0 < near[0] < 3 < far[0]
  assert far[0] - near[0] < 0.25


def test_a_ball_behind_the_camera_leaves_increasing_distances():
  origins, directions = np.float32([[0.0, 0.0, 3.0], [0.0, 0.0, 1.0]])
  near, far = ball_bounds(origins, directions)
  assert 0 < near[0] < far[0]


def test_bounds_of_a_tangent_ray_have_finite_gradients():
  radius = camera_lib.SCENE_RADIUS
  gradient = compiling.compiled(
    jax.grad(
      lambda x: camera_lib.ball_bounds(x, np.float32([0.0, 0.0, -1.0]))[0][0]
    )
  )(np.float32([0.0, radius, 3.0]))
  assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
  'height, z, way, expected',
  [
    (0.0, 3.4, -1.0, True),  # Through the middle.
    (1.35, 3.4, -1.0, True),
    (1.399, 3.4, -1.0, False),  # It grazes the ball, within the thin slab.
    (2.0, 3.4, -1.0, False),
    (0.0, 3.4, 1.0, False),  # The ball is behind.
    (0.0, 0.5, 1.0, True),  # From inside.
  ],
)
def test_only_a_ray_between_bounds_on_the_ball_is_in_it(
  height, z, way, expected
):
  origins, directions = np.float32([[0.0, height, z], [0.0, 0.0, way]])
  assert bool(camera_lib.is_in_ball(origins, directions)[0]) == expected
  if expected:
    near, far = ball_bounds(origins, directions)
    samples = origins + np.linspace(near, far, 9) * directions
    assert (
      np.linalg.norm(samples, axis=-1).max() < camera_lib.SCENE_RADIUS + 1e-5
    )
