"""How large each prior's answer was in a step, and how far they agree.

The norm of a prior's answer is of dL/d image. That of a concept's part is in
the network's space, as the prior reports it. 'generic/0' is concept 0 of prior
'generic', in the order of `BoundObjective.of_prior`.
"""

from collections.abc import Mapping
import re

import numpy as np

from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import schedules
from mmdist.objectives import score_requests

_PER_CONCEPT = re.compile(r'(norm|cosine|share|proxy_loss)_(\d+)')
_GROUPS = {'norm': 'cotangent_norm'}  # The others are called as they are.


def step_metrics(
  answers: Mapping[str, messages.ScoreGradient],
  fit_metrics: Mapping[str, Mapping[str, float]] | None = None,
  views: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
  """Returns one step's scalars by flat name, sorted.

  `cotangent_norm/normal` is the norm of a prior's whole answer,
  `cotangent_norm/generic/0` that of a concept's part as the prior reports it,
  `cosine/generic/0` its cosine with the prior's sum, `cosine/generic` that of
  the prior's answer with the sum on its channel, `cosine/generic~personal` the
  one between two priors on the same channel.

  `share/generic` is a prior's share of the update of its channel: the
  component of its answer along the sum of all answers, divided by the length
  of that sum. `share/generic/0` is the share of one of its concepts. On each
  channel the shares of the priors add up to 1; what works against the sum has a
  negative share and a negative cosine. Whatever else a prior reports gets its
  name, as in `proxy_loss/generic`; where each concept has a proxy of its own,
  there is `proxy_loss/generic/0` too.

  Args:
    answers: by prior.
    fit_metrics: by prior; of the fits that have finished, which are those of
      the step before.
    views: which views each prior was shown; None if all were shown all.
  """
  metrics = {}
  sums = _sums(answers, views)
  for prior, answer in answers.items():
    norm = np.linalg.norm(answer.cotangent)
    total, part = sums[prior]
    share = _share(total, part, answer.cotangent)
    metrics[f'cotangent_norm/{prior}'] = float(norm)
    metrics[f'cosine/{prior}'] = cosine(part, answer.cotangent)
    metrics[f'share/{prior}'] = share
    metrics |= _conflicts(prior, metrics[f'cosine/{prior}'], answer.metrics)
    for name, value in answer.metrics.items():
      # A prior knows its concepts' shares of its own answer alone.
      scale = share if name.startswith('share_') else 1.0
      metrics[_flat_name(prior, name)] = scale * float(value)
  for prior, fit in (fit_metrics or {}).items():
    for name, value in fit.items():
      metrics[_flat_name(prior, name)] = float(value)
  if views is None:  # Else no two priors have looked at the same views.
    metrics.update(_cosines(answers))
  return dict(sorted(metrics.items()))


def scheduled_weights(
  objective: binding.BoundObjective, step: int, num_steps: int
) -> dict[str, float]:
  """Returns `weight/generic/0` of each concept whose weight has a schedule.

  The weights of the others are those of the run's configuration at every step.

  Args:
    objective: what is asked of the priors.
    step: from 0.
    num_steps: of the run.
  """
  progress = schedules.progress_at(step, num_steps)
  return {
    f'weight/{prior}/{index}': term.weight_at(progress)
    for prior in objective.priors
    for index, term in enumerate(objective.of_prior(prior))
    if term.schedule
  }


def _conflicts(
  prior: str, cosine_of_prior: float, reported: Mapping[str, float]
) -> dict[str, float]:
  """Returns 1 for each negative cosine and 0 for each other one."""
  conflicts = {f'conflict/{prior}': float(cosine_of_prior < 0)}
  concepts = [_PER_CONCEPT.fullmatch(name) for name in reported]
  # One concept alone is its prior's sum, which it cannot work against.
  if len({one[2] for one in concepts if one}) > 1:
    for one in concepts:
      if one and one[1] == 'cosine':
        is_against = float(reported[one[0]]) < 0
        conflicts[f'conflict/{prior}/{one[2]}'] = float(is_against)
  return conflicts


def _flat_name(prior: str, name: str) -> str:
  concept = _PER_CONCEPT.fullmatch(name)
  if concept is None:
    return f'{name}/{prior}'
  return f'{_GROUPS.get(concept[1], concept[1])}/{prior}/{concept[2]}'


def _sums(
  answers: Mapping[str, messages.ScoreGradient],
  views: Mapping[str, np.ndarray] | None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Returns, by prior, the sum on its channel, and its part that it saw."""
  totals = score_requests.sum_cotangents(answers, views)
  sums = {}
  for prior, answer in answers.items():
    total = totals[answer.channel].astype(np.float64)
    sums[prior] = total, total if views is None else total[views[prior]]
  return sums


def _share(total: np.ndarray, part: np.ndarray, answer: np.ndarray) -> float:
  """Returns the component of an answer along the sum, in the sum's length."""
  square = np.vdot(total, total)
  inner = np.vdot(part, answer.astype(np.float64))
  return float(inner / square) if square else 0.0


def _cosines(answers: Mapping[str, messages.ScoreGradient]) -> dict:
  """Returns the cosine of every pair of priors that share a channel."""
  pairs = [
    (first, second)
    for first in sorted(answers)
    for second in sorted(answers)
    if first < second and answers[first].channel == answers[second].channel
  ]
  return {
    f'cosine/{first}~{second}': cosine(
      answers[first].cotangent, answers[second].cotangent
    )
    for first, second in pairs
  }


def cosine(first: np.ndarray, second: np.ndarray) -> float:
  """Returns the cosine of two arrays; 0 if one of them is zero."""
  first = np.asarray(first, np.float64).ravel()
  second = np.asarray(second, np.float64).ravel()
  length = np.linalg.norm(first) * np.linalg.norm(second)
  return float(first @ second / length) if length else 0.0
