import hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest
import torch

from mmdist.core import composition


def compose(residuals, weights, mode='sum'):
  parts = composition.transform(residuals, weights, mode)
  return composition.add(parts, weights, mode)


def residuals_of(num_concepts, seed=0):
  rng = np.random.default_rng(seed)
  return rng.standard_normal((num_concepts, 2, 3, 4, 4)).astype(np.float32)


# Doubling is exact only where no product falls below the normal numbers.
_NUMBERS = st.floats(-4, 4, width=32).filter(lambda x: not 0 < abs(x) < 1e-6)


@hypothesis.settings(deadline=None)  # Machines may be busy.
@hypothesis.given(
  hnp.arrays(np.float32, (2, 2, 3), elements=_NUMBERS), _NUMBERS
)
def test_doubling_every_weight_doubles_the_sum(residuals, weight):
  for mode in composition.MODES:
    once = compose(residuals, (1.0, weight), mode)
    twice = compose(residuals, (2.0, 2 * weight), mode)
    np.testing.assert_array_equal(twice, 2 * once)


def test_the_sum_equals_a_slow_loop():
  residuals, weights = residuals_of(3), (1.0, -0.5, 2.0)
  expected = np.zeros(residuals.shape[1:], np.float32)
  for concept in range(3):
    expected += np.float32(weights[concept]) * residuals[concept]
  np.testing.assert_array_equal(compose(residuals, weights), expected)


def test_perp_leaves_the_positives_what_they_had():
  residuals, weights = residuals_of(3), (1.0, 0.5, -3.0)
  wanted = residuals[0] + 0.5 * residuals[1]
  composed = compose(residuals, weights, 'perp')
  for view in range(2):
    # Float32 sums of 48 products.
    np.testing.assert_allclose(
      np.vdot(composed[view], wanted[view]),
      np.vdot(wanted[view], wanted[view]),
      rtol=1e-5,
    )
  assert np.abs(composed - wanted).max() > 0.1


def test_perp_is_the_sum_where_nothing_is_wanted():
  residuals = residuals_of(2)
  np.testing.assert_array_equal(
    compose(residuals, (-1.0, -0.5), 'perp'),
    compose(residuals, (-1.0, -0.5), 'sum'),
  )
  residuals[0] = 0  # A positive residual of zero has no direction.
  np.testing.assert_array_equal(
    compose(residuals, (1.0, -0.5), 'perp'), -0.5 * residuals[1]
  )


def test_renorm_ignores_the_size_of_a_residual():
  residuals = residuals_of(2)
  louder = (
    residuals * np.array([100, 0.01], np.float32)[:, None, None, None, None]
  )
  np.testing.assert_allclose(
    compose(louder, (1.0, -0.5), 'renorm'),
    compose(residuals, (1.0, -0.5), 'renorm'),
    rtol=1e-4,  # Two roundings of float32 where terms cancel.
    atol=1e-6,
  )
  one = compose(residuals[:1], (2.0,), 'renorm')
  rms = np.sqrt(np.mean(np.square(one), axis=(1, 2, 3)))
  np.testing.assert_allclose(rms, 2.0, rtol=1e-5)


def test_renorm_keeps_silence_silent():
  composed = compose(np.zeros((1, 2, 3)), (1.0,), 'renorm')
  np.testing.assert_array_equal(composed, np.zeros((2, 3)))


@pytest.mark.parametrize('mode', composition.MODES)
def test_a_view_does_not_notice_the_others(mode):
  residuals, weights = residuals_of(3), (1.0, 0.5, -0.7)
  together = compose(residuals, weights, mode)
  alone = compose(residuals[:, 1:], weights, mode)
  np.testing.assert_array_equal(together[1:], alone)


@pytest.mark.parametrize('mode', composition.MODES)
def test_torch_and_numpy_agree(mode):
  residuals, weights = residuals_of(3), (1.0, 0.5, -0.7)
  composed = compose(torch.from_numpy(residuals), weights, mode)
  # The two libraries add in different orders.
  np.testing.assert_allclose(
    composed.numpy(), compose(residuals, weights, mode), atol=1e-5
  )


def test_nonsense_is_one_line():
  with pytest.raises(ValueError, match="mode is 'max'; expected one of: sum"):
    compose(residuals_of(1), (1.0,), 'max')
  with pytest.raises(ValueError, match='2 residuals came with 1 weights'):
    compose(residuals_of(2), (1.0,))


@pytest.mark.parametrize('mode', composition.MODES)
def test_the_parts_of_a_mode_add_up_to_its_sum_bit_for_bit(mode):
  for weights in ((1.0, -0.5, 2.0), (-1.0, -0.5, -2.0), (0.0, 1.0, -1.0)):
    residuals = residuals_of(3)
    parts = composition.transform(residuals, weights, mode)
    np.testing.assert_array_equal(
      composition.add(parts, weights, mode),
      compose(residuals, weights, mode),
    )


def test_perp_changes_negatives_alone():
  residuals = residuals_of(3)
  parts = composition.transform(residuals, (1.0, -0.5, 2.0), 'perp')
  np.testing.assert_array_equal(parts[0], residuals[0])
  np.testing.assert_array_equal(parts[2], residuals[2])
  wanted = residuals[0] + 2 * residuals[2]
  for view in range(2):
    assert abs(np.vdot(parts[1][view], wanted[view])) < 1e-4
