"""The residual of each kind of guidance, from what the network predicts.

Every kind has one shape: a guided prediction minus a reference. A kind says
which predictions it is made of, as rows of texts at some noised renders; all
rows of all terms are predicted in one pass. `mmdist.core.guidance_kinds` lists
the kinds with their sources, docs/method.md, section 2, their formulas.
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
from mmdist.priors import schedule as schedules

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
      noised[_own(term)] = _invert_with_text(
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
  return noised, _to_eps(pipeline, *seen[-1])


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
  text, empty = Row(term.prompts), _empty(term)

  def guided(noised: noising.Noised) -> torch.Tensor:
    rows = [text] if scale == 1 else [text, empty]
    known = predict(rows, {RENDERS: noised})
    if scale == 1:
      return known[text]
    return known[empty] + scale * (known[text] - known[empty])

  levels = np.linspace(0, t, guidance_kinds.SDI_STEPS + 1)[1:]
  begin = noising.start_inversion(latents)
  return noising.invert(pipeline, begin, levels, guided)


def _own(term: messages.Term) -> Hashable:
  return term.prompts, term.negative_prompt


def _to_eps(
  pipeline: pipelines.Pipeline, noise_pred: torch.Tensor, at: noising.Noised
) -> torch.Tensor:
  return schedules.noise_pred_to_eps(
    noise_pred,
    at.noisy,
    at.alpha_t,
    at.sigma_t,
    pipeline.schedule.prediction_type,
  )


def _to_x0(
  pipeline: pipelines.Pipeline, noise_pred: torch.Tensor, at: noising.Noised
) -> torch.Tensor:
  return schedules.noise_pred_to_x0(
    noise_pred,
    at.noisy,
    at.alpha_t,
    at.sigma_t,
    pipeline.schedule.prediction_type,
  )


def _same(text: str, like: tuple[str, ...]) -> tuple[str, ...]:
  return (text,) * len(like)


def _text(term: messages.Term, at: Hashable = RENDERS) -> Row:
  return Row(term.prompts, at)


def _empty(term: messages.Term, at: Hashable = RENDERS) -> Row:
  """A negative text takes the empty one's place."""
  return Row(_same(term.negative_prompt, term.prompts), at)


def _none(term: messages.Term, at: Hashable = RENDERS) -> Row:
  return Row(_same('', term.prompts), at)


def _negative(term: messages.Term, points: Points) -> Row:
  """The negative text where it is asked, else the empty one."""
  texts = [
    '' if is_early else term.negative_prompt for is_early in points.is_early
  ]
  return Row(tuple(texts))


def _source(term: messages.Term) -> Row:
  texts = [
    guidance_kinds.add_source(text, term.negative_prompt)
    for text in term.prompts
  ]
  return Row(tuple(texts))


def _start(term: messages.Term) -> Row:
  return Row(_same(term.negative_prompt, term.prompts), START)


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
  """What the network predicted for all rows of a request.

  Attributes:
    pipeline: the frozen model.
    points: the renders.
    predicted: [V, C, h, w] for each row.
    by_proxy: eps of the proxy for a term, where there is one.
  """

  pipeline: pipelines.Pipeline
  points: Points
  predicted: Mapping[Row, torch.Tensor]
  by_proxy: Callable[[messages.Term], torch.Tensor] | None = None

  def eps(self, row: Row) -> torch.Tensor:
    """Returns the estimate of the noise for a row."""
    at = self.points.noised[row.at]
    return _to_eps(self.pipeline, self.predicted[row], at)

  def guided(self, text: Row, empty: Row, scale: float) -> torch.Tensor:
    """Returns what the network predicts, guided; eps follows from it.

    Guidance of eps itself would give the same: for a given noisy image eps is
    an affine function of the prediction, and the factors of `empty` and `text`
    add up to 1.
    """
    if scale == 1:
      return self.predicted[text]
    without = self.predicted[empty]
    return without + scale * (self.predicted[text] - without)

  def guided_eps(self, text: Row, empty: Row, scale: float) -> torch.Tensor:
    """Returns the guided estimate of the noise."""
    at = self.points.noised[text.at]
    return _to_eps(self.pipeline, self.guided(text, empty, scale), at)

  def guided_x0(self, text: Row, empty: Row, scale: float) -> torch.Tensor:
    """Returns the guided estimate of the render."""
    at = self.points.noised[text.at]
    return _to_x0(self.pipeline, self.guided(text, empty, scale), at)


@dataclasses.dataclass(frozen=True)
class _Formula:
  """A kind of guidance.

  Attributes:
    others: (term, points) -> rows besides `base`'s.
    residual: (term, what was predicted) -> [V, C, h, w].
    base: term -> the text's row, and the one that it is guided away from.
    always: whether that other row is needed at a guidance scale of 1, too.
  """

  residual: Callable[[messages.Term, Seen], torch.Tensor]
  others: Callable[[messages.Term, Points], list[Row]] = lambda *_: []
  base: Callable[[messages.Term], tuple[Row, Row]] = lambda term: (
    _text(term),
    _empty(term),
  )
  always: bool = False


def _base_eps(term: messages.Term, seen: Seen) -> torch.Tensor:
  return seen.guided_eps(_text(term), _empty(term), term.guidance_scale)


def _sds(term: messages.Term, seen: Seen) -> torch.Tensor:
  return _base_eps(term, seen) - seen.points.noised[RENDERS].noise


