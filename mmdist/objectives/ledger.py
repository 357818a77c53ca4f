"""How large each prior's answer was in a step, and how far they agree.

Norms are of dL/d image, as the priors report them; 'generic/0' is concept 0 of
prior 'generic', in the order of `BoundObjective.of_prior`.
"""

from collections.abc import Mapping
import re

import numpy as np

from mmdist.core import messages

_PER_CONCEPT = re.compile(r'(norm|cosine)_(\d+)')
_GROUPS = {'norm': 'cotangent_norm', 'cosine': 'cosine'}


def step_metrics(
  answers: Mapping[str, messages.ScoreGradient],
  fit_metrics: Mapping[str, Mapping[str, float]] | None = None,
) -> dict[str, float]:
  """Returns one step's scalars by flat name, sorted.

  `cotangent_norm/normal` is the norm of a prior's whole answer,
  `cotangent_norm/generic/0` that of a concept's part as the prior reports it,
  `cosine/generic/0` its cosine with the sum, `cosine/generic~personal` the one
  between two priors on the same channel. Whatever else a prior reports becomes
  `proxy_loss/generic` and so on.

  Args:
    answers: by prior.
    fit_metrics: by prior; of the fits that have finished, which are those of
      the step before.
  """
  metrics = {}
  for prior, answer in answers.items():
    norm = np.linalg.norm(answer.cotangent)
    metrics[f'cotangent_norm/{prior}'] = float(norm)
    for name, value in answer.metrics.items():
      metrics[_flat_name(prior, name)] = float(value)
  for prior, fit in (fit_metrics or {}).items():
    for name, value in fit.items():
      metrics[f'{name}/{prior}'] = float(value)
  metrics.update(_cosines(answers))
  return dict(sorted(metrics.items()))


def _flat_name(prior: str, name: str) -> str:
  concept = _PER_CONCEPT.fullmatch(name)
  if concept is None:
    return f'{name}/{prior}'
  return f'{_GROUPS[concept[1]]}/{prior}/{concept[2]}'


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
