import numpy as np

from mmdist.core import vectors


def test_directions_stay_and_lengths_are_one():
  given = np.random.default_rng(0).normal(size=(4, 5, 3))
  found = vectors.unit(given)
  np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1)
  np.testing.assert_allclose(np.cross(found, given), 0, atol=1e-12)
  assert (np.sum(found * given, -1) > 0).all()


def test_zero_stays_zero():
  np.testing.assert_array_equal(vectors.unit(np.zeros((2, 3))), 0)
