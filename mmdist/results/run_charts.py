"""Which charts the report of a run has, and what their curves are called.

Owns the order and the titles. Numbers are sorted by `curves.py` and drawn by
`charts.py`.
"""

from collections.abc import Mapping, Sequence

from mmdist.results import charts
from mmdist.results import curves

# A chart of the ledger -> its title.
LEDGER = {
  'share': 'share of the update',
  'cosine': 'cosine with the sum',
  'cotangent_norm': 'norm of the answer, dL/d image',
  'proxy_loss': 'loss of the proxies',
  'between': 'cosine between priors',
}
# The other charts that come first, in this order.
_TITLES = {
  'loss': 'loss',
  'saturation': 'saturation of the head',
  'color': 'mean colour of the head',
  'color_variance': 'variance of the mean colour between views',
  'mean_opacity': 'mean opacity',
  'gradient_norm': 'norm of the gradient',
  'learning_rate': 'learning rate',
  'step_seconds': 'seconds per step',
  'seconds': "seconds of the priors' answers",
  'proxy_seconds': "seconds of the proxies' fits",
}


def draw_ledger(
  metrics: Sequence[Mapping], labels: Mapping[str, str]
) -> list[str]:
  """Returns an SVG for each number of the ledger that the run has.

  Args:
    metrics: one mapping per step.
    labels: 'generic/0' -> what that concept of that prior is called.
  """
  grouped = _grouped(metrics)
  return [
    charts.draw_chart(title, _relabelled(grouped[name], labels))
    for name, title in LEDGER.items()
    if name in grouped
  ]


def draw_others(metrics: Sequence[Mapping]) -> list[str]:
  """Returns an SVG for each number that is not the ledger's."""
  grouped = _grouped(metrics)
  names = [name for name in _TITLES if name in grouped]
  names += [n for n in grouped if n not in _TITLES and n not in LEDGER]
  return [
    charts.draw_chart(_TITLES.get(name, name), _whole_first(grouped[name]))
    for name in names
  ]


def _grouped(metrics: Sequence[Mapping]) -> dict[str, curves.Series]:
  """Returns the charts; cosines between two priors have one of their own."""
  grouped: dict[str, curves.Series] = dict(curves.group_series(metrics))
  cosines = grouped.pop('cosine', {})
  between = {name: cosines[name] for name in cosines if '~' in name}
  others = {name: cosines[name] for name in cosines if '~' not in name}
  parts = {'cosine': others, 'between': between}
  return grouped | {name: part for name, part in parts.items() if part}


def _relabelled(
  series: curves.Series, labels: Mapping[str, str]
) -> curves.Series:
  """Names the concepts, and leaves out what tells nothing beside them.

  The answer of a prior with one concept is that concept's part, and a prior
  that is alone on its channel has all of the update.
  """
  relabelled = {}
  for name, points in series.items():
    parts = [other for other in series if other.startswith(f'{name}/')]
    is_all = parts and all(abs(value - 1) < 1e-6 for _, value in points)
    if len(parts) != 1 and not is_all:
      relabelled[labels.get(name, name)] = points
  return relabelled


def _whole_first(series: curves.Series) -> curves.Series:
  """Names the curve of a number as a whole, where there are parts of it."""
  if len(series) == 1:
    return series
  return {name or 'total': points for name, points in series.items()}
