"""From an objective to one request per prior, and from answers to one pull.

Owns every random choice of the scores (noise levels and seeds), so that a
request asked again is answered again alike. What the renders are and what is
done with the pull is the learner's.
"""

from collections.abc import Mapping, Sequence
import math

import numpy as np

from mmdist.config import schema
from mmdist.core import messages
from mmdist.core import names
from mmdist.core import seeds
from mmdist.core import shapes
from mmdist.objectives import concept as concept_lib


class NonFiniteAnswer(ArithmeticError):
  """A prior answered with NaN or infinity (method.md O23)."""


def noise_range(
  noise: schema.NoiseConfig, step: int, num_steps: int
) -> tuple[float, float]:
  """Returns the range that t is drawn from at one step (method.md O16).

  `fixed` keeps the maximum, `linear` and `sqrt` anneal it to `final_maximum`
  at the last step, `refine` has `final_maximum` from the start.
  """
  progress = min(step / max(num_steps - 1, 1), 1.0)
  shares = {
    'fixed': 0.0,
    'linear': progress,
    'sqrt': math.sqrt(progress),
    'refine': 1.0,
  }
  names.check_choice('noise.schedule', noise.schedule, shares)
  share = shares[noise.schedule]
  return noise.minimum, (
    noise.maximum + share * (noise.final_maximum - noise.maximum)
  )


def sample_noise_levels(
  noise: schema.NoiseConfig,
  num_views: int,
  *,
  seed: int,
  step: int,
  num_steps: int,
) -> np.ndarray:
  """Draws [V] float32 t, one per view, the same for every prior (O16)."""
  low, high = noise_range(noise, step, num_steps)
  rng = seeds.generator(seed, step, 'noise levels')
  return rng.uniform(low, high, num_views).astype(np.float32)


def requests_for(
  objective: concept_lib.ComposedObjective,
  images: Mapping[messages.Channel, np.ndarray],
  view_words: Sequence[str],
  *,
  step: int,
  seed: int,
  num_steps: int,
  proxy_step: int,
  proxy_learning_rate: float,
  noise: schema.NoiseConfig,
  mode: str = 'sum',
) -> dict[str, messages.ScoreRequest]:
  """Returns one request per prior, by name in sorted order.

  Args:
    objective: what is asked.
    images: per channel [V, H, W, 3] float32 in [0, 1].
    view_words: V words; '' leaves a view unnamed.
    step: optimisation step, from 0.
    seed: the run's.
    num_steps: of the run, for the schedule of noise levels.
    proxy_step: fits that every proxy has behind it.
    proxy_learning_rate: of the fit that follows (method.md O17).
    noise: range and schedule of t.
    mode: how a prior composes its concepts (O21).

  Raises:
    ValueError: a prior looks at a channel that was not rendered, or the
      images and words are not of as many views.
  """
  for channel, image in images.items():
    shapes.check_shape(
      f"the '{channel}' images", image, (len(view_words), 'H', 'W', 3)
    )
  levels = sample_noise_levels(
    noise, len(view_words), seed=seed, step=step, num_steps=num_steps
  )
  requests = {}
  for prior in objective.priors:
    terms = objective.of_prior(prior)
    requests[prior] = messages.ScoreRequest(
      step=step,
      images=_images_for(prior, terms, images),
      prompts=tuple(
        tuple(term.prompt_of_view(word) for word in view_words)
        for term in terms
      ),
      plain_prompts=tuple(term.prompt for term in terms),
      weights=tuple(float(term.weight) for term in terms),
      guidance_scales=tuple(term.guidance_scale for term in terms),
      noise_levels=levels,
      # Each prior has its own noise: shared noise would make their errors
      # pull the same way.
      seed=seeds.derive_seed(seed, step, f'score/{prior}'),
      proxy_step=proxy_step,
      proxy_learning_rate=proxy_learning_rate,
      mode=mode,
    )
  return requests


def _images_for(prior, terms, images) -> np.ndarray:
  channels = sorted({term.channel for term in terms})
  if len(channels) > 1:
    raise ValueError(
      f"prior '{prior}' is asked about channels {' and '.join(channels)}; "
      'expected one, since a prior looks at one kind of render.'
    )
  if channels[0] not in images:
    raise ValueError(
      f"prior '{prior}' looks at channel '{channels[0]}', which was not "
      f'rendered; rendered: {", ".join(images) or "nothing"}.'
    )
  return images[channels[0]]


def check_finite(answers: Mapping[str, messages.ScoreGradient]) -> None:
  """Raises NonFiniteAnswer naming step, prior and concept (O23)."""
  for prior in sorted(answers):
    answer = answers[prior]
    bad = int(np.sum(~np.isfinite(answer.cotangent)))
    if not bad:
      continue
    norms = {k: v for k, v in answer.metrics.items() if k.startswith('norm_')}
    concepts = [
      k[len('norm_') :] for k, v in norms.items() if not math.isfinite(v)
    ]
    named = f'; concept {", ".join(concepts)}' if concepts else ''
    raise NonFiniteAnswer(
      f"prior '{prior}' answered step {answer.step} with {bad} of "
      f'{answer.cotangent.size} numbers not finite{named}; try float32 or a '
      'lower learning rate.'
    )


def sum_cotangents(
  answers: Mapping[str, messages.ScoreGradient],
) -> dict[messages.Channel, np.ndarray]:
  """Sums the answers' pulls per channel (method.md O6).

  Args:
    answers: by prior; added in the order of their names, so that the order in
      which they arrived never changes a bit.

  Returns:
    Per channel that was asked about [V, H, W, 3] float32 dL/d image.

  Raises:
    NonFiniteAnswer: an answer holds NaN or infinity (O23).
    ValueError: answers on one channel differ in shape.
  """
  check_finite(answers)
  totals = {}
  for prior in sorted(answers):
    answer = answers[prior]
    pull = np.asarray(answer.cotangent, np.float32)
    if answer.channel not in totals:
      totals[answer.channel] = pull.copy()
      continue
    total = totals[answer.channel]
    shapes.check_shape(f"the answer of prior '{prior}'", pull, total.shape)
    total += pull
  return totals
