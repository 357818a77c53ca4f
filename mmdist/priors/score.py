"""What a frozen model would change about renders, minus what its proxy would.

Owns w(t), composition (docs/method.md, section 2) and the way back from latents
to pixels; `guidance` has what each kind of guidance compares. An answer follows
from the request and the proxy alone.

A residual is a guided prediction minus a reference, in the network's space;
a cotangent is dL/d image, which the learner is answered with.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
import dataclasses
import functools
import itertools
import math

import numpy as np
import torch

from mmdist.core import composition
from mmdist.core import messages
from mmdist.priors import concept_proxies
from mmdist.priors import cuda_graphs
from mmdist.priors import guidance
from mmdist.priors import guidance_points
from mmdist.priors import noising
from mmdist.priors import pipeline as pipelines
from mmdist.priors import proxy as proxies
from mmdist.priors import schedule as schedules
from mmdist.priors import term_sizes


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
  """What a score is made of, before it is packed into a message.

  Attributes:
    cotangent: [V, H, W, 3] float32 dL/d image.
    sizes: of each term of the request, in its order.
    noised: what the networks were shown.
    broken: which terms of the request the networks answered with numbers that
      are not finite. Looked for only where the cotangent is not finite either.
  """

  cotangent: np.ndarray
  sizes: term_sizes.Sizes
  noised: noising.Noised
  broken: tuple[int, ...] = ()

  @property
  def metrics(self) -> dict[str, float]:
    """Of this request alone; see `term_sizes.Sizes.metrics`."""
    return self.sizes.metrics()


def canonical(terms: Sequence[messages.Term]) -> list[messages.Term]:
  """Sorts terms, so that the order of concepts never changes a bit.

  Floating-point addition depends on its order, and so do the rows of a batch.
  Terms that differ in weight alone become one: a concept minus itself is then
  exactly zero in every mode, however the passes round.
  """
  weights: dict[messages.Term, list[float]] = {}
  for term in sorted(terms, key=_sort_key):
    weights.setdefault(_question(term), []).append(term.weight)
  return [
    # Exactly rounded, so that 0.1 + 0.2 - 0.3 leaves no rounding behind.
    dataclasses.replace(term, weight=math.fsum(parts))
    for term, parts in weights.items()
  ]


def _sort_key(term: messages.Term) -> tuple:
  # The weight comes last, so that terms with the same question are neighbours.
  # Another order would give other bits to runs that have begun.
  return (
    term.prompts,
    term.plain_prompt,
    term.guidance_scale,
    term.negative_prompt,
    term.negative_scale,
    term.weight,
  )


def _question(term: messages.Term) -> messages.Term:
  """Returns the term without its weight: what the networks are asked."""
  return dataclasses.replace(term, weight=0.0)


def score(
  pipeline: pipelines.Pipeline,
  proxy: proxies.Proxy | concept_proxies.ConceptProxies | None,
  request: messages.ScoreRequest,
  weighting: str = 'sigma2',
  proxy_guidance_scale: float = 1.0,
  choice: guidance_points.Choice | None = None,
) -> Answer:
  """Answers a request.

  Args:
    pipeline: the frozen model.
    proxy: its proxy, or that of each concept (VSD); or None.
    request: images of any size; terms, t and the seed of the noise.
    weighting: a key of `schedules.WEIGHTINGS`.
    proxy_guidance_scale: 1 runs no unconditional pass of the proxy.
    choice: the kind of guidance; None is VSD, or SDS without a proxy.

  Raises:
    UserError: a prompt is too long or has unknown words.
  """
  choice = choice or guidance_points.Choice('sds' if proxy is None else 'vsd')
  images = torch.tensor(np.asarray(request.images, np.float32))
  images.requires_grad_(True)
  # Only the way from pixels to latents is differentiated. The networks are
  # not: the residual stands in for the gradient of a loss on the latents, and
  # the Jacobian of the network is left out, as in SDS and VSD.
  with torch.enable_grad():
    encoded = pipelines.encode_images(pipeline, images)
  terms = canonical(request.terms)
  choice, asked = choice.at(request.progress, terms)
  with torch.no_grad():
    # The request's seed is the only source of randomness, so a request that is
    # asked again is answered with the same bits.
    points = guidance_points.find_points(
      pipeline,
      choice,
      request,
      asked,
      encoded.detach(),
      _start_latents(pipeline, request),
      functools.partial(_predict, pipeline, recordings=pipeline.recordings),
    )
    noised = points.noised[guidance_points.RENDERS]
    seen = _look(pipeline, proxy, points, asked, proxy_guidance_scale, choice)
    residuals = torch.stack(
      [guidance.residual(choice, term, seen) for term in asked]
    )
    # Before the composition, whose 'renorm' gives every view the same size,
    # whatever its t.
    weigh = schedules.WEIGHTINGS[weighting]
    residuals = residuals * weigh(noised.alpha_t, noised.sigma_t)
    weights = [term.weight for term in terms]
    parts = composition.transform(residuals, weights, request.mode)
    total = composition.add(parts, weights, request.mode)
  # A mean over views, pixels and channels, in the network's space. The sum of
  # all terms goes back through the encoder once, whatever their number.
  (cotangent,) = torch.autograd.grad(encoded, images, total / total.numel())
  is_sound = bool(cotangent.isfinite().all())
  return Answer(
    cotangent=cotangent.numpy(),
    sizes=term_sizes.measure(
      weights=[term.weight for term in request.terms],
      parts=_of_asked(request.terms, terms, parts),
      total=total,
    ),
    noised=noised,
    broken=() if is_sound else _broken(request.terms, terms, residuals),
  )


def _start_latents(
  pipeline: pipelines.Pipeline, request: messages.ScoreRequest
) -> torch.Tensor | None:
  if request.start_images is None:
    return None
  images = torch.tensor(np.asarray(request.start_images, np.float32))
  return pipelines.encode_images(pipeline, images)


def _broken(
  asked: Sequence[messages.Term],
  terms: Sequence[messages.Term],
  residuals: torch.Tensor,
) -> tuple[int, ...]:
  """Returns which of the asked terms have a residual that is not finite.

  Args:
    asked: the request's terms, in its order.
    terms: the canonical ones, in the order of the residuals.
    residuals: [M, V, C, h, w], not yet composed.
  """
  return tuple(
    index
    for index, residual in enumerate(_of_asked(asked, terms, residuals))
    if not residual.isfinite().all()
  )


def _of_asked(
  asked: Sequence[messages.Term],
  terms: Sequence[messages.Term],
  residuals: Iterable[torch.Tensor],
) -> list[torch.Tensor]:
  """Returns the residual of each asked term, given those of the canonical.

  Terms that were merged have one residual.
  """
  residual_of = dict(zip(map(_question, terms), residuals, strict=True))
  return [residual_of[_question(term)] for term in asked]


def _look(
  pipeline: pipelines.Pipeline,
  proxy: proxies.Proxy | concept_proxies.ConceptProxies | None,
  points: guidance_points.Points,
  terms: Sequence[messages.Term],
  proxy_guidance_scale: float,
  choice: guidance_points.Choice,
) -> guidance.Seen:
  """Asks the networks for all that the terms' residuals are made of.

  Terms that share their texts share their passes.
  """
  rows = guidance.rows_of(choice, list(terms), points)
  noised = points.noised
  if choice.objective != 'vsd' or proxy is None:
    predicted = _predict(pipeline, rows, noised, recordings=pipeline.recordings)
    return guidance.Seen(pipeline, points, predicted)
  # VSD: the reference is the proxy's prediction. The proxy reads the texts
  # without view words, since it has learned all views under one text.
  # Texts by the proxy that has learned them: one proxy for all, or one each.
  learned: dict[proxies.Proxy, list[guidance_points.Row]] = {}
  for term in terms:
    own = learned.setdefault(proxy.of(term.plain_prompt), [])
    own.append(_plain(term, term.plain_prompt))
  for one, own in learned.items():
    is_guided = proxy_guidance_scale != 1
    empties = [_plain(terms[0], '')] * is_guided
    learned[one] = [*dict.fromkeys(own), *empties]
  if pipeline.memory.batched:
    predicted, by_proxies = _predict_mixed(pipeline, rows, noised, learned)
  else:
    # The adapters are off outside of `active`, so this is the frozen base.
    predicted = _predict(pipeline, rows, noised, recordings=pipeline.recordings)
    by_proxies = {}
    for one, own in learned.items():
      with one.active():
        by_proxies[one] = _predict(
          pipeline, own, noised, recordings=one.recordings
        )
  known: dict[str, torch.Tensor] = {}

  def by_proxy(term: messages.Term) -> torch.Tensor:
    text = term.plain_prompt
    if text not in known:
      there = guidance.Seen(pipeline, points, by_proxies[proxy.of(text)])
      known[text] = there.guided_eps(
        _plain(term, text), _plain(term, ''), proxy_guidance_scale
      )
    return known[text]

  return guidance.Seen(pipeline, points, predicted, by_proxy)


def _plain(term: messages.Term, text: str) -> guidance_points.Row:
  return guidance_points.Row((text,) * len(term.prompts))


def _predict(
  pipeline: pipelines.Pipeline,
  rows: Sequence[guidance_points.Row],
  noised: Mapping[Hashable, noising.Noised],
  recordings: cuda_graphs.Recordings | None = None,
) -> dict[guidance_points.Row, torch.Tensor]:
  """Predicts every row in one pass; [V, C, h, w] for each."""
  found = _predict_rows(pipeline, rows, noised, recordings)
  return dict(zip(rows, found, strict=True))


def _predict_rows(
  pipeline: pipelines.Pipeline,
  rows: Sequence[guidance_points.Row],
  noised: Mapping[Hashable, noising.Noised],
  recordings: cuda_graphs.Recordings | None = None,
) -> Sequence[torch.Tensor]:
  # The batch holds all views under the first row's texts, then all views under
  # the second row's, and so on.
  noise_preds = pipelines.predict(
    pipeline,
    torch.cat([noised[row.at].noisy for row in rows]),
    torch.cat([noised[row.at].timestep for row in rows]),
    pipeline.text.encode([text for row in rows for text in row.texts]),
    recordings,
  )
  return noise_preds.split(len(rows[0].texts))


def _predict_mixed(
  pipeline: pipelines.Pipeline,
  base: Sequence[guidance_points.Row],
  noised: Mapping[Hashable, noising.Noised],
  learned: Mapping[proxies.Proxy, Sequence[guidance_points.Row]],
) -> tuple[
  dict[guidance_points.Row, torch.Tensor],
  dict[proxies.Proxy, dict[guidance_points.Row, torch.Tensor]],
]:
  """Predicts base and proxies in one pass of mixed adapters.

  The numbers are those of separate passes up to rounding. One pass has fewer
  and larger kernels, which a GPU runs faster.
  """
  num_views = len(base[0].texts)
  # An adapter per row of texts, and below one per image: the base first, then
  # each proxy.
  adapters: list[str | None] = [None] * len(base)
  for proxy, own in learned.items():
    adapters += [proxy.adapter] * len(own)
  rows = [*base, *itertools.chain(*learned.values())]
  # Any proxy will do: which adapters a row has is said by their names.
  one, *_ = learned
  with one.mixed([name for name in adapters for _ in range(num_views)]):
    found = iter(_predict_rows(pipeline, rows, noised))
  of_base = dict(zip(base, found, strict=False))
  return of_base, {
    proxy: dict(zip(own, found, strict=False)) for proxy, own in learned.items()
  }
