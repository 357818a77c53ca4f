"""What a proxy is fitted on: renders of a step, noised and named anew."""

from collections.abc import Sequence

import numpy as np

from mmdist.core import messages
from mmdist.core import seeds
from mmdist.priors import noising
from mmdist.priors import pipeline as pipelines

# Share of the views fitted with the empty text, so that the proxy can be
# guided at any step: guidance needs its unconditional prediction.
EMPTY_TEXT_SHARE = 0.1


def draw_fit(
  pipeline: pipelines.Pipeline,
  shown: noising.Noised,
  request: messages.ScoreRequest,
  plain: Sequence[str],
  label: str = '',
) -> tuple[noising.Noised, list[str]]:
  """Draws a fit's own t ~ U(0, 1), noise and one text per view.

  Each view gets one concept's text without view words, whatever its weight,
  or now and then the empty one. All of it follows from the request's seed, so
  that a fit that is done again, after its actor was lost, gives the same proxy.

  Args:
    pipeline: the frozen model.
    shown: the renders of the step that was scored.
    request: one of those that were answered.
    plain: the concepts' texts without view words, sorted.
    label: of the proxy among those of one prior; each has draws of its own.

  Returns:
    The latents that were scored, with new noise, and V texts.
  """
  num_views = len(shown.timestep)
  # The order of the draws below is part of a run: another one changes its bits.
  purpose = f'proxy fit/{label}' if label else 'proxy fit'
  rng = seeds.generator(request.seed, request.step, purpose)
  t = rng.uniform(size=num_views)
  concepts = rng.integers(len(plain), size=num_views)
  empty = rng.uniform(size=num_views) < EMPTY_TEXT_SHARE
  noise = rng.standard_normal(shown.latents.shape, dtype=np.float32)
  texts = [
    '' if blank else plain[concept]
    for concept, blank in zip(concepts, empty, strict=True)
  ]
  return noising.add_noise(pipeline, shown.latents, noise, t), texts
