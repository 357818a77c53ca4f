"""Metrics of a run, read and sorted into charts.

Owns which numbers share a chart and how they are smoothed; `charts.py` draws
them. A metric is named `number`, `number/prior` or `number/prior/concept`. What
stands before the first slash is the chart, the rest is the curve.
"""

from collections.abc import Mapping, Sequence
import math

MAX_POINTS = 200  # Of a curve that is drawn.
# A smoothed curve is a mean over this share of the steps.
_SMOOTHED_SHARE = 1 / 15

# How the first part of a metric's name was spelt by runs that began earlier.
_OLD_CHARTS = {'pull': 'cotangent_norm'}

Point = tuple[float, float]  # Step and value.
Series = Mapping[str, Sequence[Point]]


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


def smooth(
  points: Sequence[Point], share: float = _SMOOTHED_SHARE
) -> list[Point]:
  """Averages each point with its neighbours on both sides, evenly.

  Near an end the window narrows, as wide on one side as on the other, so that
  a straight line stays what it is, and a curve begins and ends where it does.

  Args:
    points: of a curve.
    share: of the points, that a mean is over.
  """
  half = int(len(points) * share / 2)
  if not half:
    return list(points)
  sums = [0.0]
  for _, value in points:
    sums.append(sums[-1] + value)
  smoothed = []
  for index, (step, _) in enumerate(points):
    reach = min(half, index, len(points) - 1 - index)
    total = sums[index + reach + 1] - sums[index - reach]
    smoothed.append((step, total / (2 * reach + 1)))
  return smoothed


def thin(points: Sequence[Point]) -> list[Point]:
  """Averages neighbours until at most `MAX_POINTS` are left."""
  stride = math.ceil(len(points) / MAX_POINTS)
  groups = [points[i : i + stride] for i in range(0, len(points), stride)]
  return [
    (_mean([x for x, _ in group]), _mean([y for _, y in group]))
    for group in groups
  ]


def _mean(values: Sequence[float]) -> float:
  return math.fsum(values) / len(values)
