"""The pull of a frozen model, minus its proxy's, on the pixels of renders.

SDS (method.md O1), VSD (O2), guidance (O14, O15), w(t) (O4), composition (O6,
O21) and the way back from latents to pixels. Pure in (request, proxy).
"""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np
import torch

from mmdist.core import composition
from mmdist.core import messages
from mmdist.core import seeds
from mmdist.priors import pipeline as pipelines
from mmdist.priors import proxy as proxies
from mmdist.priors import schedule as schedules


@dataclasses.dataclass(frozen=True, eq=False)
class Noised:
  """Renders in the network's space, noised.

  Attributes:
    latents: [V, C, h, w] clean, without gradient.
    noise: as latents.
    timestep: [V] int64.
    a: [V, 1, 1, 1] share of the latents.
    s: [V, 1, 1, 1] share of the noise.
    noisy: a latents + s noise.
  """

  latents: torch.Tensor
  noise: torch.Tensor
  timestep: torch.Tensor
  a: torch.Tensor
  s: torch.Tensor
  noisy: torch.Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
  """What a score is made of, before it is packed into a message.

  Attributes:
    cotangent: [V, H, W, 3] float32 dL/d image.
    metrics: `norm_i`, `cosine_i` per concept of the request.
    noised: what the networks were shown.
  """

  cotangent: np.ndarray
  metrics: dict[str, float]
  noised: Noised


def canonical(terms: Sequence[messages.Term], mode: str) -> list[messages.Term]:
  """Sorts terms, so that the order of concepts never changes a bit.

  In mode 'sum' terms that differ in weight alone become one: a concept minus
  itself is then exactly zero, however the passes round.
  """
  terms = sorted(terms, key=_sort_key)
  if mode != 'sum':
    return terms
  weights: dict[messages.Term, list[float]] = {}
  for term in terms:
    weights.setdefault(_question(term), []).append(term.weight)
  return [
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
  pipeline: pipelines.Pipeline, latents: torch.Tensor, noise: np.ndarray, t
) -> Noised:
  """Noises latents to t [V] in [0, 1] with noise drawn by numpy.

  Numpy draws it, so that it is the same on every device.
  """
  noise = torch.from_numpy(noise).to(latents)
  timestep = schedules.t_to_timestep(pipeline.schedule, t).to(latents.device)
  a, s = schedules.coefficients(pipeline.schedule, timestep)
  noisy = schedules.add_noise(latents, noise, a, s)
  return Noised(latents, noise, timestep, a, s, noisy)


def score(
  pipeline: pipelines.Pipeline,
  proxy: proxies.Proxy | None,
  request: messages.ScoreRequest,
  weighting: str = 'sigma2',
  proxy_guidance_scale: float = 1.0,
) -> Answer:
  """Answers a request.

  Args:
    pipeline: the frozen model.
    proxy: its proxy (VSD, O2), or None (SDS, O1).
    request: images of any size; concepts, t and the seed of the noise.
    weighting: a key of `schedules.WEIGHTINGS`.
    proxy_guidance_scale: 1 runs no unconditional pass of the proxy (O14).

  Raises:
    ValueError: a prompt is too long or has unknown words.
  """
  images = torch.tensor(np.asarray(request.images, np.float32))
  images.requires_grad_(True)
  with torch.enable_grad():
    encoded = pipelines.encode_images(pipeline, images)
  latents = encoded.detach()
  rng = seeds.generator(request.seed, request.step, 'score noise')
  noise = rng.standard_normal(latents.shape, dtype=np.float32)
  noised = add_noise(pipeline, latents, noise, request.noise_levels)
  terms = canonical(request.terms, request.mode)
  with torch.no_grad():
    pulls = _pulls(pipeline, proxy, noised, terms, proxy_guidance_scale)
    pulls = pulls * schedules.WEIGHTINGS[weighting](noised.a, noised.s)
    total = composition.compose(
      pulls, [term.weight for term in terms], request.mode
    )
  # A mean over views, pixels and channels (O5), in the network's space.
  (cotangent,) = torch.autograd.grad(encoded, images, total / total.numel())
  return Answer(
    cotangent=cotangent.numpy(),
    metrics=_metrics(request.terms, terms, pulls, total),
    noised=noised,
  )


