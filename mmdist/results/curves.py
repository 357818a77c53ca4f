"""Metrics of a run, read and sorted into charts.

Owns which numbers share a chart and how they are smoothed; `charts.py` draws
them. A metric is named `number`, `number/prior` or `number/prior/concept`. What
stands before the first slash is the chart, the rest is the curve.
"""

from collections.abc import Mapping, Sequence
import itertools
import math

import numpy as np

from mmdist.core import tables

MAX_POINTS = 200  # Of a curve that is drawn.
# A run of more steps is averaged to as many rows before anything else is done:
# all else takes time with their number, and no chart shows more.
MAX_ROWS = 2000
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


def columns(
  rows: Sequence[Mapping], names: Sequence[str]
) -> dict[str, np.ndarray]:
  """Returns name -> [N] float64 of the rows; NaN where there is no number."""
  # Row by row, since each row of a long run comes from memory anew.
  gaps = [math.nan] * len(names)
  values = [list(map(row.get, names, gaps)) for row in rows]
  kinds = set(map(type, itertools.chain.from_iterable(values)))
  if not kinds <= {float, int}:
    values = [
      [value if tables.is_number(value) else math.nan for value in row]
      for row in values
    ]
  found = np.array(values, np.float64)
  return dict(zip(names, found.reshape(len(rows), len(names)).T, strict=True))


def thin_rows(rows: Sequence[Mapping]) -> Sequence[Mapping]:
  """Averages neighbouring rows until at most `MAX_ROWS` are left.

  Args:
    rows: one mapping per step with `step` and any numbers; what is not a
      finite number is left out of the mean, and a row without a step is left
      out as a whole.

  Returns:
    The rows as they are, if they are few.
  """
  if len(rows) <= MAX_ROWS:
    return rows
  rows = [row for row in rows if 'step' in row]
  names: dict[str, None] = {}  # A set that keeps its order.
  for row in rows:
    names.update(dict.fromkeys(row))
  starts = np.arange(0, len(rows), math.ceil(len(rows) / MAX_ROWS))
  thinned: list[dict[str, float]] = [{} for _ in starts]
  for name, values in columns(rows, list(names)).items():
    there = np.isfinite(values)
    counts = np.add.reduceat(there, starts, dtype=np.int64)
    sums = np.add.reduceat(np.where(there, values, 0.0), starts)
    means = sums / np.maximum(counts, 1)
    for row, mean, count in zip(thinned, means.tolist(), counts, strict=True):
      if count:
        row[name] = mean
  return thinned


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
