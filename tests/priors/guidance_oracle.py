"""The formulas of the kinds of guidance, written out text by text."""

import dataclasses

import numpy as np
import torch

from mmdist.core import composition
from mmdist.core import messages
from mmdist.core import seeds
from mmdist.priors import pipeline as pipelines

# Short, since a tiny tokenizer reads few letters.
HAPPY, SAD, GREEN, BAD = 'happy', 'sad', 'green', 'hat'
T = np.array([0.15, 0.6], np.float32)  # One below 0.2, one above.
LEAST_T = 0.02
# Ten steps under the default of -6.5 make rounding visible.
INVERSION_SCALE = -1.5


def make_request(**changes) -> messages.ScoreRequest:
  rng = np.random.default_rng(0)
  terms = [(HAPPY, 1.0, 8.0), (SAD, -0.6, 3.0), (GREEN, 0.4, 2.0)]
  request = messages.ScoreRequest(
    step=3,
    images=rng.random((2, 16, 16, 3), dtype=np.float32),
    terms=tuple(
      messages.Term(
        (f'{text} a', f'{text} of'),
        text,
        weight,
        scale,
        negative_prompt=BAD,
        negative_scale=0.7 * scale,
      )
      for text, weight, scale in terms
    ),
    noise_levels=T,
    seed=11,
    proxy_step=0,
    proxy_learning_rate=1e-3,
    progress=0.6,
    least_noise_level=LEAST_T,
    start_images=rng.random((2, 16, 16, 3), dtype=np.float32),
  )
  return dataclasses.replace(request, **changes)


