import numpy as np
import pytest

from mmdist.data import lenses

DISTORTIONS = [
  (-0.3, 0.1, 0.0, 0.0, 0.0),
  (0.05, -0.02, 0.001, -0.002, 0.0),
  (-0.1, 0.02, 0.01, 0.02, -0.003),
]


def distort(x, y, k1, k2, p1, p2, k3):
  """OpenCV's documented model, point by point."""
  r2 = x * x + y * y
  radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
  return (
    x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2),
    y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y,
  )


def some_lens(distortion=(0.0,) * 5):
  return lenses.Lenses(
    np.array([50.0, 60.0]), np.array([21.0, 14.0]), np.array(distortion)
  )


@pytest.mark.parametrize('distortion', DISTORTIONS)
def test_undoing_distortion_inverts_opencvs_formulae(distortion):
  rng = np.random.default_rng(0)
  straight = rng.uniform(-0.6, 0.6, (200, 2))
  bent = np.array([distort(x, y, *distortion) for x, y in straight])
  answer = lenses.undistort(bent, some_lens(distortion))
  # Newton's method ends at rounding.
  np.testing.assert_allclose(answer, straight, atol=1e-12)


def test_a_pinholes_tangents_are_those_of_its_intrinsics():
  tangents = lenses.pixels_to_tangents(some_lens(), [0, 20], [3, 13])
  np.testing.assert_allclose(
    tangents, [[-20.5 / 50, 10.5 / 60], [-0.5 / 50, 0.5 / 60]]
  )


def test_distorted_pixels_show_what_opencv_projects_on_them():
  lens = some_lens(DISTORTIONS[1])
  tangents = lenses.pixels_to_tangents(lens, 33, 5)
  # OpenCV's y points down.
  x, y = distort(tangents[0], -tangents[1], *DISTORTIONS[1])
  assert (50 * x + 21, 60 * y + 14) == pytest.approx((33.5, 5.5), abs=1e-9)


def test_lenses_of_a_batch_are_each_their_own():
  batch = lenses.ideal((2, 3), 40, 30)
  batch.put((1, 2), some_lens(DISTORTIONS[0]))
  taken = batch.take((np.array([1, 0]), np.array([2, 2])))
  tangents = lenses.pixels_to_tangents(taken, np.array([4, 4]), 9)
  alone = lenses.pixels_to_tangents(some_lens(DISTORTIONS[0]), 4, 9)
  np.testing.assert_allclose(tangents[0], alone)
  np.testing.assert_allclose(tangents[1], [-15.5 / 20, 5.5 / 20])


def test_only_square_centred_pinholes_are_ideal():
  assert lenses.is_ideal(lenses.ideal((4,), 8, 8), 8, 8)
  assert not lenses.is_ideal(lenses.ideal((4,), 8, 6), 8, 6)
  for field, value in (('focal', 9.0), ('center', 4.5), ('distortion', 0.1)):
    lens = lenses.ideal((4,), 8, 8)
    getattr(lens, field)[2, 1] = value
    assert not lenses.is_ideal(lens, 8, 8)


def test_a_fold_within_the_picture_is_refused():
  # r (1 - r^2 / 2) turns back at 0.816 and never is more than 0.544; corners
  # of the first picture are at 0.48, one of the second at 0.89.
  lens = some_lens((-0.5, 0.0, 0.0, 0.0, 0.0))
  lenses.check(lens, 42, 28)
  with pytest.raises(ValueError, match=r'-0.5, 0, 0, 0, 0 folds the edge'):
    lenses.check(lens, 60, 40)


@pytest.mark.parametrize('distortion', [*DISTORTIONS, (0.0,) * 5])
def test_usual_lenses_pass(distortion):
  lenses.check(some_lens(distortion), 42, 28)
