import math
import random

import pytest

from mmdist.results import curves


def test_one_number_of_several_priors_shares_a_chart():
  rows = [
    {'step': 0, 'loss': 2, 'seconds/generic': 1.0, 'seconds/normal': 3.0},
    {'step': 1, 'loss': 1, 'seconds/generic': 0.5, 'seconds/normal': 2.0},
  ]
  assert curves.group_series(rows) == {
    'loss': {'': [(0, 2), (1, 1)]},
    'seconds': {
      'generic': [(0, 1.0), (1, 0.5)],
      'normal': [(0, 3.0), (1, 2.0)],
    },
  }


def test_runs_with_the_old_names_are_drawn_under_the_new_ones():
  rows = [
    {'step': 0, 'pull/generic': 1.0, 'pull/generic/0': 3.0},
    {'step': 1, 'cotangent_norm/generic': 0.5, 'cotangent_norm/generic/0': 2.0},
  ]
  assert curves.group_series(rows) == {
    'cotangent_norm': {
      'generic': [(0, 1.0), (1, 0.5)],
      'generic/0': [(0, 3.0), (1, 2.0)],
    },
  }


def test_what_is_not_a_finite_number_is_a_gap():
  rows = [
    {'step': 0, 'loss': math.nan, 'note': 'start', 'config': {}},
    {'loss': 1.0},
    {'step': 1, 'loss': 2.0},
  ]
  assert curves.group_series(rows) == {'loss': {'': [(1, 2.0)]}}


def test_thinning_keeps_the_mean_and_the_span():
  points = [(float(i), 7.0 + (i % 2)) for i in range(2000)]
  thinned = curves.thin(points)
  assert len(thinned) == 200
  assert sum(y for _, y in thinned) / 200 == pytest.approx(7.5)
  assert thinned[0][0] < 10 and thinned[-1][0] > 1989


def rows_of(num_rows):
  rng = random.Random(0)
  rows = [{'step': s, 'loss': rng.random()} for s in range(num_rows)]
  for row in rows[::3]:
    row |= {'share/p': rng.random(), 'note': 'text', 'is_odd': True}
  rows[7]['loss'] = math.nan
  del rows[8]['step']
  return rows


def test_few_rows_stay_as_they_are():
  rows = rows_of(curves.MAX_ROWS)
  assert curves.thin_rows(rows) is rows


def test_many_rows_are_means_of_their_neighbours():
  rows = rows_of(3 * curves.MAX_ROWS)
  thinned = curves.thin_rows(rows)
  assert len(thinned) == curves.MAX_ROWS
  kept = [row for row in rows if 'step' in row]
  for index, row in enumerate(thinned):
    some = kept[3 * index : 3 * index + 3]
    expected = {}
    for name in ('step', 'loss', 'share/p'):
      values = [r[name] for r in some if math.isfinite(r.get(name, math.nan))]
      if values:
        expected[name] = pytest.approx(sum(values) / len(values))
    assert row == expected


def test_a_long_run_has_the_curves_of_all_its_steps():
  rows = [{'step': s, 'loss': s % 10, 'gap': None} for s in range(50_000)]
  grouped = curves.group_series(curves.thin_rows(rows))
  assert grouped.keys() == {'loss'}
  points = grouped['loss']['']
  assert len(points) == curves.MAX_ROWS
  assert points[0][0] == 12 and points[-1][0] == 50_000 - 13
  assert all(3 < value < 6 for _, value in points)


def test_smoothing_averages_noise_away():
  points = [(step, 7.0 + (-1) ** step) for step in range(300)]
  middle = curves.smooth(points)[30:-30]
  # A window of 21 steps has one step more of one sign than of the other.
  assert max(abs(value - 7) for _, value in middle) == pytest.approx(1 / 21)


def test_smoothing_leaves_a_straight_line_as_it_is():
  points = [(step, 3.0 - 0.5 * step) for step in range(200)]
  for (step, value), (_, expected) in zip(curves.smooth(points), points):
    assert value == pytest.approx(expected, abs=1e-9), step


def test_a_slow_mean_is_what_smoothing_gives():
  rng = random.Random(0)
  points = [(step, rng.random()) for step in range(150)]
  smoothed = curves.smooth(points)
  for index in (0, 2, 75, 149):
    reach = min(5, index, 149 - index)
    window = [v for _, v in points[index - reach : index + reach + 1]]
    assert smoothed[index] == (
      index,
      pytest.approx(sum(window) / len(window), abs=1e-12),
    )


def test_a_short_curve_is_not_smoothed():
  points = [(0, 1.0), (1, 5.0), (2, 2.0)]
  assert curves.smooth(points) == points
