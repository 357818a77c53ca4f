"""A run's ledger as a table: what each concept did to the update, by prior.

Owns the means over a window of steps. The numbers of a step are
`mmdist.objectives.ledger`'s, and docs/method.md, section 2, 'Ledger', says what
each of them is.
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from mmdist.config import schema
from mmdist.core import tables
from mmdist.objectives import binding

COLUMNS = (
  'prior',
  'concept',
  'weight',
  'norm',
  'cosine',
  'share',
  'conflict',
  'proxy_loss',
  'seconds',
  'fit_seconds',
  'steps',
)
# A column of means -> the metric that it is the mean of.
_METRICS = {
  'norm': 'cotangent_norm',
  'cosine': 'cosine',
  'share': 'share',
  'proxy_loss': 'proxy_loss',
  'seconds': 'seconds',
  'fit_seconds': 'proxy_seconds',
}
# Concepts of one prior share its passes, and mostly its proxy.
_OF_PRIOR = ('proxy_loss', 'seconds', 'fit_seconds')


def make(
  metrics: Sequence[Mapping[str, Any]],
  config: schema.RunConfig,
  first: int = 0,
  last: int | None = None,
) -> tables.Table:
  """Returns one row for each prior and concept that it is asked for.

  Args:
    metrics: one mapping per step, as in `metrics.jsonl`.
    config: of the run.
    first: the window begins with this step, counted from 0; a negative number
      counts from the end of what is there, as in a slice.
    last: the window ends before this step; negative as `first`. None takes all
      that is there.

  Returns:
    Means over the steps of the window in which the number is there; None where
    it never is. `conflict` is the share of steps with a negative cosine.
  """
  rows = _window(metrics, first, last)
  objective = binding.bind_config(config)
  lines = [
    _line(rows, term, index, len(objective.of_prior(prior)))
    for prior in objective.priors
    for index, term in enumerate(objective.of_prior(prior))
  ]
  return tables.Table(COLUMNS, tuple(lines))


def _window(
  metrics: Sequence[Mapping[str, Any]], first: int, last: int | None
) -> list[Mapping[str, Any]]:
  """Returns the rows of a window of steps; see `make`.

  By the numbers of the steps and not by lines: a file of metrics that was moved
  away in the course of a run begins with a later step.
  """
  end = int(metrics[-1]['step']) + 1 if metrics else 0
  start, stop, _ = slice(first, last).indices(end)
  return [row for row in metrics if start <= row['step'] < stop]


def _line(
  rows: Sequence[Mapping[str, Any]],
  term: binding.PriorConcept,
  index: int,
  num_terms: int,
) -> dict[str, Any]:
  """Returns the row of concept `index` of a prior."""
  values = {
    column: _values(rows, column, term.prior, index, num_terms)
    for column in _METRICS
  }
  cosines = values['cosine']
  return {
    'prior': term.prior,
    'concept': term.text,
    # Of the last step; a schedule has moved it until then.
    'weight': term.weight_at(1.0),
    **{column: tables.mean(values[column]) for column in _METRICS},
    'conflict': tables.mean([float(value < 0) for value in cosines]),
    'steps': len(values['norm']),
  }


def _values(
  rows: Sequence[Mapping[str, Any]],
  column: str,
  prior: str,
  index: int,
  num_terms: int,
) -> list[float]:
  """Returns a number of one concept, of every step in which it is there."""
  name = f'{_METRICS[column]}/{prior}'
  values = numbers(rows, f'{name}/{index}')
  # A prior that is a function reports nothing of its concepts. If there is but
  # one, its part is the whole answer.
  if not values and (column in _OF_PRIOR or num_terms == 1):
    values = numbers(rows, name)
  return values


def numbers(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
  """Returns a metric of every step in which it is a finite number."""
  return [
    float(row[name])
    for row in rows
    if tables.is_number(row.get(name)) and math.isfinite(row[name])
  ]


def labels(config: schema.RunConfig) -> dict[str, str]:
  """Returns how curves are called: 'generic/0' -> 'generic: happy'.

  A concept is called by its name, or by its text if it has none.
  """
  objective = binding.bind_config(config)
  concept_names = {one.text: one.name for one in config.concepts if one.name}
  return {
    f'{prior}/{index}': f'{prior}: {concept_names.get(term.text, term.text)}'
    for prior in objective.priors
    for index, term in enumerate(objective.of_prior(prior))
  }
