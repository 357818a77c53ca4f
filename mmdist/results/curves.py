"""Curves of a run's metrics as inline SVG.

Owns which numbers share a chart and how a chart is drawn. A metric is named
`number` or `number/prior`; the numbers of one name share a chart, one curve
for each prior.
"""

from collections.abc import Mapping, Sequence
import html
import json
import math
import pathlib

from mmdist.core import errors

_WIDTH, _HEIGHT = 360, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 24, 22
_MAX_POINTS = 200
# Okabe and Ito 2008: told apart by colour-blind readers too.
_COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')

# How the first part of a metric's name was spelt by runs that began earlier.
_OLD_CHARTS = {'pull': 'cotangent_norm'}

Series = Mapping[str, Sequence[tuple[float, float]]]


def read_metrics(path: pathlib.Path) -> list[dict]:
  """Reads JSON lines; a torn last line, of a killed run, is left out."""
  rows = []
  lines = path.read_text(encoding='utf-8').splitlines()
  for number, line in enumerate(lines, 1):
    try:
      rows.append(json.loads(line))
    except json.JSONDecodeError as error:
      if number < len(lines):
        raise errors.UserError(
          f'{path.name} line {number} is not JSON ({error.msg}); move the file '
          'away to make a report without curves.'
        ) from error
  return rows


def group_series(rows: Sequence[Mapping]) -> dict[str, dict[str, list]]:
  """Sorts metrics into charts.

  Args:
    rows: one mapping per step with `step` and any numbers; what is not a
      finite number is a gap.

  Returns:
    chart -> curve -> [(step, value), ...], in the order of appearance.
  """
  charts: dict[str, dict[str, list]] = {}
  for row in rows:
    for name, value in row.items():
      is_number = isinstance(value, (int, float)) and math.isfinite(value)
      if name != 'step' and is_number and 'step' in row:
        chart, _, curve = name.partition('/')
        chart = _OLD_CHARTS.get(chart, chart)
        curves = charts.setdefault(chart, {})
        curves.setdefault(curve, []).append((row['step'], value))
  return charts


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
  """Averages neighbours until at most `_MAX_POINTS` are left."""
  stride = math.ceil(len(points) / _MAX_POINTS)
  groups = [points[i : i + stride] for i in range(0, len(points), stride)]
  return [
    (_mean([x for x, _ in group]), _mean([y for _, y in group]))
    for group in groups
  ]


def _mean(values: Sequence[float]) -> float:
  return math.fsum(values) / len(values)


def draw_chart(title: str, series: Series) -> str:
  """Returns one `<svg>` element with a curve and a legend entry per series."""
  thinned = {name: thin(points) for name, points in series.items()}
  x_range = _range([x for curve in series.values() for x, _ in curve])
  y_range = _range([y for curve in thinned.values() for _, y in curve])

  def place(x: float, y: float) -> tuple[float, float]:
    across = (x - x_range[0]) / (x_range[1] - x_range[0])
    up = (y - y_range[0]) / (y_range[1] - y_range[0])
    return (
      _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
      _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
    )

  parts = [_frame(title, x_range, y_range)]
  for index, (name, curve) in enumerate(thinned.items()):
    color = _COLORS[index % len(_COLORS)]
    path = ' '.join('{:.1f},{:.1f}'.format(*place(*p)) for p in curve)
    parts.append(
      f'<polyline points="{path}" fill="none" stroke="{color}" '
      'stroke-width="1.5"/>'
    )
    parts.append(
      _text(_WIDTH - _RIGHT - 4, _TOP + 12 * (index + 1), name, color)
    )
  return (
    f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
    f'height="{_HEIGHT}" role="img">{"".join(parts)}</svg>'
  )


def _frame(
  title: str, x_range: tuple[float, float], y_range: tuple[float, float]
) -> str:
  """Draws the title, the axes and the numbers at their ends."""
  bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
  axes = f'M{_LEFT} {_TOP}V{bottom}H{right}'
  return ''.join(
    [
      f'<path d="{axes}" fill="none" stroke="#999"/>',
      _text(_LEFT, 14, title, 'currentColor', 'start'),
      _text(_LEFT - 4, _TOP + 8, f'{y_range[1]:.3g}', '#666'),
      _text(_LEFT - 4, bottom, f'{y_range[0]:.3g}', '#666'),
      _text(_LEFT, bottom + 14, f'{x_range[0]:g}', '#666', 'start'),
      _text(right, bottom + 14, f'step {x_range[1]:g}', '#666'),
    ]
  )


def _text(
  x: float, y: float, text: str, color: str, anchor: str = 'end'
) -> str:
  return (
    f'<text x="{x}" y="{y}" fill="{color}" text-anchor="{anchor}" '
    f'font-size="11">{html.escape(text)}</text>'
  )


def _range(values: Sequence[float]) -> tuple[float, float]:
  """Returns the ends of an axis, never equal."""
  low, high = min(values), max(values)
  margin = 0.0 if high > low else max(abs(low), 1.0) * 0.5
  return low - margin, high + margin
