import json
import math
import xml.etree.ElementTree as ElementTree

import pytest

from mmdist.results import curves


def write_lines(path, *lines):
  path.write_text('\n'.join(lines) + '\n')
  return path


def test_metrics_are_read_line_by_line(tmp_path):
  rows = [{'step': 0, 'loss': 1.0}, {'step': 1, 'loss': 0.5}]
  path = write_lines(tmp_path / 'm.jsonl', *map(json.dumps, rows))
  assert curves.read_metrics(path) == rows


def test_the_torn_last_line_of_a_killed_run_is_left_out(tmp_path):
  path = write_lines(tmp_path / 'm.jsonl', '{"step": 0}', '{"step": 1, "lo')
  assert curves.read_metrics(path) == [{'step': 0}]


def test_a_damaged_line_is_named(tmp_path):
  path = write_lines(tmp_path / 'm.jsonl', '{"step": 0}', 'nonsense', '{}')
  with pytest.raises(ValueError, match='m.jsonl line 2 is not JSON'):
    curves.read_metrics(path)


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


def polyline_points(svg):
  """Returns the (x, y) of every polyline of an SVG text."""
  lines = [e for e in ElementTree.fromstring(svg) if e.tag == 'polyline']
  return [
    [tuple(map(float, pair.split(','))) for pair in line.get('points').split()]
    for line in lines
  ]


def test_a_rising_curve_rises_inside_the_frame():
  svg = curves.draw_chart('loss', {'': [(0, 1.0), (5, 2.0), (10, 4.0)]})
  ((first, middle, last),) = polyline_points(svg)
  assert 0 < first[0] < middle[0] < last[0] < 360
  assert 170 > first[1] > middle[1] > last[1] > 0  # SVG's y points down.


def test_a_chart_has_a_curve_and_a_legend_entry_per_prior():
  svg = curves.draw_chart('seconds', {'a': [(0, 1)], 'b': [(0, 2), (1, 3)]})
  texts = [e.text for e in ElementTree.fromstring(svg) if e.tag == 'text']
  assert len(polyline_points(svg)) == 2
  assert {'seconds', 'a', 'b'} <= set(texts)


def test_the_axis_ends_at_the_last_step_of_a_long_run():
  svg = curves.draw_chart('loss', {'': [(i, float(i)) for i in range(1001)]})
  assert '>step 1000</text>' in svg


def test_a_constant_curve_is_drawn_too():
  svg = curves.draw_chart('loss', {'': [(0, 0.0), (1, 0.0)]})
  ((first, last),) = polyline_points(svg)
  assert first[1] == last[1]


def test_names_are_escaped():
  svg = curves.draw_chart('<b>', {'<script>': [(0, 1)]})
  assert '<script>' not in svg and '<b>' not in svg
  ElementTree.fromstring(svg)  # Well-formed.
