"""A run's ledger as a table: what each prior and concept did to the update.

Owns the means over a window of steps, and what curves are called. The numbers
of a step are `mmdist.objectives.ledger`'s, and docs/method.md, section 2,
'Ledger', says what each of them is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdist.config import schema
from mmdist.core import tables
from mmdist.objectives import binding
from mmdist.objectives import concept as concept_lib
from mmdist.results import curves

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
# A column that is there only where a concept of the run has one.
SCHEDULE = 'schedule'
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
  """Returns a row for each prior, and below it one for each of its concepts.

  A prior that is asked for one concept has one row, which is the concept's too.

  Args:
    metrics: one mapping per step, as in `metrics.jsonl`.
    config: of the run.
    first: the window begins with this step, counted from 0; a negative number
      counts from the end of what is there, as in a slice.
    last: the window ends before this step; negative as `first`. None takes all
      that is there.

  Returns:
    Means over the steps of the window in which the number is there; None where
    it never is. The cosine of a prior is with the sum on its channel, that of
    one concept of several with its prior's sum, and `conflict` is the share of
    steps in which it is negative. Where a row is of several concepts, `concept`
    and `weight` are None. A run with schedules has the column `schedule`.
  """
  objective = binding.bind_config(config)
  columns = _columns(_window(metrics, first, last), objective)
  lines = []
  for prior in objective.priors:
    terms = objective.of_prior(prior)
    if len(terms) == 1:
      # The prior's numbers, which say how the concept stands to other priors.
      # Its cosine with its own sum would be 1 in any case.
      lines.append(_line(columns, prior, ('', '/0'), terms[0]))
      continue
    lines.append(_line(columns, prior, ('',)))
    lines += [
      _line(columns, prior, (f'/{index}',), term)
      for index, term in enumerate(terms)
    ]
  shown = list(COLUMNS)
  if any(term.schedule for term in objective.terms):
    shown.insert(shown.index('weight'), SCHEDULE)
  return tables.Table(tuple(shown), tuple(lines))


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


def _columns(
  rows: Sequence[Mapping[str, Any]], objective: binding.BoundObjective
) -> dict[str, list[float]]:
  """Returns each metric of the ledger, of the steps in which it is finite."""
  names = [
    f'{metric}/{prior}{suffix}'
    for metric in ('weight', *_METRICS.values())
    for prior in objective.priors
    for suffix in (
      '',
      *(f'/{i}' for i in range(len(objective.of_prior(prior)))),
    )
  ]
  return {
    name: values[np.isfinite(values)].tolist()
    for name, values in curves.columns(rows, names).items()
  }


def _line(
  columns: Mapping[str, Sequence[float]],
  prior: str,
  suffixes: Sequence[str],
  term: binding.PriorConcept | None = None,
) -> dict[str, Any]:
  """Returns the row of a prior, or of one of its concepts.

  Args:
    columns: the metrics of the window.
    prior: its name.
    suffixes: what stands behind it in the names of the row's metrics; the
      first that a metric has is taken.
    term: the concept; None for all concepts of the prior.
  """
  values = {
    column: _values(columns, column, prior, suffixes) for column in _METRICS
  }
  cosines = values['cosine']
  return {
    'prior': prior,
    'concept': term.text if term else None,
    SCHEDULE: term.schedule or None if term else None,
    'weight': _weight(columns, prior, suffixes[-1], term),
    **{column: tables.mean(values[column]) for column in _METRICS},
    'conflict': tables.mean([float(value < 0) for value in cosines]),
    'steps': len(values['norm']),
  }


def _values(
  columns: Mapping[str, Sequence[float]],
  column: str,
  prior: str,
  suffixes: Sequence[str],
) -> Sequence[float]:
  """Returns a number of a row, of every step in which it is there."""
  if column in _OF_PRIOR:
    suffixes = (*suffixes, '')
  name = f'{_METRICS[column]}/{prior}'
  found = (columns[name + suffix] for suffix in suffixes)
  return next(filter(None, found), [])


def _weight(
  columns: Mapping[str, Sequence[float]],
  prior: str,
  suffix: str,
  term: binding.PriorConcept | None,
) -> float | None:
  """Returns a concept's mean weight, which only a schedule changes."""
  if term is None:
    return None
  if not term.schedule:
    return float(term.weight)
  return tables.mean(columns[f'weight/{prior}{suffix}'])


def labels(config: schema.RunConfig) -> dict[str, str]:
  """Returns how curves are called: 'generic/0' -> 'generic: happy'.

  A concept is called by its name, or by its text if it has none. Where that
  does not tell two of one prior apart, the schedule follows, and then the text.
  The curve of a prior with one concept is called as this one is.
  """
  objective = binding.bind_config(config)
  found = {}
  for prior in objective.priors:
    terms = objective.of_prior(prior)
    words = [_words(term, config) for term in terms]
    for index, own in enumerate(words):
      # As few words as tell it apart: all of them do.
      count = next(
        n
        for n in range(1, len(own) + 1)
        if [other[:n] for other in words].count(own[:n]) == 1
      )
      found[f'{prior}/{index}'] = f'{prior}: {", ".join(own[:count])}'
    if len(terms) == 1:
      found[prior] = found[f'{prior}/0']
  return found


def _words(
  term: binding.PriorConcept, config: schema.RunConfig
) -> tuple[str, str, str]:
  """Returns what a term may be called: name or text, schedule, text."""
  # Concepts that differ only in whom else they ask are one term of this prior.
  names = [
    one.name
    for one in concept_lib.from_config(config).concepts
    if (one.text, one.schedule) == (term.text, term.schedule)
    and (not one.priors or term.prior in one.priors)
  ]
  name = ' + '.join(filter(None, names))
  return name or term.text, term.schedule or 'constant', term.text
