"""The noised renders that a kind of guidance looks at, and texts about them.

`guidance` has what is made of the network's predictions for these.
"""

from collections.abc import Callable, Hashable, Mapping
import dataclasses

import numpy as np
import torch

from mmdist.core import errors
from mmdist.core import guidance_kinds
from mmdist.core import messages
from mmdist.core import seeds
from mmdist.priors import noising
from mmdist.priors import pipeline as pipelines

# Which noised renders a row of texts is about. Where each term leads the
# renders up itself, its key stands for those.
RENDERS, LATER, START = 'renders', 'later', 'start'


@dataclasses.dataclass(frozen=True)
class Row:
  """V texts about V noised renders.

  Attributes:
    texts: one per view.
    at: which renders; a key of `Points.noised`.
  """

  texts: tuple[str, ...]
  at: Hashable = RENDERS


@dataclasses.dataclass(frozen=True)
class Choice:
  """A kind of guidance with its settings; see `messages.PriorOptions`."""

  objective: str = 'sds'
  noising: str = ''
  normalise: bool = False
  first_stage: float = 0.5
  inversion_guidance_scale: float = -6.5

  @classmethod
  def of(cls, options: messages.PriorOptions) -> 'Choice':
    """Returns the choice that a prior's options make."""
    names = [field.name for field in dataclasses.fields(cls)]
    return cls(**{name: getattr(options, name) for name in names})

  @property
  def is_inverted(self) -> bool:
    """Whether renders are led up by DDIM inversion."""
    return guidance_kinds.is_inverted(self)

  def at(
    self, progress: float, terms: list[messages.Term]
  ) -> tuple['Choice', list[messages.Term]]:
    """Returns choice and terms at a progress in [0, 1] of the run."""
    if self.objective != 'bridge' or progress >= self.first_stage:
      return self, terms
    # The first stage of a bridge knows no source words yet.
    return dataclasses.replace(self, objective='sds'), [
      dataclasses.replace(term, negative_prompt='') for term in terms
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
  """The noised renders that rows of texts can be about.

  Attributes:
    noised: by the rows' `at`.
    earlier: [V, C, h, w] eps without text, one step of inversion before
      `RENDERS`; None where these were not inverted.
    is_early: [V] whether t is so low that a prediction only denoises.
  """

  noised: Mapping[Hashable, noising.Noised]
  earlier: torch.Tensor | None
  is_early: np.ndarray


# Predicts [V, C, h, w] for every row, in one pass.
Predict = Callable[
  [list[Row], Mapping[Hashable, noising.Noised]], Mapping[Row, torch.Tensor]
]


def find_points(
  pipeline: pipelines.Pipeline,
  choice: Choice,
  request: messages.ScoreRequest,
  terms: list[messages.Term],
  latents: torch.Tensor,
  start: torch.Tensor | None,
  predict: Predict,
) -> Points:
  """Noises renders as a kind of guidance has it.

  Args:
    pipeline: the frozen model.
    choice: of the kind.
    request: asks; its seed is the only source of randomness.
    terms: its terms.
    latents: [V, C, h, w] the renders, clean.
    start: those of the start, where `dds` compares with them.
    predict: for renders that are led up step by step.
  """
  # Of all views of the step: those of a part have the noise that they would
  # have in the whole.
  t, num_views = request.noise_levels, request.num_views_of_step
  rng = seeds.generator(request.seed, request.step, 'score noise')
  shape = (num_views, *latents.shape[1:])
  noise = rng.standard_normal(shape, dtype=np.float32)[request.rows]
  noised: dict[Hashable, noising.Noised] = {
    RENDERS: noising.add_noise(pipeline, latents, noise, t)
  }
  earlier = None
  if choice.objective == 'sdi':
    for term in terms:
      noised[own_key(term)] = _invert_with_text(
        pipeline, choice, term, t, latents, predict
      )
  elif choice.is_inverted:
    noised[RENDERS], earlier = _invert(pipeline, t, latents, predict)
  if choice.objective == 'asd':
    rng = seeds.generator(request.seed, request.step, 'later times')
    shares = rng.uniform(size=num_views)[request.rows]
    above = np.maximum(t - request.least_noise_level, 0)
    later = np.minimum(t + guidance_kinds.ASD_SHIFT * above * shares, 1)
    noise = noised[RENDERS].noise.cpu().numpy()
    noised[LATER] = noising.add_noise(pipeline, latents, noise, later)
  if choice.objective == 'dds':
    if start is None:
      raise errors.UserError(
        'dds compares with renders of the start, and the request has none; '
        'expected start_images.'
      )
    noised[START] = noising.add_noise(pipeline, start, noise, t)
  is_early = np.asarray(t) < guidance_kinds.NFSD_CLEAN_T
  return Points(noised, earlier, is_early)


def _invert(
  pipeline: pipelines.Pipeline,
  t: np.ndarray,
  latents: torch.Tensor,
  predict: Predict,
) -> tuple[noising.Noised, torch.Tensor]:
  """Returns renders at t, and eps without text at the step before it."""
  before = np.maximum(t - guidance_kinds.INVERSION_GAP, 0)
  levels = np.linspace(0, before, guidance_kinds.INVERSION_STEPS + 1)[1:]
  row = Row(('',) * len(t))
  seen = []

  def without_text(noised: noising.Noised) -> torch.Tensor:
    seen.append((predict([row], {RENDERS: noised})[row], noised))
    return seen[-1][0]

  begin = noising.start_inversion(latents)
  noised = noising.invert(pipeline, begin, np.stack([*levels, t]), without_text)
  # The last step began at the earlier time.
  noise_pred, at = seen[-1]
  return noised, noising.to_eps(pipeline, noise_pred, at)


def _invert_with_text(
  pipeline: pipelines.Pipeline,
  choice: Choice,
  term: messages.Term,
  t: np.ndarray,
  latents: torch.Tensor,
  predict: Predict,
) -> noising.Noised:
  """Returns renders at t, led there by the guided prediction of a text."""
  scale = choice.inversion_guidance_scale
  text = Row(term.prompts)
  empty = Row((term.negative_prompt,) * len(t))

  def guided(noised: noising.Noised) -> torch.Tensor:
    rows = [text] if scale == 1 else [text, empty]
    known = predict(rows, {RENDERS: noised})
    if scale == 1:
      return known[text]
    return known[empty] + scale * (known[text] - known[empty])

  levels = np.linspace(0, t, guidance_kinds.SDI_STEPS + 1)[1:]
  begin = noising.start_inversion(latents)
  return noising.invert(pipeline, begin, levels, guided)


def own_key(term: messages.Term) -> Hashable:
  """Returns what stands for the renders that a term leads up itself."""
  return term.prompts, term.negative_prompt
