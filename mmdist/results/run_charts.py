"""Which charts the report of a run has, and what their curves are called.

Owns the order and the titles. Numbers are sorted by `curves.py` and drawn by
`charts.py`.
"""

from collections.abc import Mapping, Sequence
import re

from mmdist.results import charts
from mmdist.results import curves

# A chart of the ledger -> its title.
LEDGER = {
  'share': 'share of the update',
  'cosine': 'cosine with the sum',
  'conflict': 'conflict: share of steps against the sum',
  'cotangent_norm': 'norm of the answers, dL/d image',
  'part_norm': "norm of the concepts' parts, in the network's space",
  'weight': 'weights that follow a schedule',
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
# The curve of a concept: a prior, and the number of one of its concepts.
_PART = re.compile(r'(.*)/\d+', re.DOTALL)
# A chart -> the one in which a prior that has all of the update is at 1.
_TELLS_OF_ALL = {'share': 'share', 'cosine': 'cosine', 'conflict': 'cosine'}
# A rate of conflict is a mean over this share of the steps.
_RATE_SHARE = 1 / 5

Grouped = Mapping[str, curves.Series]


def group(metrics: Sequence[Mapping]) -> dict[str, curves.Series]:
  """Returns the numbers of a run by chart, for the two functions below.

  Args:
    metrics: one mapping per step.
  """
  rows = curves.thin_rows(metrics)
  grouped: dict[str, curves.Series] = dict(curves.group_series(rows))
  # Cosines between two priors have a chart of their own.
  cosines = grouped.pop('cosine', {})
  between = {name: cosines[name] for name in cosines if '~' in name}
  others = {name: cosines[name] for name in cosines if '~' not in name}
  # The norm of a concept's part is in the network's space, which for a latent
  # prior is not that of pixels.
  norms = grouped.pop('cotangent_norm', {})
  whole = {n: norms[n] for n in norms if not _PART.fullmatch(n)}
  parts = {n: norms[n] for n in norms if _PART.fullmatch(n)}
  # Of one concept it is the prior's answer once more, in other units.
  parts = {
    name: points
    for name, points in parts.items()
    if _num_parts(_prior_of(name), norms) > 1 or _prior_of(name) not in norms
  }
  sorted_out = {
    'cosine': others,
    'between': between,
    'cotangent_norm': whole,
    'part_norm': parts,
  }
  return grouped | {n: part for n, part in sorted_out.items() if part}


def draw_ledger(grouped: Grouped, labels: Mapping[str, str]) -> list[str]:
  """Returns an SVG for each number of the ledger that the run has.

  Args:
    grouped: what `group` returned.
    labels: curve -> what it is called, 'generic/0' -> 'generic: happy'.
  """
  drawn = []
  for name, title in LEDGER.items():
    series = dict(grouped.get(name, {}))
    for curve in _told(grouped, name):
      series.pop(curve, None)
    if name == 'conflict':
      series = {c: curves.smooth(series[c], _RATE_SHARE) for c in series}
    if series:
      named = {labels.get(curve, curve): series[curve] for curve in series}
      drawn.append(charts.draw_chart(title, named))
  return drawn


def draw_others(grouped: Grouped) -> list[str]:
  """Returns an SVG for each number that is not the ledger's."""
  names = [name for name in _TITLES if name in grouped]
  names += [n for n in grouped if n not in _TITLES and n not in LEDGER]
  return [
    charts.draw_chart(_TITLES.get(name, name), _whole_first(grouped[name]))
    for name in names
  ]


def _prior_of(curve: str) -> str:
  part = _PART.fullmatch(curve)
  return part[1] if part else curve


def _num_parts(prior: str, series: curves.Series) -> int:
  """Returns how many concepts of a prior have a curve."""
  parts = [name for name in series if _PART.fullmatch(name)]
  return sum(_prior_of(name) == prior for name in parts)


def _told(grouped: Grouped, name: str) -> list[str]:
  """Returns the curves of a chart that tell nothing beside the others.

  One concept alone is its prior's sum, so the prior's curve tells more than
  the concept's. A prior with several concepts that is alone on its channel has
  all of the update: a share and a cosine of 1, and no conflict.
  """
  series = grouped.get(name, {})
  told = [
    curve
    for curve in series
    if _prior_of(curve) in series
    and _prior_of(curve) != curve
    and _num_parts(_prior_of(curve), series) == 1
  ]
  whole = grouped.get(_TELLS_OF_ALL.get(name, ''), {})
  return told + [
    curve
    for curve, points in whole.items()
    if _num_parts(curve, whole) > 1
    and all(abs(value - 1) < 1e-6 for _, value in points)
  ]


def _whole_first(series: curves.Series) -> curves.Series:
  """Names the curve of a number as a whole, where there are parts of it."""
  if len(series) == 1:
    return series
  return {name or 'total': points for name, points in series.items()}
