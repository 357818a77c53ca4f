import itertools
import xml.etree.ElementTree as ElementTree

import pytest

from mmdist.results import charts


def elements(svg, tag):
  return [e for e in ElementTree.fromstring(svg).iter() if e.tag == tag]


def polyline_points(svg, kind='smooth'):
  """Returns the (x, y) of every polyline of a kind."""
  return [
    [tuple(map(float, pair.split(','))) for pair in line.get('points').split()]
    for line in elements(svg, 'polyline')
    if line.get('class') == kind
  ]


def texts(svg):
  return [e.text for e in elements(svg, 'text')]


@pytest.mark.parametrize(
  'low, high, expected',
  [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    (0.31, 0.48, [0.3, 0.35, 0.4, 0.45, 0.5]),
    (-3, 12, [-5, 0, 5, 10, 15]),
    (0, 0.00012, [0, 5e-05, 0.0001, 0.00015]),
    (7.0, 7.001, [7, 7.0002, 7.0004, 7.0006, 7.0008, 7.001]),
  ],
)
def test_ticks_are_round_and_reach_past_both_ends(low, high, expected):
  assert charts.ticks(low, high) == pytest.approx(expected, abs=1e-12)


def test_ticks_of_any_range_are_few_and_even():
  ends = (-1234.5, -1, 0, 3e-7, 0.2, 17, 4e6)
  for low, high in itertools.combinations(ends, 2):
    ticks = charts.ticks(low, high)
    spaces = [b - a for a, b in itertools.pairwise(ticks)]
    assert 2 <= len(ticks) <= 6
    assert ticks[0] <= low and high <= ticks[-1]
    assert spaces == pytest.approx([spaces[0]] * len(spaces))


@pytest.mark.parametrize('size', [1.0, 9.99, 0.3, -2e4, 3e-7])
@pytest.mark.parametrize('spread', [0, 1e-9, 1e-7, 1e-5, 1.1e-4, 1e-3, 1])
def test_the_numbers_along_an_axis_are_told_apart(size, spread):
  points = [(i, size * (1 + spread * (-1) ** i)) for i in range(40)]
  svg = charts.draw_chart('share', {'': points})
  numbers = [
    e.text
    for e in elements(svg, 'text')
    if e.get('text-anchor') == 'end' and e.text not in ('share', 'step')
  ]
  assert len(numbers) >= 2
  assert len(set(numbers)) == len(numbers)


def test_late_steps_have_their_own_numbers():
  points = [(10**6 + i, float(i)) for i in range(50)]
  svg = charts.draw_chart('loss', {'': points})
  assert {'1000010', '1000020'} <= set(texts(svg))


def test_steps_have_whole_ticks():
  assert charts.ticks(0, 3, whole=True) == [0, 1, 2, 3]


def test_a_rising_curve_rises_inside_the_frame():
  svg = charts.draw_chart('loss', {'': [(0, 1.0), (5, 2.0), (10, 4.0)]})
  ((first, middle, last),) = polyline_points(svg)
  width, height = map(float, elements(svg, 'svg')[0].get('viewBox').split()[2:])
  assert 0 < first[0] < middle[0] < last[0] < width
  assert height > first[1] > middle[1] > last[1] > 0  # SVG's y points down.


def test_a_point_is_where_the_ticks_say():
  svg = charts.draw_chart('loss', {'': [(0, 0.0), (50, 0.5), (100, 1.0)]})
  by_text = {e.text: e for e in elements(svg, 'text')}
  ((_, middle, last),) = polyline_points(svg)
  assert last[0] == pytest.approx(float(by_text['100'].get('x')), abs=0.1)
  # Half of the digits' height, 4 pixels, is below their line.
  tops = [float(by_text[text].get('y')) - 4 for text in ('0.4', '0.6')]
  assert middle[1] == pytest.approx(sum(tops) / 2, abs=0.15)


def test_the_raw_curve_is_faint_behind_the_smoothed_one():
  points = [(i, float(i % 2)) for i in range(100)]
  svg = charts.draw_chart('loss', {'': points})
  raw, smooth = elements(svg, 'polyline')
  assert (raw.get('class'), smooth.get('class')) == ('raw', 'smooth')
  assert float(raw.get('stroke-opacity')) < 0.5
  ((raw_points,), (smooth_points,)) = (
    polyline_points(svg, 'raw'),
    polyline_points(svg),
  )
  middle = slice(20, 80)  # Near its ends a mean is over fewer steps.
  spread = [
    max(y for _, y in p[middle]) - min(y for _, y in p[middle])
    for p in (raw_points, smooth_points)
  ]
  assert spread[1] < 0.5 * spread[0]


def test_a_single_outlier_does_not_flatten_the_others():
  points = [(i, float(i % 10)) for i in range(300)]
  points[150] = (150, 1e6)
  svg = charts.draw_chart('loss', {'': points})
  ((raw),) = polyline_points(svg, 'raw')
  assert max(y for _, y in raw) - min(y for _, y in raw) > 50


def test_a_chart_has_a_curve_and_a_legend_entry_per_prior():
  svg = charts.draw_chart('seconds', {'a': [(0, 1)], 'b': [(0, 2), (1, 3)]})
  assert len(polyline_points(svg)) == 1
  assert len(elements(svg, 'circle')) == 1  # A curve of one step.
  assert {'seconds', 'a', 'b'} <= set(texts(svg))


def test_many_curves_are_counted_instead_of_named():
  series = {f'cell_{i}': [(0, 1.0), (1, i)] for i in range(100)}
  svg = charts.draw_chart('loss', series)
  assert '88 more' in texts(svg) and 'cell_12' not in texts(svg)
  assert len(polyline_points(svg)) == 100


def test_every_curve_shows_its_name_under_the_mouse():
  series = {f'cell_{i} <&>': [(0, 1.0), (1, i), (2, 2.0)] for i in range(40)}
  series['one step'] = [(0, 1.0)]
  svg = charts.draw_chart('loss', series)
  groups = {g[0].text: [e.get('class') for e in g[1:]] for g in groups_of(svg)}
  assert groups.pop('one step') == [None]  # A circle.
  assert groups == {name: ['raw', 'smooth'] for name in series if '_' in name}
  nameless = charts.draw_chart('loss', {'': [(0, 1.0), (1, 2.0)]})
  assert not elements(nameless, 'title')


def groups_of(svg):
  """Returns the curves with their names."""
  return [e for e in elements(svg, 'g') if e[0].tag == 'title']


@pytest.mark.parametrize('value', [0.0, 1.0, -3.0, 1 / 3])
def test_a_constant_curve_is_drawn_too(value):
  # As a smoothed constant has it: with some rounding.
  svg = charts.draw_chart('loss', {'': [(0, value), (1, value * (1 + 1e-16))]})
  ((first, last),) = polyline_points(svg)
  assert first[1] == last[1]


def test_a_curve_that_is_called_by_a_colour_has_it():
  series = {name: [(0, 1.0), (1, 2.0)] for name in ('red', 'green')}
  svg = charts.draw_chart('color', series)
  colors = {line.get('stroke') for line in elements(svg, 'polyline')}
  assert colors == {'#c0392b', '#2e8b57'}


def test_names_are_escaped():
  svg = charts.draw_chart('<b>', {'<script>': [(0, 1)]})
  assert '<script>' not in svg and '<b>' not in svg
  ElementTree.fromstring(svg)  # Well-formed.
