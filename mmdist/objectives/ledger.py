"""How large each prior's answer was in a step, and how far they agree.

Norms are of dL/d image, as the priors report them; 'generic/0' is concept 0 of
prior 'generic', in the order of `BoundObjective.of_prior`.
"""

from collections.abc import Mapping
import re

import numpy as np

from mmdist.core import messages
from mmdist.objectives import score_requests

_PER_CONCEPT = re.compile(r'(norm|cosine|share)_(\d+)')
_GROUPS = {'norm': 'cotangent_norm', 'cosine': 'cosine', 'share': 'share'}


def step_metrics(
  answers: Mapping[str, messages.ScoreGradient],
  fit_metrics: Mapping[str, Mapping[str, float]] | None = None,
  views: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
  """Returns one step's scalars by flat name, sorted.

  `cotangent_norm/normal` is the norm of a prior's whole answer,
  `cotangent_norm/generic/0` that of a concept's part as the prior reports it,
  `cosine/generic/0` its cosine with the prior's sum, `cosine/generic~personal`
  the one between two priors on the same channel.

  `share/generic` is a prior's share of the update of its channel, the
  component of its answer along the sum of all, and `share/generic/0` that of
  one of its concepts. On each channel the shares of priors add up to 1; what
  works against the sum has a negative share. Whatever else a prior reports
  becomes `proxy_loss/generic` and so on.

  Args:
    answers: by prior.
    fit_metrics: by prior; of the fits that have finished, which are those of
      the step before.
    views: which views each prior was shown; None if all were shown all.
  """
  metrics = {}
  shares = _shares(answers, views)
  for prior, answer in answers.items():
    norm = np.linalg.norm(answer.cotangent)
    metrics[f'cotangent_norm/{prior}'] = float(norm)
    metrics[f'share/{prior}'] = shares[prior]
    for name, value in answer.metrics.items():
      # A prior knows its concepts' shares of its own answer alone.
      scale = shares[prior] if name.startswith('share_') else 1.0
      metrics[_flat_name(prior, name)] = scale * float(value)
  for prior, fit in (fit_metrics or {}).items():
    for name, value in fit.items():
      metrics[f'{name}/{prior}'] = float(value)
  if views is None:  # Else no two of them have looked at the same.
    metrics.update(_cosines(answers))
  return dict(sorted(metrics.items()))


def _flat_name(prior: str, name: str) -> str:
  concept = _PER_CONCEPT.fullmatch(name)
  if concept is None:
    return f'{name}/{prior}'
  return f'{_GROUPS[concept[1]]}/{prior}/{concept[2]}'


def _shares(
  answers: Mapping[str, messages.ScoreGradient],
  views: Mapping[str, np.ndarray] | None,
) -> dict[str, float]:
  """Returns each prior's share of the summed cotangent of its channel."""
  totals = score_requests.sum_cotangents(answers, views)
  shares = {}
  for prior, answer in answers.items():
    total = totals[answer.channel].astype(np.float64)
    part = total if views is None else total[views[prior]]
    inner = np.vdot(part, answer.cotangent.astype(np.float64))
    square = np.vdot(total, total)
    shares[prior] = float(inner / square) if square else 0.0
  return shares


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
