"""What a frozen model would change about renders, minus what its proxy would.

Owns SDS, VSD, guidance, w(t), composition (docs/method.md, section 2) and the
way back from latents to pixels. An answer follows from the request and the
proxy alone.

A residual is a guided prediction minus a reference, in the network's space;
a cotangent is dL/d image, which the learner is answered with.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import itertools
import math

import numpy as np
import torch

from mmdist.core import composition
from mmdist.core import messages
from mmdist.core import seeds
from mmdist.priors import concept_proxies
from mmdist.priors import cuda_graphs
from mmdist.priors import pipeline as pipelines
from mmdist.priors import proxy as proxies
from mmdist.priors import schedule as schedules
from mmdist.priors import term_sizes


@dataclasses.dataclass(frozen=True, eq=False)
class Noised:
  """Renders in the network's space, noised.

  Attributes:
    latents: [V, C, h, w] clean, without gradient.
    noise: as latents.
    timestep: [V] int64.
    alpha_t: [V, 1, 1, 1] share of the latents.
    sigma_t: [V, 1, 1, 1] share of the noise.
    noisy: alpha_t latents + sigma_t noise.
  """

  latents: torch.Tensor
  noise: torch.Tensor
  timestep: torch.Tensor
  alpha_t: torch.Tensor
  sigma_t: torch.Tensor
  noisy: torch.Tensor


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
  noised: Noised
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
  return term.prompts, term.plain_prompt, term.guidance_scale, term.weight


def _question(term: messages.Term) -> messages.Term:
  """Returns the term without its weight: what the networks are asked."""
  return dataclasses.replace(term, weight=0.0)


def add_noise(
  pipeline: pipelines.Pipeline,
  latents: torch.Tensor,
  noise: np.ndarray,
  t: np.ndarray,
) -> Noised:
  """Noises latents to t [V] in [0, 1] with noise drawn by numpy.

  Numpy draws it, so that it is the same on every device: torch's generators
  differ between CPU and CUDA.
  """
  added = torch.from_numpy(noise).to(latents)
  timestep = schedules.t_to_timestep(pipeline.schedule, t).to(latents.device)
  alpha_t, sigma_t = schedules.coefficients(pipeline.schedule, timestep)
  noisy = schedules.add_noise(latents, added, alpha_t, sigma_t)
  return Noised(latents, added, timestep, alpha_t, sigma_t, noisy)


def score(
  pipeline: pipelines.Pipeline,
  proxy: proxies.Proxy | concept_proxies.ConceptProxies | None,
  request: messages.ScoreRequest,
  weighting: str = 'sigma2',
  proxy_guidance_scale: float = 1.0,
) -> Answer:
  """Answers a request.

  Args:
    pipeline: the frozen model.
    proxy: its proxy, or that of each concept (VSD); or None (SDS).
    request: images of any size; terms, t and the seed of the noise.
    weighting: a key of `schedules.WEIGHTINGS`.
    proxy_guidance_scale: 1 runs no unconditional pass of the proxy.

  Raises:
    UserError: a prompt is too long or has unknown words.
  """
  images = torch.tensor(np.asarray(request.images, np.float32))
  images.requires_grad_(True)
  # Only the way from pixels to latents is differentiated. The networks are
  # not: the residual stands in for the gradient of a loss on the latents, and
  # the Jacobian of the network is left out, as in SDS and VSD.
  with torch.enable_grad():
    encoded = pipelines.encode_images(pipeline, images)
  latents = encoded.detach()
  # The request's seed is the only source of randomness, so a request that is
  # asked again is answered with the same bits.
  rng = seeds.generator(request.seed, request.step, 'score noise')
  # Of all views of the step: those of a part have the noise that they would
  # have in the whole.
  shape = (request.num_views_of_step, *latents.shape[1:])
  noise = rng.standard_normal(shape, dtype=np.float32)[request.rows]
  noised = add_noise(pipeline, latents, noise, request.noise_levels)
  terms = canonical(request.terms)
  with torch.no_grad():
    residuals = _residuals(pipeline, proxy, noised, terms, proxy_guidance_scale)
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


def _residuals(
  pipeline: pipelines.Pipeline,
  proxy: proxies.Proxy | concept_proxies.ConceptProxies | None,
  noised: Noised,
  terms: Sequence[messages.Term],
  proxy_guidance_scale: float,
) -> torch.Tensor:
  """Returns [M, V, C, h, w]: eps of the base minus that of its reference.

  The reference is the proxy (VSD) or the noise (SDS). Terms that share their
  texts share their passes.
  """
  num_views = len(noised.timestep)
  base = _plan((t.prompts, t.guidance_scale) for t in terms)
  if proxy is None:
    # SDS: the reference is the noise itself.
    of_base = _predict(pipeline, noised, base, recordings=pipeline.recordings)
    guided = _guide(pipeline, noised, base, of_base)
    return torch.stack(
      [guided[t.prompts, t.guidance_scale] - noised.noise for t in terms]
    )
  # VSD: the reference is the proxy's prediction. The proxy reads the texts
  # without view words, since it has learned all views under one text.
  # Texts by the proxy that has learned them: one proxy for all, or one each.
  asked: dict[proxies.Proxy, list[str]] = {}
  for term in terms:
    asked.setdefault(proxy.of(term.plain_prompt), []).append(term.plain_prompt)
  learned = {
    one: _plan(((text,) * num_views, proxy_guidance_scale) for text in texts)
    for one, texts in asked.items()
  }
  if pipeline.memory.batched:
    of_base, of_proxies = _predict_mixed(pipeline, noised, base, learned)
  else:
    # The adapters are off outside of `active`, so this is the frozen base.
    of_base = _predict(pipeline, noised, base, recordings=pipeline.recordings)
    of_proxies = {}
    for one, plan in learned.items():
      with one.active():
        of_proxies[one] = _predict(
          pipeline, noised, plan, recordings=one.recordings
        )
  guided = _guide(pipeline, noised, base, of_base)
  known: dict[tuple[tuple[str, ...], float], torch.Tensor] = {}
  for one, plan in learned.items():
    known |= _guide(pipeline, noised, plan, of_proxies[one])
  return torch.stack(
    [
      guided[t.prompts, t.guidance_scale]
      - known[(t.plain_prompt,) * num_views, proxy_guidance_scale]
      for t in terms
    ]
  )


@dataclasses.dataclass(frozen=True)
class _Plan:
  """What one network is run on.

  Attributes:
    keys: (V texts, guidance scale) of each guided prediction that is wanted.
    rows: V texts each, to be predicted. The last row is V empty texts if a
      guidance scale needs them.
  """

  keys: tuple[tuple[tuple[str, ...], float], ...]
  rows: tuple[tuple[str, ...], ...]


def _plan(keys: Iterable[tuple[tuple[str, ...], float]]) -> _Plan:
  """Plans each text once, and the empty text only where a scale needs it.

  With a guidance scale of 1, uncond + s (cond - uncond) is cond itself.
  """
  # Dicts, not sets: their order is that of the terms, in every process.
  keys = tuple(dict.fromkeys(keys))
  rows = list(dict.fromkeys(texts for texts, _ in keys))
  if any(scale != 1 for _, scale in keys):
    rows.append(('',) * len(rows[0]))
  return _Plan(keys, tuple(rows))


def _predict(
  pipeline: pipelines.Pipeline,
  noised: Noised,
  *plans: _Plan,
  recordings: cuda_graphs.Recordings | None = None,
) -> list[torch.Tensor]:
  """Predicts every row of the plans in one pass; one [V, C, h, w] per row."""
  rows = [row for plan in plans for row in plan.rows]
  # The batch holds all views under the first row's texts, then all views under
  # the second row's, and so on.
  noise_preds = pipelines.predict(
    pipeline,
    noised.noisy.repeat(len(rows), 1, 1, 1),
    noised.timestep.repeat(len(rows)),
    pipeline.text.encode([text for row in rows for text in row]),
    recordings,
  )
  return list(noise_preds.split(len(noised.timestep)))


def _predict_mixed(
  pipeline: pipelines.Pipeline,
  noised: Noised,
  base: _Plan,
  learned: Mapping[proxies.Proxy, _Plan],
) -> tuple[list[torch.Tensor], dict[proxies.Proxy, list[torch.Tensor]]]:
  """Predicts base and proxies in one pass of mixed adapters.

  The numbers are those of separate passes up to rounding. One pass has fewer
  and larger kernels, which a GPU runs faster.
  """
  num_views = len(noised.timestep)
  # An adapter per row of texts, and below one per image. Rows come in the order
  # in which `_predict` takes the plans: the base first, then each proxy.
  adapters: list[str | None] = [None] * len(base.rows)
  for proxy, plan in learned.items():
    adapters += [proxy.adapter] * len(plan.rows)
  # Any proxy will do: which adapters a row has is said by their names.
  one, *_ = learned
  with one.mixed([name for name in adapters for _ in range(num_views)]):
    noise_preds = iter(_predict(pipeline, noised, base, *learned.values()))
  of_base = list(itertools.islice(noise_preds, len(base.rows)))
  return of_base, {
    proxy: list(itertools.islice(noise_preds, len(plan.rows)))
    for proxy, plan in learned.items()
  }


def _guide(
  pipeline: pipelines.Pipeline,
  noised: Noised,
  plan: _Plan,
  noise_preds: Sequence[torch.Tensor],
) -> dict[tuple[tuple[str, ...], float], torch.Tensor]:
  """Returns the guided eps [V, C, h, w] for each key of a plan."""
  by_texts = dict(zip(plan.rows, noise_preds, strict=True))
  guided = {}
  for texts, scale in plan.keys:
    noise_pred = by_texts[texts]
    if scale != 1:
      # Guidance is applied to what the network predicts (eps, v, x0 or a
      # velocity) and turned into eps afterwards. Guidance of eps itself would
      # give the same: for a given noisy image eps is an affine function of the
      # prediction, and the factors of `empty` and `noise_pred` add up to 1.
      empty = noise_preds[-1]
      noise_pred = empty + scale * (noise_pred - empty)
    guided[texts, scale] = schedules.noise_pred_to_eps(
      noise_pred,
      noised.noisy,
      noised.alpha_t,
      noised.sigma_t,
      pipeline.schedule.prediction_type,
    )
  return guided
