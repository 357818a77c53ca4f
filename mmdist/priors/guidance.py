"""The residual of each kind of guidance, from what the network predicts.

Every kind has one shape: a guided prediction minus a reference. A kind says
which predictions it is made of, as rows of texts at some noised renders; all
rows of all terms are predicted in one pass. `mmdist.core.guidance_kinds` lists
the kinds with their sources, docs/method.md, section 2, their formulas.
"""

from collections.abc import Callable, Hashable, Mapping
import dataclasses

import torch

from mmdist.core import guidance_kinds
from mmdist.core import messages
from mmdist.priors import guidance_points as points_lib
from mmdist.priors import noising
from mmdist.priors import pipeline as pipelines

_Row = points_lib.Row


def _same(text: str, like: tuple[str, ...]) -> tuple[str, ...]:
  return (text,) * len(like)


def _text(term: messages.Term, at: Hashable = points_lib.RENDERS) -> _Row:
  return _Row(term.prompts, at)


def _empty(term: messages.Term, at: Hashable = points_lib.RENDERS) -> _Row:
  """A negative text takes the empty one's place."""
  return _Row(_same(term.negative_prompt, term.prompts), at)


def _none(term: messages.Term, at: Hashable = points_lib.RENDERS) -> _Row:
  return _Row(_same('', term.prompts), at)


def _negative(term: messages.Term, points: points_lib.Points) -> _Row:
  """The negative text where it is asked, else the empty one."""
  texts = [
    '' if is_early else term.negative_prompt for is_early in points.is_early
  ]
  return _Row(tuple(texts))


def _source(term: messages.Term) -> _Row:
  texts = [
    guidance_kinds.add_source(text, term.negative_prompt)
    for text in term.prompts
  ]
  return _Row(tuple(texts))


def _start(term: messages.Term) -> _Row:
  return _Row(_same(term.negative_prompt, term.prompts), points_lib.START)


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
  points: points_lib.Points
  predicted: Mapping[_Row, torch.Tensor]
  by_proxy: Callable[[messages.Term], torch.Tensor] | None = None

  def eps(self, row: _Row) -> torch.Tensor:
    """Returns the estimate of the noise for a row."""
    at = self.points.noised[row.at]
    return noising.to_eps(self.pipeline, self.predicted[row], at)

  def guided(self, text: _Row, empty: _Row, scale: float) -> torch.Tensor:
    """Returns what the network predicts, guided; eps follows from it.

    Guidance of eps itself would give the same: for a given noisy image eps is
    an affine function of the prediction, and the factors of `empty` and `text`
    add up to 1.
    """
    if scale == 1:
      return self.predicted[text]
    without = self.predicted[empty]
    return without + scale * (self.predicted[text] - without)

  def guided_eps(self, text: _Row, empty: _Row, scale: float) -> torch.Tensor:
    """Returns the guided estimate of the noise."""
    at = self.points.noised[text.at]
    return noising.to_eps(self.pipeline, self.guided(text, empty, scale), at)

  def guided_x0(self, text: _Row, empty: _Row, scale: float) -> torch.Tensor:
    """Returns the guided estimate of the render."""
    at = self.points.noised[text.at]
    return noising.to_x0(self.pipeline, self.guided(text, empty, scale), at)


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
  others: Callable[[messages.Term, points_lib.Points], list[_Row]] = (
    lambda term, points: []
  )
  base: Callable[[messages.Term], tuple[_Row, _Row]] = lambda term: (
    _text(term),
    _empty(term),
  )
  always: bool = False


def _base_eps(term: messages.Term, seen: Seen) -> torch.Tensor:
  return seen.guided_eps(_text(term), _empty(term), term.guidance_scale)


def _sds(term: messages.Term, seen: Seen) -> torch.Tensor:
  return _base_eps(term, seen) - seen.points.noised[points_lib.RENDERS].noise


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
  return _base_eps(term, seen) - seen.eps(_text(term, points_lib.LATER))


def _bridge(term: messages.Term, seen: Seen) -> torch.Tensor:
  guided = seen.guided_eps(_text(term), _none(term), term.guidance_scale)
  return guided - seen.eps(_source(term))


def _ism(term: messages.Term, seen: Seen) -> torch.Tensor:
  if seen.points.earlier is None:
    raise ValueError('ism needs renders that were inverted')
  return _base_eps(term, seen) - seen.points.earlier


def _sdi(term: messages.Term, seen: Seen) -> torch.Tensor:
  at = points_lib.own_key(term)
  x0 = seen.guided_x0(_text(term, at), _empty(term, at), term.guidance_scale)
  return seen.points.noised[at].latents - x0


def _dds(term: messages.Term, seen: Seen) -> torch.Tensor:
  guided = seen.guided_eps(_text(term), _none(term), term.guidance_scale)
  return guided - seen.guided_eps(
    _start(term), _none(term, points_lib.START), term.guidance_scale
  )


def _own_base(term: messages.Term) -> tuple[_Row, _Row]:
  at = points_lib.own_key(term)
  return _text(term, at), _empty(term, at)


def _plain_base(
  term: messages.Term,
) -> tuple[_Row, _Row]:
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
  'asd': _Formula(_asd, lambda term, points: [_text(term, points_lib.LATER)]),
  'bridge': _Formula(
    _bridge, lambda term, points: [_source(term)], base=_plain_base
  ),
  'ism': _Formula(_ism),
  'sdi': _Formula(
    _sdi,
    base=lambda term: (
      _text(term, points_lib.own_key(term)),
      _empty(term, points_lib.own_key(term)),
    ),
  ),
  'dds': _Formula(
    _dds,
    lambda term, points: (
      [_start(term)]
      + [_none(term, points_lib.START)] * (term.guidance_scale != 1)
    ),
    base=_plain_base,
  ),
}


def rows_of(
  choice: points_lib.Choice,
  terms: list[messages.Term],
  points: points_lib.Points,
) -> list[_Row]:
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


def residual(
  choice: points_lib.Choice, term: messages.Term, seen: Seen
) -> torch.Tensor:
  """Returns [V, C, h, w] of a term: guided prediction minus reference."""
  formula = _FORMULAS[choice.objective]
  pull = formula.residual(term, seen)
  if not choice.normalise:
    return pull
  text, empty = formula.base(term)
  return pull * _inverse_distance(seen, text, empty, term.guidance_scale)


def _inverse_distance(
  seen: Seen,
  text: _Row,
  empty: _Row,
  scale: float,
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