def _vsd(term: messages.Term, seen: Seen) -> torch.Tensor:
  if seen.by_proxy is None:
    raise ValueError('vsd needs a proxy')
  return _base_eps(term, seen) - seen.by_proxy(term)


def _csd(term: messages.Term, seen: Seen) -> torch.Tensor:
  none = seen.eps(_none(term))
  pull = term.guidance_scale * (seen.eps(_text(term)) - none)
  if not term.negative_prompt:
    return pull
  return pull + term.negative_scale * (none - seen.eps(_empty(term)))


def _nfsd(term: messages.Term, seen: Seen) -> torch.Tensor:
  none = seen.eps(_none(term))
  is_early = torch.from_numpy(seen.points.is_early).to(none.device)
  bad = seen.eps(_negative(term, seen.points))
  denoising = torch.where(is_early[:, None, None, None], none, none - bad)
  return denoising + term.guidance_scale * (seen.eps(_text(term)) - none)


def _asd(term: messages.Term, seen: Seen) -> torch.Tensor:
  return _base_eps(term, seen) - seen.eps(_text(term, LATER))


def _bridge(term: messages.Term, seen: Seen) -> torch.Tensor:
  guided = seen.guided_eps(_text(term), _none(term), term.guidance_scale)
  return guided - seen.eps(_source(term))


def _ism(term: messages.Term, seen: Seen) -> torch.Tensor:
  if seen.points.earlier is None:
    raise ValueError('ism needs renders that were inverted')
  return _base_eps(term, seen) - seen.points.earlier


def _sdi(term: messages.Term, seen: Seen) -> torch.Tensor:
  at = _own(term)
  x0 = seen.guided_x0(_text(term, at), _empty(term, at), term.guidance_scale)
  return seen.points.noised[at].latents - x0


def _dds(term: messages.Term, seen: Seen) -> torch.Tensor:
  guided = seen.guided_eps(_text(term), _none(term), term.guidance_scale)
  return guided - seen.guided_eps(
    _start(term), _none(term, START), term.guidance_scale
  )


def _plain_base(term: messages.Term) -> tuple[Row, Row]:
  return _text(term), _none(term)


_FORMULAS = {
  'sds': _Formula(_sds),
  'vsd': _Formula(_vsd),
  'csd': _Formula(
    _csd,
    lambda term, points: [_empty(term)],
    base=_plain_base,
    always=True,
  ),
  'nfsd': _Formula(
    _nfsd,
    lambda term, points: [_negative(term, points)],
    base=_plain_base,
    always=True,
  ),
  'asd': _Formula(_asd, lambda term, points: [_text(term, LATER)]),
  'bridge': _Formula(
    _bridge, lambda term, points: [_source(term)], base=_plain_base
  ),
  'ism': _Formula(_ism),
  'sdi': _Formula(
    _sdi,
    base=lambda term: (_text(term, _own(term)), _empty(term, _own(term))),
  ),
  'dds': _Formula(
    _dds,
    lambda term, points: (
      [_start(term)] + [_none(term, START)] * (term.guidance_scale != 1)
    ),
    base=_plain_base,
  ),
}


def rows_of(
  choice: Choice, terms: list[messages.Term], points: Points
) -> list[Row]:
  """Returns what the network is asked: each row once.

  Texts come first and those that they are guided away from last, so that the
  batch of a kind is in the same order whatever its terms.
  """
  formula = _FORMULAS[choice.objective]
  texts, others, empties = [], [], []
  for term in terms:
    text, empty = formula.base(term)
    texts.append(text)
    others += formula.others(term, points)
    # With a guidance scale of 1, uncond + s (cond - uncond) is cond itself.
    empties += [empty] * (formula.always or term.guidance_scale != 1)
  # A dict, not a set: its order is that of the terms, in every process.
  return list(dict.fromkeys([*texts, *others, *empties]))


def residual(choice: Choice, term: messages.Term, seen: Seen) -> torch.Tensor:
  """Returns [V, C, h, w] of a term: guided prediction minus reference."""
  formula = _FORMULAS[choice.objective]
  pull = formula.residual(term, seen)
  if not choice.normalise:
    return pull
  text, empty = formula.base(term)
  return pull * _inverse_distance(seen, text, empty, term.guidance_scale)


def _inverse_distance(
  seen: Seen, text: Row, empty: Row, scale: float
) -> torch.Tensor:
  """Returns [V, 1, 1, 1] one over the mean |x - x0| of each view.

  Source: DMD2, arXiv 2405.14867. A view that is as the network would have it
  has nothing to divide, and gets 0.
  """
  at = seen.points.noised[text.at]
  off = (1, 2, 3)
  if seen.pipeline.schedule.prediction_type == 'epsilon':
    # x - x0 is sigma_t / alpha_t (eps - noise), which alpha_t = 0 makes
    # infinite; one over it is not.
    eps = seen.guided_eps(text, empty, scale)
    distance = at.sigma_t * (eps - at.noise).abs().mean(off, keepdim=True)
    share = at.alpha_t
  else:
    x0 = seen.guided_x0(text, empty, scale)
    distance = (at.latents - x0).abs().mean(off, keepdim=True)
    share = torch.ones_like(distance)
  return torch.where(distance > 0, share / distance, 0.0)
