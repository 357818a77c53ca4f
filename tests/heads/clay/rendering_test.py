import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.heads.clay import geometry as head_geometry
from mmdist.heads.clay import rendering as head_rendering

CLAY = worlds.get('clay')

# The renderer takes half a minute to compile for each resolution, so all tests
# of real heads have one. The ball's program is small.
RESOLUTION = 64
BALL_SIZE = 32
RADIUS = 0.6


@pytest.fixture(scope='module')
def ball():
  """(camera, rgb, normals, mask) of a ball: the one head in closed form."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      head_geometry,
      'distance',
      lambda points, p: jnp.linalg.norm(points, axis=-1) - p['radius'],
    )
    patch.setattr(
      head_geometry,
      'albedo',
      lambda points, p, footprint: jnp.broadcast_to(p['color'], points.shape),
    )
    views = orbits.make_views(0.7, 0.3, 3.4, (0.1, 0.0, 0.0), 0.95)
    cameras = views.cameras()
    camera = camera_lib.Camera(
      cameras.camera_to_world[0], cameras.tan_half_fov[0]
    )
    parameters = {'radius': np.float32(RADIUS), 'color': np.full(3, 0.5)}
    picture = head_rendering.render(parameters, camera, np.ones(3), BALL_SIZE)
  return camera, *map(np.asarray, picture)


def trace_ball(camera):
  """Intersects every pixel's ray with the ball, in float64, one by one."""
  pose = np.asarray(camera.camera_to_world, np.float64)
  tan = float(camera.tan_half_fov)
  normals = np.zeros((BALL_SIZE, BALL_SIZE, 3))
  miss = np.zeros((BALL_SIZE, BALL_SIZE))
  for row in range(BALL_SIZE):
    for column in range(BALL_SIZE):
      x = ((column + 0.5) / BALL_SIZE * 2 - 1) * tan
      y = (1 - (row + 0.5) / BALL_SIZE * 2) * tan
      direction = pose[:, :3] @ (x, y, -1.0)
      direction /= np.linalg.norm(direction)
      origin = pose[:, 3]
      along = -origin @ direction
      miss[row, column] = np.linalg.norm(origin + along * direction)
      if miss[row, column] < RADIUS:
        half = np.sqrt(RADIUS**2 - miss[row, column] ** 2)
        normals[row, column] = (origin + (along - half) * direction) / RADIUS
  return normals, miss


def test_a_ball_has_the_normals_of_a_ball(ball):
  camera, _, normals, mask = ball
  expected, miss = trace_ball(camera)
  inside = miss < 0.9 * RADIUS
  # A hit is accepted 0.012 early, seen at up to 65 degrees: 0.03 along it.
  np.testing.assert_allclose(normals[inside], expected[inside], atol=0.05)
  np.testing.assert_allclose(mask[inside], 1.0)


def test_the_mask_of_a_ball_is_the_covered_share_of_each_pixel(ball):
  camera, _, _, mask = ball
  _, miss = trace_ball(camera)
  pixel = 2 * float(camera.tan_half_fov) / BALL_SIZE * 3.4
  np.testing.assert_array_equal(mask[miss > RADIUS + pixel], 0.0)
  np.testing.assert_allclose(mask[miss < RADIUS - 1.5 * pixel], 1.0)
  edge = np.abs(miss - RADIUS) < 0.5 * pixel
  share = 0.5 - (miss - RADIUS) / pixel
  # Depth along the ray, from a few samples, stands for depth across it.
  np.testing.assert_allclose(mask[edge], share[edge], atol=0.35)
  assert abs(np.mean(mask[edge] - share[edge])) < 0.12


def test_the_area_of_a_ball_is_right(ball):
  camera, _, _, mask = ball
  # The cone that touches the ball, cut by the picture's plane.
  distance = np.linalg.norm(np.asarray(camera.camera_to_world)[:, 3])
  slope = np.tan(np.arcsin(RADIUS / distance)) / float(camera.tan_half_fov)
  area = np.pi * (slope * BALL_SIZE / 2) ** 2
  np.testing.assert_allclose(mask.sum(), area, rtol=0.02)  # Off-centre: 1 %.


def test_a_ball_is_shaded_by_the_studios_light(ball):
  camera, rgb, _, mask = ball
  normals, miss = trace_ball(camera)
  inside = miss < 0.8 * RADIUS
  diffuse = np.clip(normals @ head_rendering.LIGHT, 0, 1)
  shade = 0.50 + 0.20 * normals[..., 1] + 0.42 * diffuse
  # Nothing stands in the sky's way, so it is open.
  expected = np.clip(0.5 * shade * 1.05, 0, 1) ** 0.85
  error = np.abs(rgb - expected[..., None])[inside]
  assert error.max() < 0.03  # The normals' tolerance, through the shading.
  np.testing.assert_array_equal(rgb[mask == 0], 1.0)


@jax.jit
def points_on_rays(camera):
  """Returns [H, W, 200, 3] points along each pixel's ray."""
  rays = camera_lib.camera_rays(camera, RESOLUTION, np.zeros(3))
  t = rays.near + (rays.far - rays.near) * jnp.linspace(0.0, 1.0, 200)
  return rays.origins[..., None, :] + (
    t[..., None] * rays.directions[..., None, :]
  )


@pytest.fixture(scope='module')
def clearance_of(distance, people, views):
  """index -> [H, W] closest pass of each pixel's ray, found by 200 samples."""

  @functools.cache
  def dense_clearance(index):
    cameras = views.cameras()
    camera = camera_lib.Camera(
      cameras.camera_to_world[index], cameras.tan_half_fov[index]
    )
    points = np.asarray(points_on_rays(camera))
    found = distance(points.reshape(-1, 3), people[index].parameters)
    return found.reshape(points.shape[:-1]).min(-1)

  return dense_clearance


