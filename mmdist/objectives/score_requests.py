"""From an objective to requests, and from answers to one cotangent.

Owns every random choice of the scores (noise levels and seeds), so that a
request that is asked again has the same answer. What is rendered, and what the
cotangent moves, is the learner's.
"""

from collections.abc import Mapping, Sequence
import math

import numpy as np

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import names
from mmdist.core import seeds
from mmdist.core import shapes
from mmdist.objectives import binding
from mmdist.objectives import schedules


def noise_range(
  noise: schema.NoiseConfig, step: int, num_steps: int
) -> tuple[float, float]:
  """Returns the range that t is drawn from at one step.

  `fixed` keeps the maximum, `linear` and `sqrt` move it to `final_maximum`
  until the last step, `refine` has `final_maximum` from the start.

  Args:
    noise: range and schedule of t.
    step: from 0.
    num_steps: of the run.

  Raises:
    UserError: the schedule is unknown.
  """
  progress = schedules.progress_at(step, num_steps)
  shares = {
    'fixed': 0.0,
    'linear': progress,
    'sqrt': math.sqrt(progress),
    'refine': 1.0,
  }
  names.check_choice('noise.schedule', noise.schedule, schema.NOISE_SCHEDULES)
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
  """Draws [V] float32 t, one per view, the same for every prior."""
  low, high = noise_range(noise, step, num_steps)
  rng = seeds.generator(seed, step, 'noise levels')
  return rng.uniform(low, high, num_views).astype(np.float32)


def requests_for(
  objective: binding.BoundObjective,
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
  views: Mapping[str, np.ndarray] | None = None,
  first_view: int = 0,
  num_views: int = 0,
  start_images: Mapping[messages.Channel, np.ndarray] | None = None,
) -> dict[str, messages.ScoreRequest]:
  """Returns one request per prior, by name in sorted order.

  A prior that is shown none of the views is asked nothing.

  Args:
    objective: what is asked.
    images: per channel [V, H, W, 3] float32 in [0, 1].
    view_words: V words; '' leaves a view unnamed.
    step: optimisation step, from 0.
    seed: the run's.
    num_steps: of the run, for the schedule of noise levels.
    proxy_step: fits that every proxy has behind it.
    proxy_learning_rate: of the fit that follows.
    noise: range and schedule of t.
    mode: how a prior composes its concepts.
    views: which views of the step each prior looks at, as `deal_views` returns
      it; None shows every prior all of them.
    first_view: number in the step of the first of these views, from 0.
    num_views: of the step; 0: these are all of them.
    start_images: as `images`, of what the run started from; None where no prior
      compares with it, see `needs_start`.

  Raises:
    UserError: a prior looks at a channel that was not rendered, or the
      images and words are not of as many views.
  """
  for channel, image in images.items():
    shapes.check_shape(
      f"the '{channel}' images", image, (len(view_words), 'H', 'W', 3)
    )
  num_views = num_views or len(view_words)
  # For all views of the step: those of a part do not depend on the parts.
  levels = sample_noise_levels(
    noise, num_views, seed=seed, step=step, num_steps=num_steps
  )
  progress = schedules.progress_at(step, num_steps)
  requests = {}
  for prior in objective.priors:
    concepts = objective.of_prior(prior)
    own = np.arange(num_views) if views is None else views[prior]
    shown = _within(own, first_view, len(view_words))
    if not len(shown):
      continue
    words = [view_words[int(view) - first_view] for view in shown]
    requests[prior] = messages.ScoreRequest(
      step=step,
      images=_images_for(prior, concepts, images)[shown - first_view],
      terms=tuple(_term_for(concept, words, progress) for concept in concepts),
      noise_levels=levels[shown],
      # Each prior has noise of its own: with the same noise the errors of their
      # scores would point the same way and add up.
      seed=seeds.derive_seed(seed, step, f'score/{prior}'),
      proxy_step=proxy_step,
      proxy_learning_rate=proxy_learning_rate,
      mode=mode,
      first_view=int(np.searchsorted(own, shown[0])),
      num_views=len(own),
      progress=progress,
      least_noise_level=noise.minimum,
      start_images=(
        _images_for(prior, concepts, start_images)[shown - first_view]
        if start_images is not None and concepts[0].needs_start
        else None
      ),
    )
  return requests


def _within(own: np.ndarray, first: int, count: int) -> np.ndarray:
  """Returns those of the numbers that are of `count` from `first` on."""
  return own[(own >= first) & (own < first + count)]


