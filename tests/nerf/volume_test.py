import jax
import numpy as np
import pytest

from mmdist.core import arrays
from mmdist.nerf import volume
from tests.core import compiling

density_to_weights = compiling.compiled(volume.density_to_weights)
expected_distance = compiling.compiled(volume.expected_distance)


def ray(direction=(0.0, 0.0, -1.0), radius=0.1):
  direction = np.float32([direction / np.linalg.norm(direction)])
  return arrays.Rays(
    origins=np.float32([[0.1, 0.2, 3.0]]),
    directions=direction,
    viewdirs=direction,
    radii=np.float32([[radius]]),
    near=np.float32([[2.0]]),
    far=np.float32([[4.0]]),
    background=np.ones((1, 3), np.float32),
  )


def test_posts_run_from_near_to_far():
  tdist = volume.sdist_to_tdist(np.float32([[0.0, 0.25, 1.0]]), ray())
  np.testing.assert_allclose(tdist, [[2.0, 2.5, 4.0]])


def test_constant_density_has_the_weights_of_beer_and_lambert():
  sigma, tdist = 1.7, np.array([[0.0, 0.1, 0.5, 1.2, 2.0]])
  weights = density_to_weights(np.full((1, 4), sigma), tdist)
  passed = np.exp(-sigma * tdist)
  np.testing.assert_allclose(weights, passed[:, :-1] - passed[:, 1:], rtol=1e-5)


def test_weights_are_those_of_a_slow_loop():
  rng = np.random.default_rng(0)
  density = rng.exponential(3.0, (5, 8))
  tdist = np.cumsum(rng.uniform(0.01, 0.3, (5, 9)), -1)
  expected = np.zeros((5, 8))
  for n in range(5):
    passed = 1.0
    for i in range(8):
      alpha = 1 - np.exp(-density[n, i] * (tdist[n, i + 1] - tdist[n, i]))
      expected[n, i] = passed * alpha
      passed *= 1 - alpha
  weights = density_to_weights(density, tdist)
  np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)
  assert np.all(weights.sum(-1) <= 1 + 1e-6)


@compiling.compiled
@jax.value_and_grad
def first_weight(density, tdist):
  return volume.density_to_weights(density, tdist)[0, 0]


@pytest.mark.parametrize('density', [0.0, 1e-9, 1e9])
def test_weights_have_finite_gradients_at_the_edges(density):
  tdist = np.linspace(2, 4, 9, dtype=np.float32)[None]
  value, gradient = first_weight(np.full((1, 8), density, np.float32), tdist)
  assert np.isfinite(value) and np.all(np.isfinite(gradient))
  assert value == pytest.approx(1.0 if density > 1 else 0.0, abs=1e-6)


def test_a_frustum_has_the_moments_of_points_drawn_inside_it():
  rng = np.random.default_rng(0)
  low, high, radius = 2.0, 3.0, 0.2
  rays = ray((0.3, -0.5, -1.0), radius)
  # Uniform inside a cone: the cross-section grows with distance squared.
  distance = rng.uniform(low**3, high**3, 400_000) ** (1 / 3)
  angle = rng.uniform(0, 2 * np.pi, distance.size)
  reach = radius * distance * np.sqrt(rng.uniform(size=distance.size))
  along = np.asarray(rays.directions[0])
  side = np.cross(along, [0.0, 1.0, 0.0])
  side /= np.linalg.norm(side)
  other = np.cross(along, side)
  points = (
    np.asarray(rays.origins[0])
    + distance[:, None] * along
    + (reach * np.cos(angle))[:, None] * side
    + (reach * np.sin(angle))[:, None] * other
  )
  axes = np.stack([along, side, [1.0, 0.0, 0.0]], 1)

  @compiling.compiled
  def moments(rays, tdist):
    gaussians = volume.cast_frustums(rays, tdist)
    return gaussians.means, gaussians.variances(np.float32(axes))

  means, variances = moments(rays, np.float32([[low, high]]))
  # 400,000 draws of spread 0.3 err by about 0.0005 in the mean.
  np.testing.assert_allclose(means[0, 0], points.mean(0), atol=2e-3)
  np.testing.assert_allclose(variances[0, 0], (points @ axes).var(0), rtol=0.01)


def test_composite_mixes_values_with_the_background_that_is_left():
  weights = np.float32([[0.25, 0.5]])
  values = np.float32([[[1.0], [0.5]]])
  mixed = volume.composite(weights, values, np.float32([[0.8]]))
  assert mixed[0, 0] == pytest.approx(0.25 + 0.25 + 0.25 * 0.8)


def test_expected_distance_is_the_surfaces_or_far():
  tdist = np.float32([[2.0, 2.5, 4.0]])
  hit = expected_distance(np.float32([[1.0, 0.0]]), tdist, ray())
  miss = expected_distance(np.zeros((1, 2), np.float32), tdist, ray())
  assert hit[0] == pytest.approx(2.25) and miss[0] == pytest.approx(4.0)