@pytest.mark.parametrize('index', [0, 3])
def test_no_part_of_a_head_is_skipped(clearance_of, pictures, index):
  clearance = clearance_of(index)
  mask = pictures.rgba[index, ..., 3]
  inside = clearance < -0.02
  assert inside.sum() > 1200
  # A block skipped is 16 pixels; a few rays that graze run out of steps.
  missed = inside & (mask < 0.5)
  assert missed.sum() <= 5
  np.testing.assert_array_equal(mask[inside] > 0, True)


@pytest.mark.parametrize('index', [0, 3])
def test_nothing_is_drawn_where_there_is_no_head(clearance_of, pictures, index):
  clearance = clearance_of(index)
  mask = pictures.rgba[index, ..., 3]
  pixel = 2 * orbits.HEAD_HALF_HEIGHT / RESOLUTION
  np.testing.assert_array_equal(mask[clearance > pixel], 0.0)


def test_pictures_have_empty_corners_full_middles_and_soft_silhouettes(
  pictures,
):
  alpha = pictures.rgba[..., 3]
  assert alpha.min() == 0.0 and alpha.max() <= 1.0
  np.testing.assert_array_equal(alpha[:, 0, [0, -1]], 0.0)
  np.testing.assert_allclose(alpha[:, 28:36, 28:36], 1.0)
  partial = ((alpha > 0.05) & (alpha < 0.95)).sum((1, 2))
  assert (partial > 20).all()


def test_the_background_never_shines_through_the_middle_of_a_head(pictures):
  alpha = pictures.rgba[..., 3]
  for mask in alpha:
    for row in range(1, RESOLUTION - 1):
      for column in range(1, RESOLUTION - 1):
        around = mask[row - 1 : row + 2, column - 1 : column + 2]
        if (around >= 0.5).all():
          assert mask[row, column] == 1.0


def test_normals_are_unit_on_the_head_and_grey_beside_it(pictures):
  normals = 2 * pictures.normals - 1
  alpha = pictures.rgba[..., 3]
  length = np.linalg.norm(normals, axis=-1)
  np.testing.assert_allclose(length, alpha, atol=1e-5)
  np.testing.assert_array_equal(pictures.normals[alpha == 0], 0.5)


def test_normals_face_the_camera(pictures, views):
  toward = views.cameras().camera_to_world[..., 2]
  facing = np.einsum('nhwc,nc->nhw', 2 * pictures.normals - 1, toward)
  solid = pictures.rgba[..., 3] == 1
  # Perspective turns rays by up to 15 degrees; creases are rounded off.
  assert np.mean(facing[solid] > -0.25) > 0.99


def test_surface_normals_are_the_gradient_of_the_distance(
  distance, people, monkeypatch
):
  parameters = people[1].parameters
  rng = np.random.default_rng(0)
  points = rng.normal(size=(400, 3))
  points *= 1.2 / np.linalg.norm(points, axis=-1, keepdims=True)
  for _ in range(40):  # Walk inwards to the surface.
    away = distance(points, parameters)
    inward = -points / np.linalg.norm(points, axis=-1, keepdims=True)
    points = points + 0.8 * away[:, None] * inward
  points = points.astype(np.float32)

  def compiled_distance(points, p):
    with jax.disable_jit(False):
      return distance(points, p)

  # As written, around the distance that is compiled already.
  monkeypatch.setattr(head_geometry, 'distance', compiled_distance)
  with jax.disable_jit():
    found = np.asarray(head_rendering.surface_normals(parameters, points))
  h = np.float32(0.003) * np.eye(3, dtype=np.float32)
  exact = np.stack(
    [
      distance(points + step, parameters) - distance(points - step, parameters)
      for step in h
    ],
    -1,
  )
  exact /= np.linalg.norm(exact, axis=-1, keepdims=True)
  np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, rtol=1e-5)
  cosine = np.sum(found * exact, -1)
  # Where two parts meet, differences over 0.01 see both.
  assert np.mean(cosine > 0.99) > 0.9


def test_heads_are_symmetric_from_the_front(people):
  camera = orbits.make_views(
    0.0, 0.0, 3.4, orbits.HEAD_TARGET, orbits.HEAD_HALF_HEIGHT
  )
  picture = subjects.render_heads(CLAY, [people[2]], camera, RESOLUTION)
  mask, normals = picture.rgba[0, ..., 3], 2 * picture.normals[0] - 1
  np.testing.assert_allclose(mask, mask[:, ::-1], atol=0.02)
  mirrored = normals[:, ::-1] * np.array([-1, 1, 1])
  # The corners that normals are measured with are not mirror symmetric, which
  # shows in creases and curls.
  assert np.mean(np.abs(normals - mirrored)) < 0.02


@pytest.mark.slow
def test_one_ray_a_pixel_is_nearly_as_good_as_sixteen(
  clearance_of, people, views, pictures
):
  fine = subjects.render_heads(
    CLAY, people[3:4], views.take(range(3, 4)), RESOLUTION, 4
  )
  coarse = dataclasses.replace(pictures, rgba=pictures.rgba[3:4])
  grey = np.full(3, 0.7)
  error = np.abs(fine.over(grey) - coarse.over(grey))
  # Mixed colours and partial coverage stand in for the rays; teeth and
  # glasses are thinner than these 0.03-wide pixels.
  assert error.mean() < 0.01
  assert np.abs(fine.rgba[..., 3] - coarse.rgba[..., 3]).mean() < 0.01
  # Larger pictures march on until they arrive: not one pixel is missed.
  np.testing.assert_array_equal(
    fine.rgba[0, ..., 3][clearance_of(3) < -0.03] > 0.5, 1
  )
