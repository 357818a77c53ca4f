"""A weight in the course of a run: its values, its spelling, its mistakes."""

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from mmdist.core import errors
from mmdist.objectives import schedules

NUMBERS = st.floats(-100, 100, allow_nan=False)
SHARES = st.floats(0, 1, allow_nan=False)


@st.composite
def texts(draw):
  """Draws a schedule as a person could write it, with its points."""
  kind = draw(st.sampled_from(schedules.KINDS[1:]))
  if kind == 'piecewise':
    shares = sorted(draw(st.sets(SHARES, min_size=1, max_size=5)))
    points = [(share, draw(NUMBERS)) for share in shares]
    inner = ', '.join(f'{s!r}: {f!r}' for s, f in points)
  else:
    points = [(0.0, draw(NUMBERS)), (1.0, draw(NUMBERS))]
    inner = ', '.join(repr(f) for _, f in points)
  return f'{kind}({inner})', points


def test_without_a_schedule_the_factor_is_one_all_the_time():
  for text in ('', ' ', 'constant', 'linear(1, 1)'):
    assert schedules.canonical(text) == ''
    assert [schedules.parse(text).factor(p) for p in (0, 0.3, 1)] == [1, 1, 1]


@given(texts(), SHARES)
def test_a_factor_lies_between_those_of_its_neighbours(drawn, progress):
  text, points = drawn
  factor = schedules.parse(text).factor(progress)
  before = [p for p in points if p[0] <= progress] or points[:1]
  after = [p for p in points if p[0] >= progress] or points[-1:]
  low, high = sorted((before[-1][1], after[0][1]))
  assert low - 1e-9 <= factor <= high + 1e-9


@given(texts())
def test_a_schedule_goes_through_its_points(drawn):
  text, points = drawn
  schedule = schedules.parse(text)
  for share, factor in points:
    assert schedule.factor(share) == factor


@given(texts())
def test_the_canonical_spelling_is_read_as_the_same(drawn):
  text, _ = drawn
  once = schedules.canonical(text)
  assert schedules.canonical(once) == once
  for progress in (0, 0.123, 0.5, 1):
    expected = schedules.parse(text).factor(progress)
    assert schedules.parse(once).factor(progress) == expected


def test_values_are_those_of_the_formulas():
  assert schedules.parse('linear(1, 3)').factor(0.25) == 1.5
  cosine = schedules.parse('cosine(1, 0)')
  for progress in (0.1, 0.5, 0.9):
    expected = 0.5 + 0.5 * math.cos(math.pi * progress)
    assert cosine.factor(progress) == pytest.approx(expected)
  held = schedules.parse('piecewise(0.2: 1, 0.4: 3)')
  values = [held.factor(p) for p in (0, 0.2, 0.3, 0.4, 1)]
  assert values == pytest.approx([1, 1, 2, 3, 3])


def test_progress_runs_from_the_first_step_to_the_last():
  assert [schedules.progress_at(s, 5) for s in range(5)] == [
    0,
    0.25,
    0.5,
    0.75,
    1,
  ]
  assert schedules.progress_at(0, 1) == 0


@pytest.mark.parametrize(
  'text, words',
  [
    ('sine(0, 1)', "schedule 'sine(0, 1)' is unknown; expected constant,"),
    ('linear', 'is unknown'),
    ('linear(1)', 'is not complete'),
    ('linear(1, 2, 3)', 'is not complete'),
    ('cosine(1, x)', "has 'x'; expected a number"),
    ('linear(1, nan)', "has 'nan'; expected a number"),
    ('piecewise(0.5)', 'is not complete'),
    ('piecewise(0: 1, 0: 2)', 'expected increasing shares'),
    ('piecewise(0.5: 1, 0.2: 2)', 'expected increasing shares'),
    ('piecewise(0: 1, 1.5: 2)', 'expected increasing shares'),
    ('piecewise()', 'is not complete'),
    ('linear(1, 0', 'is unknown'),
  ],
)
def test_a_mistake_is_said_in_one_line(text, words):
  with pytest.raises(errors.UserError) as error:
    schedules.parse(text)
  assert words in str(error.value) and '\n' not in str(error.value)


@given(st.lists(texts(), min_size=1, max_size=4))
def test_a_sum_is_nowhere_lower_than_at_the_moments_looked_at(drawn):
  parsed = [schedules.parse(text) for text, _ in drawn]

  def total(progress):
    return sum(schedule.factor(progress) for schedule in parsed)

  looked = min(map(total, schedules.moments([text for text, _ in drawn])))
  # Between two of a hundred even shares a cosine bends by (pi / 200)^2 / 4 of
  # its height, at most.
  slack = sum(1e-4 * 200 for s in parsed if s.kind == 'cosine')
  assert all(total(i / 997) >= looked - slack - 1e-6 for i in range(998))
