"""What is taken for a number."""

import pytest

from mmdist.core import plain_numbers


@pytest.mark.parametrize('value', [0, -3, 0.5, 10**300])
def test_numbers(value):
  assert plain_numbers.is_finite(value)


@pytest.mark.parametrize(
  'value', [True, None, '1', [1], float('nan'), float('inf'), 10**400]
)
def test_what_is_no_number(value):
  assert not plain_numbers.is_finite(value)
