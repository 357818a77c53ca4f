import jax
import numpy as np
import pytest

from mmdist.nerf import encoding
from tests.core import compiling

ICOSAHEDRON = encoding.projection_axes(True)

encode_gaussians = compiling.compiled(
  encoding.encode_gaussians, static_argnums=3
)
encode_viewdirs = compiling.compiled(encoding.encode_viewdirs, static_argnums=1)


def test_icosahedron_axes_are_unit_and_equally_far_from_each_other():
  cosines = np.abs(ICOSAHEDRON.T @ ICOSAHEDRON)
  np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-6)
  others = cosines[~np.eye(6, dtype=bool)]
  np.testing.assert_allclose(others, 1 / np.sqrt(5), atol=1e-6)


def test_a_divided_icosahedron_has_21_axes_around_the_six():
  axes = encoding.projection_axes(True, 2)
  assert axes.shape == (3, 21)
  np.testing.assert_array_equal(axes[:, :6], ICOSAHEDRON)
  np.testing.assert_allclose(np.linalg.norm(axes, axis=0), 1, atol=1e-6)
  cosines = np.abs(axes.T @ axes) - 2 * np.eye(21)
  # A vertex is 31.7 degrees from the middle of its edge, and middles of
  # neighbouring edges are 36 degrees apart.
  np.testing.assert_allclose(
    np.degrees(np.arccos(cosines[:6].max(1))), 31.717, atol=1e-3
  )
  np.testing.assert_allclose(
    np.degrees(np.arccos(cosines[6:, 6:].max(1))), 36, atol=1e-3
  )
  with pytest.raises(ValueError, match='nerf.icosahedron_subdivisions'):
    encoding.projection_axes(True, 3)


def test_the_papers_axes_are_x_y_and_z():
  np.testing.assert_array_equal(encoding.projection_axes(False), np.eye(3))


@pytest.mark.parametrize('icosahedron', [True, False])
def test_encoding_is_the_mean_over_a_gaussian_cloud(icosahedron):
  rng = np.random.default_rng(0)
  axes, levels = encoding.projection_axes(icosahedron), 3
  mean = np.array([0.3, -0.2, 0.5])
  root = rng.normal(0, 0.1, (3, 3))
  cloud = mean + rng.standard_normal((200_000, 3)) @ root.T
  variances = np.einsum('ia,ij,ja->a', axes, root @ root.T, axes)
  encoded = encode_gaussians(mean, variances, axes, levels)
  scales = encoding.BASE_FREQUENCY * 2.0 ** np.arange(levels)
  phases = (cloud @ axes)[:, None] * scales[:, None]
  waves = np.stack([np.sin(phases), np.cos(phases)], 2).mean(0)
  expected = np.concatenate([mean, waves.ravel()])
  # A mean of 200,000 draws of size 1 errs by about 0.002.
  np.testing.assert_allclose(encoded, expected, atol=0.01)


def test_twelve_levels_by_double_angles_are_the_sines_and_cosines():
  means = np.random.default_rng(0).uniform(-1.4, 1.4, (50, 3))
  encoded = encode_gaussians(
    np.float32(means), np.zeros((50, 3)), np.eye(3), 12
  )
  scales = encoding.BASE_FREQUENCY * 2.0 ** np.arange(12)
  phases = np.float32(means).astype(np.float64)[:, None] * scales[:, None]
  waves = np.stack([np.sin(phases), np.cos(phases)], 2).reshape(50, -1)
  # float32 rounds the highest phase, about 4,500, by up to 2e-4; doubling the
  # angle eleven times loses as many bits.
  np.testing.assert_allclose(encoded[:, 3:], waves, atol=3e-3)


def test_wide_gaussians_fade_from_high_frequencies_first():
  encoded = encode_gaussians(np.zeros(3), np.full(6, 0.1), ICOSAHEDRON, 4)
  cosines = encoded[3:].reshape(4, 2, 6)[:, 1, 0]
  assert np.all(np.diff(cosines) < 0) and cosines[-1] < 1e-3


def test_the_encoding_of_a_huge_gaussian_has_finite_derivatives():
  def total(means, variances):
    return encoding.encode_gaussians(means, variances, ICOSAHEDRON, 5).sum()

  gradients = compiling.compiled(jax.grad(total, (0, 1)))(
    np.ones(3, np.float32), np.full(6, 1e6, np.float32)
  )
  assert all(np.all(np.isfinite(g)) for g in gradients)


def test_view_directions_are_encoded_with_doubling_frequencies():
  direction = np.float32([[0.6, 0.0, -0.8]])
  encoded = encode_viewdirs(direction, 4)[0]
  phases = np.outer([1, 2, 4, 8], direction[0]).ravel()
  expected = np.concatenate([direction[0], np.sin(phases), np.cos(phases)])
  np.testing.assert_allclose(encoded, expected, atol=1e-6)
