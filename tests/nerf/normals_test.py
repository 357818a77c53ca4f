import functools

import jax
import jax.numpy as jnp
import numpy as np

from mmdist.nerf import normals
from tests.core import compiling


def soft_ball(means):
  """Density that falls off around the origin; its normals point outward."""
  return 30 * (1 - jnp.sum(means**2, -1)), {'kept': means}


def some_points():
  rng = np.random.default_rng(0)
  return np.float32(rng.normal(0, 0.5, (4, 6, 3)))


normals_of_ball = compiling.compiled(
  functools.partial(normals.density_normals, soft_ball)
)


def test_normals_of_a_ball_point_outward():
  points = some_points()
  raw, auxiliary, answer = normals_of_ball(points)
  outward = points / np.linalg.norm(points, axis=-1, keepdims=True)
  # The smoothing takes off 1e-4 / (2 |gradient|^2), gradients being over 10.
  np.testing.assert_allclose(answer, outward, atol=1e-4)
  np.testing.assert_allclose(raw, compiling.compiled(soft_ball)(points)[0])
  np.testing.assert_array_equal(auxiliary['kept'], points)


def test_normals_of_any_field_are_those_of_finite_differences():
  matrix = np.random.default_rng(1).standard_normal((3, 8), np.float32)

  def field(means):
    return 10 * jnp.sum(jnp.sin(means @ matrix), -1), None

  points = some_points()
  _, _, answer = compiling.compiled(
    functools.partial(normals.density_normals, field)
  )(points)
  density = compiling.compiled(lambda means: field(means)[0])
  step = 1e-2
  differences = np.stack(
    [
      density(points + step * axis) - density(points - step * axis)
      for axis in np.eye(3, dtype=np.float32)
    ],
    -1,
  )
  length = np.linalg.norm(differences, axis=-1, keepdims=True)
  # Central differences err by step^2 times third derivatives of about 10.
  np.testing.assert_allclose(answer, -differences / length, atol=0.01)


def test_one_sample_does_not_change_anothers_normal():
  points = some_points()
  moved = points.copy()
  moved[0, 0] += 0.3
  _, _, first = normals_of_ball(points)
  _, _, second = normals_of_ball(moved)
  np.testing.assert_array_equal(first[0, 1:], second[0, 1:])


def test_without_a_gradient_the_normal_is_zero_with_finite_derivatives():
  def shade(points):
    return jnp.sum(normals.density_normals(soft_ball, points)[2] ** 3)

  origin = np.zeros((1, 1, 3), np.float32)
  value, gradient = compiling.compiled(jax.value_and_grad(shade))(origin)
  assert value == 0 and np.all(np.isfinite(gradient))
  hessian = compiling.compiled(jax.hessian(shade))(origin)
  assert np.all(np.isfinite(hessian))


def test_colours_put_zero_at_mid_grey():
  np.testing.assert_allclose(
    normals.color_normals(np.array([-1.0, 0.0, 1.0])),
    [0.0, normals.MID_GREY, 1.0],
  )
