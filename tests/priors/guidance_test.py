"""Each kind of guidance against its formula, written out text by text."""

import dataclasses

import numpy as np
import pytest
import torch

from mmdist.core import composition
from mmdist.core import errors
from mmdist.core import guidance_kinds as kinds
from mmdist.core import messages
from mmdist.core import seeds
from mmdist.priors import guidance
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prior as priors
from mmdist.priors import proxy as proxies
from mmdist.priors import score as scores
from tests.priors import tiny
from tests.priors import tiny_families

# Short, since a tiny tokenizer reads few letters.
HAPPY, SAD, GREEN, BAD = 'happy', 'sad', 'green', 'hat'
T = np.array([0.15, 0.6], np.float32)  # One below 0.2, one above.
LEAST_T = 0.02
# Ten steps under the default of -6.5 make rounding visible.
INVERSION_SCALE = -1.5
# One predicts the noise, one v, one a flow.
FAMILIES = ('sd1', 'sd2', 'sd3')


@pytest.fixture(name='pipeline', scope='module', params=FAMILIES)
def fixture_pipeline(request, tmp_path_factory):
  directory = tmp_path_factory.mktemp(request.param)
  return pipelines.open_pipeline(
    tiny_families.write(request.param, directory), device='cpu'
  )


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


def make_choice(kind: str, **changes) -> guidance.Choice:
  return guidance.Choice(
    kind, inversion_guidance_scale=INVERSION_SCALE, **changes
  )


@pytest.mark.parametrize(
  'kind, noising',
  [
    *((kind, '') for kind in kinds.KINDS if kind != 'vsd'),
    ('sds', 'inverted'),
    ('csd', 'inverted'),
  ],
)
def test_a_kind_is_its_formula_in_every_mode(pipeline, kind, noising):
  choice = make_choice(kind, noising=noising)
  pulls = pulls_of(pipeline, make_request(), kind, noising)
  for mode in composition.MODES:
    request = make_request(mode=mode)
    expected = cotangent_of(pipeline, request, pulls)
    answer = scores.score(pipeline, None, request, choice=choice)
    size = np.abs(expected).max()
    assert size > 0
    np.testing.assert_allclose(answer.cotangent, expected, atol=3e-5 * size)


def test_the_first_stage_of_bridge_is_sds_and_has_no_negative_text(pipeline):
  choice = guidance.Choice('bridge', first_stage=0.7)
  asked = make_request()
  plain = [dataclasses.replace(t, negative_prompt='') for t in asked.terms]
  expected = scores.score(
    pipeline, None, dataclasses.replace(asked, terms=tuple(plain))
  )
  answer = scores.score(pipeline, None, asked, choice=choice)
  np.testing.assert_array_equal(answer.cotangent, expected.cotangent)


@pytest.mark.parametrize('kind', ['sds', 'csd'])
def test_a_normalised_pull_is_divided_by_its_views_distance(pipeline, kind):
  request = make_request()
  terms = []
  for term in request.terms:
    alone = dataclasses.replace(request, terms=(term,))
    pulls = pulls_of(pipeline, alone, kind)
    distances = []
    for view in range(len(T)):
      oracle = Oracle(pipeline, request, view)
      with torch.no_grad():
        x0 = oracle.clean_estimate(kind, term)
      distances.append(float((oracle.x - x0).abs().mean()))
    terms.append(pulls[0] / torch.tensor(distances)[:, None, None, None])
  expected = cotangent_of(pipeline, request, torch.stack(terms))
  choice = make_choice(kind, normalise=True)
  answer = scores.score(pipeline, None, request, choice=choice)
  size = np.abs(expected).max()
  np.testing.assert_allclose(answer.cotangent, expected, atol=1e-4 * size)