def needs_start(objective: binding.BoundObjective) -> bool:
  """Returns whether a prior compares renders with those of the start."""
  return any(term.needs_start for term in objective.terms)


def deal_views(
  objective: binding.BoundObjective, num_views: int, step: int
) -> dict[str, np.ndarray]:
  """Deals the views of a step to the priors of each channel, in turn.

  Which prior gets which view moves on by one each step. A prior's answer is a
  mean over its views; over several steps the sum of all answers is therefore,
  on average, that of priors which look at every view.

  Args:
    objective: what is asked of whom.
    num_views: of the step.
    step: from 0.

  Returns:
    Prior -> numbers of its views, increasing.

  Raises:
    UserError: there are fewer views than priors on a channel.
  """
  views = {}
  for channel in objective.channels:
    sharing = sorted({t.prior for t in objective.terms if t.channel == channel})
    if len(sharing) > num_views:
      raise errors.UserError(
        f'views.deal shares {num_views} views among {len(sharing)} priors on '
        f"channel '{channel}'; expected views.num_views of at least "
        f'{len(sharing)}, or views.deal=False.'
      )
    numbers = np.arange(num_views)
    for place, prior in enumerate(sharing):
      views[prior] = numbers[(numbers + step) % len(sharing) == place]
  return views


def _term_for(
  concept: binding.PriorConcept, view_words: Sequence[str], progress: float
) -> messages.Term:
  return messages.Term(
    prompts=tuple(concept.prompt_of_view(word) for word in view_words),
    plain_prompt=concept.prompt,
    weight=concept.weight_at(progress),
    guidance_scale=concept.guidance_scale,
    negative_prompt=concept.negative_prompt,
    negative_scale=concept.negative_scale_at(progress),
  )


def _images_for(
  prior: str,
  concepts: Sequence[binding.PriorConcept],
  images: Mapping[messages.Channel, np.ndarray],
) -> np.ndarray:
  channels = sorted({concept.channel for concept in concepts})
  if len(channels) > 1:
    raise errors.UserError(
      f"prior '{prior}' is asked about channels {' and '.join(channels)}; "
      'expected one, since a prior looks at one kind of render.'
    )
  if channels[0] not in images:
    raise errors.UserError(
      f"prior '{prior}' looks at channel '{channels[0]}', which was not "
      f'rendered; rendered: {", ".join(images) or "nothing"}.'
    )
  return images[channels[0]]


def check_finite(answers: Mapping[str, messages.ScoreGradient]) -> None:
  """Raises NotFinite, with step, prior and concept, if an answer is not finite.

  Args:
    answers: by prior.
  """
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
    raise errors.NotFinite(
      f"prior '{prior}' answered step {answer.step} with {bad} of "
      f'{answer.cotangent.size} numbers not finite{named}; try float32 or a '
      'lower learning rate.'
    )


def sum_cotangents(
  answers: Mapping[str, messages.ScoreGradient],
  views: Mapping[str, np.ndarray] | None = None,
) -> dict[messages.Channel, np.ndarray]:
  """Sums the answers' cotangents per channel (MagicMirror, Eq. 6).

  Args:
    answers: by prior; added in the order of their names, so that the order in
      which they arrived never changes a bit.
    views: which views each prior was shown; None if all were shown all.

  Returns:
    Per channel that was asked about [V, H, W, 3] float32 dL/d image.

  Raises:
    NotFinite: an answer holds NaN or infinity.
    UserError: answers on one channel differ in shape.
  """
  check_finite(answers)
  if views is not None:
    return _sum_dealt(answers, views)
  totals = {}
  for prior in sorted(answers):
    answer = answers[prior]
    cotangent = np.asarray(answer.cotangent, np.float32)
    if answer.channel not in totals:
      totals[answer.channel] = cotangent.copy()
      continue
    total = totals[answer.channel]
    shapes.check_shape(f"the answer of prior '{prior}'", cotangent, total.shape)
    total += cotangent
  return totals


def _sum_dealt(
  answers: Mapping[str, messages.ScoreGradient],
  views: Mapping[str, np.ndarray],
) -> dict[messages.Channel, np.ndarray]:
  """Puts each answer at the views that its prior was shown, and sums."""
  num_views = 1 + max(int(numbers.max()) for numbers in views.values())
  totals: dict[messages.Channel, np.ndarray] = {}
  for prior in sorted(answers):
    answer = answers[prior]
    shape = (num_views, *answer.cotangent.shape[1:])
    total = totals.setdefault(answer.channel, np.zeros(shape, np.float32))
    total[views[prior]] += np.asarray(answer.cotangent, np.float32)
  return totals
