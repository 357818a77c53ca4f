import jax.numpy as jnp
import numpy as np

from mmdist.heads.clay import sdf


def points_around(count=4000, seed=0):
  rng = np.random.default_rng(seed)
  return rng.uniform(-1.2, 1.2, (count, 3)).astype(np.float32)


def test_smooth_min_is_at_most_the_minimum_and_the_minimum_far_away():
  a, b = points_around()[:, 0], points_around()[:, 1]
  blended = np.asarray(sdf.smooth_min(a, b, 0.2))
  least = np.minimum(a, b)
  assert (blended <= least + 1e-6).all()
  assert (blended >= least - 0.05 - 1e-6).all()  # k / 4, where a = b.
  far = np.abs(a - b) > 0.2
  np.testing.assert_array_equal(blended[far], least[far])


def test_smooth_max_mirrors_smooth_min():
  np.testing.assert_allclose(sdf.smooth_max(0.3, 0.3, 0.2), 0.35)
  np.testing.assert_allclose(sdf.smooth_min(0.3, 0.3, 0.2), 0.25)


def test_a_round_ellipsoid_is_a_sphere():
  x, y, z = points_around().T
  np.testing.assert_allclose(
    sdf.ellipsoid(x, y, z, 0.5, 0.5, 0.5),
    sdf.sphere(x, y, z, 0.5),
    atol=1e-4,  # The guards against division by zero at the origin.
  )


def test_an_ellipsoids_surface_has_distance_zero():
  unit = points_around()
  unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
  surface = (unit * np.array([0.3, 0.5, 0.8])).T
  d = sdf.ellipsoid(*surface, 0.3, 0.5, 0.8)
  np.testing.assert_allclose(d, 0.0, atol=1e-5)


def test_a_round_cone_is_the_nearest_of_many_spheres():
  points, start, end = points_around(200), (0.1, 0.0, 0.2), (-0.3, 0.6, 0.0)
  d = sdf.round_cone(*points.T, start, end, 0.1, 0.1)
  ends = np.asarray(start), np.asarray(end)
  h = np.linspace(0, 1, 2001)[:, None]
  middles = ends[0] + h * (ends[1] - ends[0])
  slow = np.linalg.norm(points[:, None] - middles, axis=-1).min(-1) - 0.1
  np.testing.assert_allclose(d, slow, atol=1e-4)  # Steps of 0.0004 along it.


def test_a_disc_is_a_cylinder_with_edges_rounded_off():
  d = sdf.disc(
    jnp.array([0.0, 0.9, 0.0, 0.5]),
    jnp.array([0.5, 0.0, 0.0, 0.1]),
    jnp.zeros(4),
    0.5,
    0.1,
  )
  np.testing.assert_allclose(d[:3], [0.4, 0.4, -0.1], atol=1e-4)
  # The sharp edge itself lies outside by (sqrt(2) - 1) roundings.
  np.testing.assert_allclose(d[3], 0.012 * (np.sqrt(2) - 1), atol=1e-4)
