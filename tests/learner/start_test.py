"""The start code: the mean, a subject's, or drawn like the subjects'."""

import numpy as np
import pytest

from mmdist.learner import start

CODES = np.random.default_rng(0).normal(2.0, 0.5, (400, 3)).astype(np.float32)


def code_of(name: str, seed: int = 0):
  return start.choose_code(CODES, name, seed)


def test_the_mean_is_of_all_subjects():
  # A float32 mean of 400 numbers.
  np.testing.assert_allclose(code_of('mean'), CODES.mean(0), rtol=1e-6)


def test_a_number_is_a_subject():
  np.testing.assert_array_equal(code_of('17'), CODES[17])


def test_random_follows_from_the_seed():
  np.testing.assert_array_equal(code_of('random', 3), code_of('random', 3))
  assert not np.array_equal(code_of('random', 3), code_of('random', 4))


def test_random_is_spread_as_the_subjects_are():
  draws = np.stack([code_of('random', seed) for seed in range(300)])
  # Five standard errors of 300 draws with deviation 0.5.
  np.testing.assert_allclose(draws.mean(0), CODES.mean(0), atol=0.15)
  np.testing.assert_allclose(draws.std(0), CODES.std(0), atol=0.11)


@pytest.mark.parametrize('name', ['400', '-1', 'median', '1.5', ''])
def test_what_is_no_subject_is_refused(name):
  with pytest.raises(ValueError, match='a subject from 0 to 399'):
    code_of(name)
