"""What a grid of densities says of rays, against balls that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.core import device_mesh
from mmdist.nerf import occupancy

RADIUS = 0.5
SPACING = 2 * camera_lib.SCENE_RADIUS / occupancy.NUM_CELLS


def ball(params, points, spread):
  """A hard ball; what is asked of a Gaussian is what is at its middle."""
  return jnp.where(jnp.linalg.norm(points, axis=-1) < RADIUS, params, 0.0)


def everywhere(params, points, spread):
  return jnp.full(len(points), params)


def make_rays(tan_half_fov, resolution=40):
  camera = camera_lib.look_at(0.3, 0.2, 3.5, np.zeros(3), tan_half_fov)
  rays = camera_lib.camera_rays(camera, resolution, np.zeros(3, np.float32))
  return jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), rays)


def miss_of(rays):
  """Returns how far rays pass from the ball's middle."""
  origins, directions = np.asarray(rays.origins), np.asarray(rays.directions)
  along = np.sum(origins * directions, -1, keepdims=True)
  return np.linalg.norm(origins - along * directions, axis=-1)


@jax.jit
def most_opacity_of_ball(params, rays):
  grid = occupancy.make_grid(ball, params, device_mesh.local_layout(1), 500)
  return occupancy.most_opacity(grid, rays)


def test_rays_that_hit_may_be_opaque_and_rays_that_miss_are_empty():
  rays = make_rays(0.25)
  found = np.asarray(most_opacity_of_ball(50.0, rays))
  miss = miss_of(rays)
  # No proof: what only grazes the ball lies between the corners of cells.
  assert found[miss < RADIUS - SPACING].min() > 0.99
  assert found[miss < RADIUS].min() > 0.5
  assert found[miss > RADIUS + 2 * SPACING].max() == 0
  assert (miss > RADIUS + 2 * SPACING).any()


def test_what_a_ray_gathers_is_at_least_what_there_is():
  rays = make_rays(0.1)
  thin = 0.01
  found = np.asarray(most_opacity_of_ball(thin, rays))
  chord = 2 * np.sqrt(np.maximum(RADIUS**2 - miss_of(rays) ** 2, 0))
  there = -np.expm1(-thin * chord)
  inside = miss_of(rays) < RADIUS - SPACING
  # But for a sample more or less along a ray.
  assert np.all(found[inside] >= 0.9 * there[inside])
  assert found.max() < 2 * there.max()


def test_outside_of_the_scene_there_is_nothing():
  rays = make_rays(0.8)
  layout = device_mesh.local_layout(1)
  grid = occupancy.make_grid(everywhere, 50.0, layout, 4096)
  found = np.asarray(occupancy.most_opacity(grid, rays))
  miss = miss_of(rays)
  assert found[miss > camera_lib.SCENE_RADIUS + 3 * SPACING].max() == 0
  assert found[miss < camera_lib.SCENE_RADIUS - SPACING].min() > 0.99


@pytest.mark.parametrize('points_at_once', [7, 512, 10**5])
def test_a_grid_is_the_same_however_many_points_are_asked_at_once(
  points_at_once,
):
  layout = device_mesh.local_layout(1)

  def smooth(params, points, spread):
    return params * jnp.exp(-jnp.sum(points**2, -1))

  grid = jax.jit(
    lambda p: occupancy.make_grid(smooth, p, layout, points_at_once)
  )(2.0)
  assert grid.shape == (occupancy.NUM_CELLS,) * 3
  # The cells in the middle touch the middle itself, where it is largest.
  np.testing.assert_allclose(np.max(grid), 2.0, rtol=1e-6)
  assert np.min(grid) == 0
