import numpy as np
import pytest

from mmdist.heads.people import rays


@pytest.fixture
def triangles():
  rng = np.random.default_rng(0)
  vertices = rng.normal(size=(60, 3)).astype(np.float32)
  return vertices, np.arange(60).reshape(20, 3)


def slow_hit(vertices, triangles, origin, direction):
  """Returns (triangle, distance, weights) by solving for each triangle."""
  best = (-1, np.inf, None)
  for k, (a, b, c) in enumerate(vertices[triangles].astype(float)):
    u, v, t = np.linalg.solve(
      np.stack([b - a, c - a, -direction.astype(float)], 1), origin - a
    )
    if u >= 0 and v >= 0 and u + v <= 1 and 1e-4 < t < best[1]:
      best = (k, t, (u, v))
  return best


# Not a multiple of a packet's 16 rays.
@pytest.mark.parametrize('count', [1, 16, 37])
def test_rays_hit_what_a_slow_loop_finds(triangles, count):
  rng = np.random.default_rng(count)
  origins = rng.normal(size=(count, 3)).astype(np.float32) * 3
  directions = (-origins + rng.normal(size=(count, 3))).astype(np.float32)
  scene = rays.Scene(*triangles)
  hit, far, weights = scene.intersect(origins, directions)
  for i in range(count):
    k, t, uv = slow_hit(*triangles, origins[i], directions[i])
    assert hit[i] == k
    if k >= 0:
      np.testing.assert_allclose(far[i], t, rtol=1e-4)
      np.testing.assert_allclose(weights[i], uv, atol=1e-4)
  expected = [
    slow_hit(*triangles, *ray)[1] < 0.9 for ray in zip(origins, directions)
  ]
  assert list(scene.is_occluded(origins, directions, 0.9)) == expected


def test_one_origin_serves_all_rays(triangles):
  scene = rays.Scene(*triangles)
  directions = np.random.default_rng(1).normal(size=(20, 3))
  origin = np.array([0.1, 0.2, 0.3])
  one = scene.intersect(origin, directions)
  each = scene.intersect(np.tile(origin, (20, 1)), directions)
  for a, b in zip(one, each, strict=True):
    np.testing.assert_array_equal(a, b)


def test_scenes_keep_their_triangles_alive():
  vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
  scene = rays.Scene(vertices.copy(), np.array([[0, 1, 2]]))
  others = np.random.default_rng(0).normal(size=(300, 3))
  for _ in range(50):
    rays.Scene(others, np.arange(300).reshape(-1, 3))
  origin, direction = np.array([0.2, 0.2, 1]), np.array([[0, 0, -2.0]])
  hit, far, _ = scene.intersect(origin, direction)
  assert hit[0] == 0 and far[0] == pytest.approx(0.5)
