"""Answers to the parts of a step, and the answers to the step they make up.

An answer is a mean over the views of its request. In the step it counts for as
many of its prior's views as the request holds.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from mmdist.core import messages

Answers = Mapping[str, messages.ScoreGradient]


def weigh(
  answers: Answers, requests: Mapping[str, messages.ScoreRequest]
) -> dict[str, messages.ScoreGradient]:
  """Returns the answers to a part as parts of a mean over the step's views.

  Args:
    answers: by prior.
    requests: what was asked, by prior.
  """
  return {
    prior: _scale(answer, requests[prior]) for prior, answer in answers.items()
  }


def _scale(
  answer: messages.ScoreGradient, request: messages.ScoreRequest
) -> messages.ScoreGradient:
  num_views, of_step = len(request.images), request.num_views_of_step
  if num_views == of_step:
    return answer
  share = np.float32(num_views / of_step)
  return dataclasses.replace(answer, cotangent=share * answer.cotangent)


def views_of_part(
  views: Mapping[str, np.ndarray] | None, first_view: int, num_views: int
) -> dict[str, np.ndarray] | None:
  """Returns which views of a part each prior was shown, of those shown any.

  Args:
    views: by prior, numbers in the step; None shows every prior all of them.
    first_view: of the part, in the step.
    num_views: of the part.

  Returns:
    By prior, numbers in the part; None where `views` is.
  """
  if views is None:
    return None
  shown = {
    prior: own[(own >= first_view) & (own < first_view + num_views)]
    for prior, own in views.items()
  }
  return {prior: own - first_view for prior, own in shown.items() if len(own)}


def join(parts: Sequence[Answers]) -> dict[str, messages.ScoreGradient]:
  """Returns each prior's answer to the step, from its weighed parts in order.

  Its metrics are those of its last part, which are of all parts.
  """
  of_prior: dict[str, list[messages.ScoreGradient]] = {}
  for answers in parts:
    for prior, answer in answers.items():
      of_prior.setdefault(prior, []).append(answer)
  return {
    prior: dataclasses.replace(
      own[-1], cotangent=np.concatenate([one.cotangent for one in own])
    )
    if len(own) > 1
    else own[0]
    for prior, own in sorted(of_prior.items())
  }
