import itertools

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


# Any size of float32 that leaves room for sums of products.
_SIZES = st.sampled_from([1e-36, 1e-24, 1e-23, 1e-12, 1.0, 1e12, 2e19, 1e30])
_WEIGHTS = st.sampled_from([-2.0, -1.0, -0.25, 0.0, 0.5, 1.0, 3.0])


@st.composite
def compositions(draw, most=4):
  """Draws [M, 2, 12] residuals, of which some views are zero, and weights."""
  count = draw(st.integers(1, most))
  residuals = residuals_of(count, seed=draw(st.integers(0, 1000)))
  residuals = residuals.reshape(count, 2, -1)[..., :12].copy()
  for concept, view in itertools.product(range(count), range(2)):
    if draw(st.booleans()) and draw(st.booleans()):
      residuals[concept, view] = 0
  return residuals, [draw(_WEIGHTS) for _ in range(count)]


def by_hand(residuals, weights, mode):
  """Composes [M, V, N] in float64, view by view, as docs/method.md says."""
  composed = np.zeros(residuals.shape[1:])
  for view in range(residuals.shape[1]):
    rows = residuals[:, view].astype(np.float64)
    pairs = list(zip(rows, weights, strict=True))
    wanted = sum((w * x for x, w in pairs if w > 0), np.zeros(rows.shape[1]))
    for row, weight in pairs:
      if mode == 'renorm' and row.any():
        row = row / np.sqrt(np.mean(row**2))
      if mode == 'perp' and weight < 0 and wanted.any():
        row = row - wanted * (row @ wanted) / (wanted @ wanted)
      composed[view] += weight * row
  return composed


def assert_close(found, expected, size=1.0):
  """Compares up to some tens of roundings of float32 where terms cancel."""
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-5 * size)


_anywhere = hypothesis.settings(deadline=None)  # Machines may be busy.


@_anywhere
@hypothesis.given(compositions(), st.sampled_from(composition.MODES))
def test_every_mode_is_what_its_formula_says(drawn, mode):
  residuals, weights = drawn
  assert_close(
    compose(residuals, weights, mode), by_hand(residuals, weights, mode)
  )


@_anywhere
@hypothesis.given(compositions())
def test_perp_leaves_negatives_orthogonal_to_the_positives(drawn):
  residuals, weights = drawn
  parts = composition.transform(residuals, weights, 'perp')
  wanted = compose(
    residuals, [max(weight, 0.0) for weight in weights], 'perp'
  ).astype(np.float64)
  for part, weight in zip(parts, weights, strict=True):
    if weight < 0:
      inner = np.sum(part * wanted, -1)
      # Relative to lengths of about 3.5 each, in float32.
      np.testing.assert_allclose(inner, 0, atol=3e-5 * (1 + abs(wanted).max()))


@_anywhere
@hypothesis.given(compositions(), _SIZES)
def test_sum_and_perp_grow_with_their_residuals_at_any_size(drawn, size):
  residuals, weights = drawn
  for mode in ('sum', 'perp'):
    assert_close(
      compose(residuals * np.float32(size), weights, mode) / np.float32(size),
      compose(residuals, weights, mode),
    )


@_anywhere
@hypothesis.given(compositions(), _SIZES)
def test_renorm_does_not_see_the_size_of_any_concept(drawn, size):
  residuals, weights = drawn
  louder = residuals.copy()
  louder[0] *= np.float32(size)
  assert_close(
    compose(louder, weights, 'renorm'), compose(residuals, weights, 'renorm')
  )


@pytest.mark.parametrize('mode', ['perp', 'renorm'])
@pytest.mark.parametrize('exponent', [-100, -80, -20, 7, 62, 100])
def test_a_power_of_two_changes_no_bit_of_a_direction(mode, exponent):
  # So that runs which began before squares were kept in range go on as they
  # were.
  residuals, weights = residuals_of(3), (1.0, 0.5, -0.7)
  scale = np.float32(2.0**exponent)
  expected = compose(residuals, weights, mode)
  if mode == 'perp':
    expected = expected * scale
  np.testing.assert_array_equal(
    compose(residuals * scale, weights, mode), expected
  )


@pytest.mark.parametrize('library', [np.asarray, torch.from_numpy])
@pytest.mark.parametrize('size', [1e-45, 1e-30, 1e-23, 2e19, 1e30, 3.4e38])
def test_a_residual_of_any_size_is_normalised(library, size):
  residual = np.full((1, 2, 3, 4), size, np.float32)
  residual[:, :, 0] *= -1
  composed = np.asarray(compose(library(residual), (2.0,), 'renorm'))
  np.testing.assert_allclose(composed, 2 * np.sign(residual[0]), rtol=1e-6)


@pytest.mark.parametrize('library', [np.asarray, torch.from_numpy])
@pytest.mark.parametrize('mode', ['perp', 'renorm'])
@pytest.mark.parametrize('broken', [np.nan, np.inf])
def test_what_is_not_finite_stays_so(library, mode, broken):
  residuals = residuals_of(2)
  residuals[0, 1, 0, 0, 0] = broken
  with np.errstate(invalid='ignore'):
    composed = np.asarray(compose(library(residuals), (1.0, -0.5), mode))
  assert np.isfinite(composed[0]).all() and not np.isfinite(composed[1]).all()


@_anywhere
@hypothesis.given(compositions(), st.sampled_from(['sum', 'perp']))
def test_a_concept_asked_twice_is_one_with_the_sum_of_its_weights(drawn, mode):
  residuals, weights = drawn
  hypothesis.assume(weights[0] > 0)
  twice = np.concatenate([residuals[:1], residuals])
  halves = [0.25 * weights[0], 0.75 * weights[0], *weights[1:]]
  assert_close(compose(twice, halves, mode), compose(residuals, weights, mode))


@_anywhere
@hypothesis.given(compositions(most=1), st.sampled_from(composition.MODES))
def test_one_concept_is_its_residual_and_in_renorm_its_direction(drawn, mode):
  residuals, weights = drawn
  composed = compose(residuals, weights, mode)
  if mode != 'renorm':
    np.testing.assert_array_equal(composed, weights[0] * residuals[0])
    return
  rms = np.sqrt(np.mean(np.square(composed), -1))
  expected = abs(weights[0]) * residuals[0].any(-1)
  np.testing.assert_allclose(rms, expected, rtol=1e-5)


@_anywhere
@hypothesis.given(compositions(), st.sampled_from(composition.MODES))
def test_zeros_add_nothing(drawn, mode):
  residuals, weights = drawn
  silent = np.concatenate([residuals, np.zeros_like(residuals[:1])])
  for weight in (-1.0, 1.0):
    assert_close(
      compose(silent, [*weights, weight], mode),
      compose(residuals, weights, mode),
    )


@_anywhere
@hypothesis.given(
  compositions(), st.sampled_from(composition.MODES), st.randoms()
)
def test_the_order_of_concepts_is_but_rounding(drawn, mode, random):
  residuals, weights = drawn
  order = list(range(len(weights)))
  random.shuffle(order)
  assert_close(
    compose(residuals[order], [weights[i] for i in order], mode),
    compose(residuals, weights, mode),
  )