def _pulls(pipeline, proxy, noised, terms, proxy_guidance_scale):
  """Returns [M, V, C, h, w]: eps of the base minus the proxy's, or the noise.

  Concepts that share their texts share their passes.
  """
  num_views = len(noised.timestep)
  base = _plan((t.prompts, t.guidance_scale) for t in terms)
  if proxy is None:
    guided = _guide(pipeline, noised, base, _predict(pipeline, noised, base))
    return torch.stack(
      [guided[t.prompts, t.guidance_scale] - noised.noise for t in terms]
    )
  learned = _plan(
    ((t.plain_prompt,) * num_views, proxy_guidance_scale) for t in terms
  )
  if pipeline.memory.batched:
    of_base, of_proxy = _predict_mixed(pipeline, proxy, noised, base, learned)
  else:
    of_base = _predict(pipeline, noised, base)
    with proxy.active():
      of_proxy = _predict(pipeline, noised, learned)
  guided = _guide(pipeline, noised, base, of_base)
  known = _guide(pipeline, noised, learned, of_proxy)
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
    keys: (V texts, guidance scale) of each answer that is wanted.
    rows: V texts each, to be predicted; the last may be the empty ones.
  """

  keys: tuple[tuple[tuple[str, ...], float], ...]
  rows: tuple[tuple[str, ...], ...]


def _plan(keys) -> _Plan:
  """The unconditional rows are left out where every scale is 1."""
  keys = tuple(dict.fromkeys(keys))
  rows = list(dict.fromkeys(texts for texts, _ in keys))
  if any(scale != 1 for _, scale in keys):
    rows.append(('',) * len(rows[0]))
  return _Plan(keys, tuple(rows))


def _predict(pipeline, noised, *plans) -> list[torch.Tensor]:
  """Predicts every row of the plans in one pass; one [V, C, h, w] per row."""
  rows = [row for plan in plans for row in plan.rows]
  predictions = pipelines.predict(
    pipeline,
    noised.noisy.repeat(len(rows), 1, 1, 1),
    noised.timestep.repeat(len(rows)),
    pipeline.text.encode([text for row in rows for text in row]),
  )
  return list(predictions.split(len(noised.timestep)))


def _predict_mixed(pipeline, proxy, noised, base, learned):
  """Predicts base and proxy in one pass of mixed adapters: the same numbers
  up to rounding, and fewer, larger kernels."""
  num_views = len(noised.timestep)
  flags = [False] * len(base.rows) + [True] * len(learned.rows)
  with proxy.mixed([flag for flag in flags for _ in range(num_views)]):
    predictions = _predict(pipeline, noised, base, learned)
  return predictions[: len(base.rows)], predictions[len(base.rows) :]


def _guide(pipeline, noised, plan, predictions):
  """Returns eps for each key of a plan, guided."""
  by_texts = dict(zip(plan.rows, predictions, strict=True))
  guided = {}
  for texts, scale in plan.keys:
    prediction = by_texts[texts]
    if scale != 1:
      # Guidance commutes with the change to eps, which is affine.
      empty = predictions[-1]
      prediction = empty + scale * (prediction - empty)
    guided[texts, scale] = schedules.prediction_to_eps(
      prediction,
      noised.noisy,
      noised.a,
      noised.s,
      pipeline.schedule.prediction_type,
    )
  return guided


def _metrics(asked, terms, pulls, total) -> dict[str, float]:
  """Returns the norm of each asked concept's part, and its cosine with all.

  The norm is that of its part of dL/d image where the codec only rearranges
  pixels; else it leaves out the resize and the encoder, whose backward pass
  per concept would cost more than the number is worth.
  """
  by_question = {
    _question(term): pull for term, pull in zip(terms, pulls, strict=True)
  }
  total_norm = torch.linalg.vector_norm(total).item()
  metrics = {}
  for index, term in enumerate(asked):
    pull = term.weight * by_question[_question(term)]
    norm = torch.linalg.vector_norm(pull).item()
    product = norm * total_norm
    inner = (pull * total).sum().item()
    # 2, since networks see 2x - 1.
    metrics[f'norm_{index}'] = 2 * norm / total.numel()
    # A pull of zero has no direction; NaN stays NaN (O23).
    metrics[f'cosine_{index}'] = inner / product if product else 0.0
  return metrics
