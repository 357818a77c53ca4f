"""Warns early when a run's colours go wrong, and names the likeliest setting.

MagicMirror, A.5 and Fig. 12: where the proxies learn too slowly, or the
guidance is too strong, textures become over-saturated, and they fluctuate while
the geometry stands still. Both are seen in numbers that a step has anyway
(`mmdist.learner.colors`). Nothing here changes a run.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
import math
from typing import Any

import numpy as np

from mmdist.config import schema
from mmdist.learner import colors

# Number of steps that are looked at together. The first so many steps of a run
# are left out, since every run changes its colours there.
WINDOW = 40
# Mean saturation of a window. With the prompt of the demo, green skin and a red
# hat, a good run ends at 0.84 and SDS at guidance 100 at 0.91
# (docs/results.md).
SATURATION = 0.9
# The variance of the mean colour around its trend, as a multiple of what the
# draw of the views explains. For colours that stand still it is 1 in the mean.
# Where a few views from above or behind come together it is more: the largest
# of 300 steps was 1.7 in the demo, and 3.8 in 180 artificial runs in which one
# view of twelve to one of three has another colour (2026-11-27).
FLUCTUATION = 4.0
# A smaller fluctuation, in units of colour, cannot be seen.
VISIBLE = 0.03
KINDS = ('saturation', 'fluctuation')  # Of warnings.
_PAPER_RATIO = 2.0
_USABLE_GUIDANCE = 25.0  # MagicMirror, A.5.


class Monitor:
  """Looks at the steps of one run; gives each kind of warning once."""

  def __init__(self, run: schema.RunConfig):
    """Has seen nothing yet.

    Args:
      run: the run's configuration.
    """
    self._run = run
    self._rows: collections.deque = collections.deque(maxlen=WINDOW)
    # Of all steps since the first ones: their variances added up, and how many.
    self._variance, self._num_variances = 0.0, 0
    self._last = -1
    self._said: set[str] = set()

  def observe(
    self, step: int, metrics: Mapping[str, Any], kinds: Sequence[str] = KINDS
  ) -> list[str]:
    """Returns the new warnings after a step, one line each.

    Args:
      step: its number, from 0. Steps that are taken again begin a new window.
      metrics: flat name -> number; without colours the step is not counted.
      kinds: of warnings that are looked for.
    """
    if step <= self._last:
      self._rows.clear()
      self._variance, self._num_variances = 0.0, 0
    self._last = step
    if step < WINDOW or colors.NAMES[0] not in metrics:
      return []
    self._rows.append(metrics)
    if 'color_variance' in metrics:
      self._variance += metrics['color_variance']
      self._num_variances += 1
    if len(self._rows) < WINDOW:
      return []
    checks = {
      'saturation': self._saturation,
      'fluctuation': self._fluctuation,
    }
    found = {kind: checks[kind]() for kind in kinds if kind not in self._said}
    new = {kind: line for kind, line in found.items() if line}
    self._said |= set(new)
    return [f'step {step}: {line}' for line in new.values()]

  def _saturation(self) -> str:
    mean = float(np.mean([row['saturation'] for row in self._rows]))
    if mean <= SATURATION:
      return ''
    return (
      f'the colours are over-saturated (saturation {mean:.2f} over {WINDOW} '
      f'steps, expected at most {SATURATION}); {self._advice()}'
    )

  def _fluctuation(self) -> str:
    if not all('color_variance' in row for row in self._rows):
      return ''  # With one view a step, its part in the colours is not known.
    # Two views a step tell little of the variance between views, and forty
    # steps in which no view was unlike the others tell too little. So all steps
    # are asked as well.
    explained = max(
      float(np.mean([row['color_variance'] for row in self._rows])),
      self._variance / self._num_variances,
    )
    found = _color_variance(self._rows)
    excess = math.sqrt(max(found - explained, 0.0))
    if found <= FLUCTUATION * explained or excess <= VISIBLE:
      return ''
    return (
      f'the colours fluctuate (by {excess:.2f} over {WINDOW} steps, expected '
      f'at most {VISIBLE}); {self._advice()}'
    )

  def _advice(self) -> str:
    """Returns which setting is the likeliest cause, with its value."""
    ratio = self._run.learner.proxy_learning_rate_ratio
    priors = {n: p for n, p in self._run.priors.items() if p.enabled}
    sds = [n for n, prior in priors.items() if prior.objective == 'sds']
    proxied = [n for n, prior in priors.items() if prior.has_proxy]
    strong = [
      f'priors.{name}.guidance_scale={prior.guidance_scale:g}'
      for name, prior in priors.items()
      if prior.guidance_scale > _USABLE_GUIDANCE
    ]
    if proxied and ratio < _PAPER_RATIO:
      return (
        f'look at learner.proxy_learning_rate_ratio={ratio:g}: with less than '
        f'{_PAPER_RATIO:g} the proxies fall behind.'
      )
    if strong:
      return (
        f'look at {", ".join(strong)}: {_USABLE_GUIDANCE:g} is the most that '
        'the paper finds usable.'
      )
    if sds:
      return f"look at priors.{sds[0]}.objective='sds': 'vsd' saturates less."
    return 'look at guidance_scale of the priors, and learner.learning_rate.'


def fluctuation(metrics: Sequence[Mapping[str, Any]]) -> float | None:
  """Returns how far a run's colours went to and fro, in units of colour.

  All whole windows behind the first steps count alike, from the last step
  back. In each, the mean colour is compared with a straight line.

  Args:
    metrics: one mapping per step with its `step`, as in `metrics.jsonl`.

  Returns:
    The standard deviation of the mean colour, summed over channels, without
    what the draw of the views explains; 0 if they explain all. None where no
    window is whole, or the part of the views is not known.
  """
  rows = [
    row
    for row in metrics
    if row.get('step', 0) >= WINDOW and colors.NAMES[0] in row
  ]
  rows = rows[len(rows) % WINDOW :]
  if not rows or not all('color_variance' in row for row in rows):
    return None
  windows = [rows[i : i + WINDOW] for i in range(0, len(rows), WINDOW)]
  found = np.mean([_color_variance(window) for window in windows])
  explained = np.mean([row['color_variance'] for row in rows])
  return float(np.sqrt(np.maximum(found - explained, 0)))


def _color_variance(rows: Iterable[Mapping[str, Any]]) -> float:
  return variance_around_trend(
    [[row[name] for name in colors.NAMES] for row in rows]
  )


def variance_around_trend(values: Sequence[Sequence[float]]) -> float:
  """Returns how far a series is from a straight line.

  Args:
    values: [N, D], evenly spaced, N > 2.

  Returns:
    The unbiased residual variance of the best line, summed over D.
  """
  series = np.asarray(values, np.float64)
  steps = np.arange(len(series)) - (len(series) - 1) / 2
  slope = steps @ series / (steps @ steps)
  residual = series - series.mean(0) - steps[:, None] * slope
  return float(np.sum(residual**2) / (len(series) - 2))


def review(
  run: schema.RunConfig, metrics: Sequence[Mapping[str, Any]]
) -> list[str]:
  """Returns all warnings about the steps of a run, one line each.

  Args:
    run: its configuration.
    metrics: one mapping per step with its `step`, as in `metrics.jsonl`.
  """
  monitor = Monitor(run)
  rows = [row for row in metrics if 'step' in row]
  return [
    line
    for row, kinds in zip(rows, _worth_a_look(rows), strict=True)
    for line in monitor.observe(int(row['step']), row, kinds)
  ]


def _worth_a_look(rows: Sequence[Mapping[str, Any]]) -> list[Sequence[str]]:
  """Returns, for each step, which kinds of warning its window may give.

  A monitor looks at every window by itself. Of a long run that takes a minute,
  and all windows at once take a moment. They are computed less exactly here, so
  what is on the verge is left to the monitor.
  """
  steps = [row['step'] for row in rows]
  if any(a >= b for a, b in zip(steps, steps[1:], strict=False)):
    return [KINDS] * len(rows)  # Taken again, with windows of their own.
  kinds: list[Sequence[str]] = [()] * len(rows)
  counted = [
    i
    for i, row in enumerate(rows)
    if row['step'] >= WINDOW and colors.NAMES[0] in row
  ]
  if len(counted) < WINDOW:
    return kinds

  def column(name: str, missing: float = math.nan) -> np.ndarray:
    return np.array([rows[i].get(name, missing) for i in counted], np.float64)

  ones, ramp = np.ones(WINDOW), np.arange(WINDOW) - (WINDOW - 1) / 2
  saturation = np.convolve(column('saturation'), ones, 'valid') / WINDOW
  explained = np.convolve(column('color_variance', 0.0), ones, 'valid') / WINDOW
  squares = np.zeros(len(explained))
  for name in colors.NAMES:
    # Small numbers have small errors.
    values = column(name) - 0.5
    squares += np.convolve(values**2, ones, 'valid')
    squares -= np.convolve(values, ones, 'valid') ** 2 / WINDOW
    squares -= np.correlate(values, ramp, 'valid') ** 2 / (ramp @ ramp)
  lowest = np.maximum(FLUCTUATION * explained, explained + VISIBLE**2)
  # Written as what is no case for a look: NaN is one.
  is_saturated = ~(saturation <= SATURATION - 1e-6)
  fluctuates = ~(squares / (WINDOW - 2) <= 0.999 * lowest)
  for i, *looks in zip(counted[WINDOW - 1 :], is_saturated, fluctuates):
    kinds[i] = [kind for kind, look in zip(KINDS, looks, strict=True) if look]
  return kinds