@pytest.mark.parametrize(
  'kind, scale, passes',
  [
    # Rows of V texts in each pass of the network, for one concept.
    ('sds', 4.0, [2]),
    ('sds', 1.0, [1]),
    ('csd', 4.0, [3]),
    ('csd', 1.0, [3]),
    ('nfsd', 4.0, [3]),
    ('asd', 4.0, [3]),
    ('asd', 1.0, [2]),
    ('bridge', 4.0, [3]),
    ('ism', 4.0, [1] * 6 + [2]),
    ('sdi', 4.0, [2] * 11),
    ('dds', 4.0, [4]),
    ('dds', 1.0, [2]),
  ],
)
def test_passes_are_as_many_as_the_kind_needs(
  pipeline, monkeypatch, kind, scale, passes
):
  seen, predict = [], pipelines.predict

  def counted(pipeline, noisy, *rest):
    seen.append(len(noisy) // len(T))
    return predict(pipeline, noisy, *rest)

  monkeypatch.setattr(pipelines, 'predict', counted)
  term = dataclasses.replace(make_request().terms[0], guidance_scale=scale)
  request = make_request(terms=(term,))
  scores.score(pipeline, None, request, choice=make_choice(kind))
  assert seen == passes
  # What the estimate of memory counts with.
  assert max(passes) <= kinds.KINDS[kind].rows(1) + 1


def test_nfsd_asks_nothing_negative_of_views_with_little_noise(
  pipeline, monkeypatch
):
  seen, encode = [], type(pipeline.text).encode

  def noted(encoder, texts):
    seen.extend(texts)
    return encode(encoder, texts)

  monkeypatch.setattr(type(pipeline.text), 'encode', noted)
  for levels, count in (([0.1, 0.19], 0), ([0.1, 0.6], 1)):
    seen.clear()
    request = make_request(noise_levels=np.float32(levels))
    scores.score(pipeline, None, request, choice=guidance.Choice('nfsd'))
    assert seen.count(BAD) == count


@pytest.mark.parametrize('kind', [k for k in kinds.KINDS if k != 'vsd'])
def test_a_step_in_parts_asks_the_same(pipeline, kind):
  whole, choice = make_request(), make_choice(kind)
  expected = scores.score(pipeline, None, whole, choice=choice).cotangent
  parts = []
  for view in range(len(T)):
    rows = slice(view, view + 1)
    part = dataclasses.replace(
      whole,
      images=whole.images[rows],
      start_images=whole.start_images[rows],
      noise_levels=T[rows],
      terms=tuple(
        dataclasses.replace(term, prompts=term.prompts[rows])
        for term in whole.terms
      ),
      first_view=view,
      num_views=len(T),
    )
    answer = scores.score(pipeline, None, part, choice=choice)
    parts.append(answer.cotangent / len(T))
  size = np.abs(expected).max()
  np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-4 * size)


def test_a_negative_text_takes_the_empty_ones_place_in_vsd(pipeline):
  proxy = proxies.Proxy(pipeline.denoiser)
  try:
    # A proxy at its start is the base, so its terms are known.
    request = make_request()
    answer = scores.score(pipeline, proxy, request).cotangent
  finally:
    proxy.remove()
  pulls = []
  for term in request.terms:
    views = []
    for view in range(len(T)):
      oracle = Oracle(pipeline, request, view)
      x_t, t = oracle.noised(oracle.x, oracle.t), oracle.t
      with torch.no_grad():
        views.append(
          oracle.guided(x_t, t, term.prompts[view], BAD, term.guidance_scale)
          - oracle.eps(x_t, t, term.plain_prompt)
        )
    pulls.append(torch.cat(views))
  expected = cotangent_of(pipeline, request, torch.stack(pulls))
  size = np.abs(expected).max()
  np.testing.assert_allclose(answer, expected, atol=3e-5 * size)


def test_the_scale_of_sdi_is_that_of_its_published_code():
  """Which writes cond + s (cond - uncond) and has s = -7.5."""
  cond, uncond = 0.3, 0.8
  s = messages.PriorOptions().inversion_guidance_scale
  assert uncond + s * (cond - uncond) == pytest.approx(
    cond - 7.5 * (cond - uncond)
  )


@pytest.mark.parametrize('kind', kinds.KINDS)
def test_a_prior_answers_again_with_the_same_bits(tmp_path, kind):
  directory = tiny.write_pipeline(tmp_path)
  answers = []
  for _ in range(2):
    prior = priors.build(tiny.spec(directory, objective=kind))
    answers.append(prior.score(make_request()).cotangent)
    prior.fit()
    state = prior.save_proxy()
    assert bool(state.arrays) == (kind == 'vsd')
    prior.restore_proxy(state)
    request = make_request(step=4, proxy_step=1)
    answers.append(prior.score(request).cotangent)
  np.testing.assert_array_equal(answers[0], answers[2])
  np.testing.assert_array_equal(answers[1], answers[3])
  # Noise is drawn anew at every step, where there is any.
  is_random = kinds.KINDS[kind].noising == kinds.RANDOM
  assert bool(np.abs(answers[0] - answers[1]).max()) == is_random


def test_dds_without_the_start_says_what_is_missing(pipeline):
  with pytest.raises(errors.UserError, match='start_images'):
    scores.score(
      pipeline,
      None,
      make_request(start_images=None),
      choice=guidance.Choice('dds'),
    )