class Oracle:
  """The formulas, for one view; every prediction is a pass of its own."""

  def __init__(self, pipeline, request, view: int):
    self.pipeline, self.schedule = pipeline, pipeline.schedule
    self.view, self.t = view, float(request.noise_levels[view])
    self.x = self.encode(request.images)
    self.x_start = self.encode(request.start_images)
    rng = seeds.generator(request.seed, request.step, 'score noise')
    shape = (len(request.images), *self.x.shape[1:])
    noise = rng.standard_normal(shape, dtype=np.float32)
    self.noise = torch.from_numpy(noise[view : view + 1])
    rng = seeds.generator(request.seed, request.step, 'later times')
    self.share = rng.uniform(size=len(request.images))[view]

  def encode(self, images):
    one = torch.from_numpy(images[self.view : self.view + 1])
    return pipelines.encode_images(self.pipeline, one)

  def level(self, t: float):
    """Returns timestep, a and s."""
    k = round(t * (len(self.schedule.signal) - 1))
    return k, self.schedule.signal[k], self.schedule.noise[k]

  def eps(self, x_t, t, text, level=None):
    k, a, s = level or self.level(t)
    raw = pipelines.predict(
      self.pipeline, x_t, torch.tensor([k]), self.pipeline.text.encode([text])
    )
    return {
      'epsilon': raw,
      'v_prediction': a * raw + s * x_t,
      'flow': x_t + a * raw,
    }[self.schedule.prediction_type]

  def guided(self, x_t, t, text, without, scale, level=None):
    empty = self.eps(x_t, t, without, level)
    return empty + scale * (self.eps(x_t, t, text, level) - empty)

  def x0(self, x_t, t, eps):
    _, a, s = self.level(t)
    if self.schedule.prediction_type == 'v_prediction':
      # a x_t - s v, with v from eps; the same and finite at a = 0.
      return a * x_t - s * (eps - s * x_t) / a
    return (x_t - s * eps) / a

  def noised(self, x, t):
    _, a, s = self.level(t)
    return a * x + s * self.noise

  def inverted(self, levels, eps_at):
    """DDIM inversion; returns all x_t on the way, and the eps used."""
    x_t, level, seen = self.x, (0, torch.tensor(1.0), torch.tensor(0.0)), []
    for t in levels:
      eps = eps_at(x_t, level)
      _, a, s = level
      x0 = (x_t - s * eps) / a
      level = self.level(t)
      seen.append(eps)
      x_t = level[1] * x0 + level[2] * eps
    return x_t, seen

  def clean_estimate(self, kind: str, term: messages.Term):
    """Returns x0 of the guided prediction."""
    text, t, scale = term.prompts[self.view], self.t, term.guidance_scale
    x_t = self.noised(self.x, t)
    without = '' if kind == 'csd' else term.negative_prompt
    return self.x0(x_t, t, self.guided(x_t, t, text, without, scale))

  def pull(self, kind: str, term: messages.Term, noising: str = ''):
    text, bad, s = term.prompts[self.view], term.negative_prompt, None
    t, scale = self.t, term.guidance_scale
    x_t, n = self.noised(self.x, t), self.noise
    if kind == 'ism' or noising == 'inverted':
      s = max(t - 0.05, 0)
      x_t, seen = self.inverted(
        [*(s * k / 5 for k in range(1, 6)), t],
        lambda x, level: self.eps(x, None, '', level),
      )
      _, a, sigma = self.level(t)
      n = (x_t - a * self.x) / sigma
    if kind == 'sds':
      return self.guided(x_t, t, text, bad, scale) - n
    if kind == 'csd':
      e_t, e_0 = self.eps(x_t, t, text), self.eps(x_t, t, '')
      e_n, other = self.eps(x_t, t, bad), term.negative_scale
      return scale * e_t + (other - scale) * e_0 - other * e_n
    if kind == 'nfsd':
      e_t, e_0 = self.eps(x_t, t, text), self.eps(x_t, t, '')
      denoising = e_0 if t < 0.2 else e_0 - self.eps(x_t, t, bad)
      return denoising + scale * (e_t - e_0)
    if kind == 'asd':
      later = t + 0.1 * (t - LEAST_T) * self.share
      _, a, sigma = self.level(later)
      return self.guided(x_t, t, text, bad, scale) - self.eps(
        a * self.x + sigma * n, later, text
      )
    if kind == 'bridge':
      return self.guided(x_t, t, text, '', scale) - self.eps(
        x_t, t, f'{text} , {bad}'
      )
    if kind == 'ism':
      return self.guided(x_t, t, text, bad, scale) - seen[-1]
    if kind == 'sdi':
      x_t, _ = self.inverted(
        [t * k / 10 for k in range(1, 11)],
        lambda x, level: self.guided(
          x, None, text, bad, INVERSION_SCALE, level
        ),
      )
      eps = self.guided(x_t, t, text, bad, scale)
      return self.x - self.x0(x_t, t, eps)
    assert kind == 'dds'
    start = self.noised(self.x_start, t)
    return self.guided(x_t, t, text, '', scale) - self.guided(
      start, t, bad, '', scale
    )


def cotangent_of(pipeline, request, residuals):
  """Returns dL/d image of residuals [M, V, C, h, w], composed and weighted."""
  images = torch.tensor(request.images, requires_grad=True)
  latents = pipelines.encode_images(pipeline, images)
  k = torch.from_numpy(np.round(T * (len(pipeline.schedule.noise) - 1))).long()
  residuals = residuals * pipeline.schedule.noise[k][:, None, None, None] ** 2
  weights = [term.weight for term in request.terms]
  parts = composition.transform(residuals, weights, request.mode)
  total = composition.add(parts, weights, request.mode)
  (latents * total / total.numel()).sum().backward()
  return images.grad.numpy()


def pulls_of(pipeline, request, kind: str, noising: str = '') -> torch.Tensor:
  oracles = [Oracle(pipeline, request, view) for view in range(len(T))]
  with torch.no_grad():
    return torch.stack(
      [
        torch.cat([oracle.pull(kind, term, noising) for oracle in oracles])
        for term in request.terms
      ]
    )
