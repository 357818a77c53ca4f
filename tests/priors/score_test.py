"""The laws of the residual, and its way back to pixels."""

import dataclasses

import diffusers
import numpy as np
import pytest
import torch
from torch.nn import functional

from mmdist.core import messages
from mmdist.core import seeds
from mmdist.priors import pipeline as pipelines
from mmdist.priors import proxy as proxies
from mmdist.priors import schedule as schedules
from mmdist.priors import score as scores
from tests.priors import tiny

HAPPY = 'a portrait of a happy man'
SAD = 'a portrait of a sad woman'
GREEN = 'a man with green skin'


@pytest.fixture(scope='module')
def pipeline(tmp_path_factory):
  directory = tiny.write_pipeline(tmp_path_factory.mktemp('score'))
  return pipelines.open_pipeline(directory, device='cpu')


@pytest.fixture(scope='module')
def proxied(tmp_path_factory):
  """A pipeline whose proxy has left its base."""
  directory = tiny.write_pipeline(tmp_path_factory.mktemp('proxied'))
  pipeline = pipelines.open_pipeline(directory, device='cpu')
  proxy = proxies.Proxy(pipeline.denoiser)
  generator = torch.Generator().manual_seed(1)
  for weight in proxy.parameters.values():
    weight.data.normal_(0, 0.2, generator=generator)
  return pipeline, proxy


def _request(*concepts, views=2, size=16, **changes):
  """Concepts are (text, weight, guidance scale)."""
  rng = np.random.default_rng(0)
  request = messages.ScoreRequest(
    step=3,
    images=rng.random((views, size, size, 3), dtype=np.float32),
    terms=tuple(
      messages.Term(
        tuple(f'{text} , {word} view' for word in ('front', 'back')[:views]),
        text,
        weight,
        scale,
      )
      for text, weight, scale in concepts
    ),
    noise_levels=np.linspace(0.3, 0.7, views, dtype=np.float32),
    seed=11,
    proxy_step=0,
    proxy_learning_rate=1e-3,
  )
  return dataclasses.replace(request, **changes)


def _cotangent(pipeline, proxy, request, **kwargs):
  return scores.score(pipeline, proxy, request, **kwargs).cotangent


def _noised_by_hand(pipeline, request):
  """Returns what the networks should see, spelt out."""
  pixels = torch.from_numpy(request.images).permute(0, 3, 1, 2)
  latents = functional.pixel_unshuffle(2 * pixels - 1, 2)
  rng = seeds.generator(request.seed, request.step, 'score noise')
  noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
  timestep = torch.from_numpy(np.round(request.noise_levels * 999)).long()
  a2 = pipeline.schedule.signal[timestep][:, None, None, None] ** 2
  a, s = a2.sqrt(), (1 - a2).sqrt()
  return a * latents + s * noise, noise, timestep, a, s


@torch.no_grad()
def _eps_by_hand(pipeline, noisy, timestep, a, s, texts, scale):
  """One pass per view and text, so nothing is shared with the code's batch."""
  rows = []
  for view, text in enumerate(texts):

    def v_of(words, view=view):
      return pipeline.denoiser(
        noisy[view : view + 1],
        timestep[view],
        pipeline.text.encode([words]).sequence,
      ).sample

    noise_pred = v_of(text)
    if scale != 1:
      empty = v_of('')
      noise_pred = (1 - scale) * empty + scale * noise_pred
    rows.append(noise_pred)
  return a * torch.cat(rows) + s * noisy


def _surrogate_gradient(request, residual):
  """Autograd of the loss mean(stop_gradient(residual) * latents of image)."""
  images = torch.tensor(request.images, requires_grad=True)
  pixels = images.permute(0, 3, 1, 2)
  if pixels.shape[-1] != 16:
    pixels = functional.interpolate(
      pixels, (16, 16), mode='bilinear', antialias=True
    )
  latents = functional.pixel_unshuffle(2 * pixels - 1, 2)
  (residual.detach() * latents).mean().backward()
  return images.grad.numpy()


@pytest.mark.parametrize('size', [16, 24, 10])
@pytest.mark.parametrize('scale', [1.0, 7.5])
def test_sds_is_the_gradient_of_its_surrogate_loss(pipeline, size, scale):
  request = _request((HAPPY, 1.5, scale))
  small = _request((HAPPY, 1.5, scale), size=size)
  noisy, noise, timestep, a, s = _noised_by_hand(pipeline, request)
  if size != 16:
    pixels = torch.from_numpy(small.images).permute(0, 3, 1, 2)
    pixels = functional.interpolate(
      pixels, (16, 16), mode='bilinear', antialias=True
    )
    noisy = a * functional.pixel_unshuffle(2 * pixels - 1, 2) + s * noise
  eps = _eps_by_hand(
    pipeline, noisy, timestep, a, s, request.terms[0].prompts, scale
  )
  expected = _surrogate_gradient(small, 1.5 * s**2 * (eps - noise))
  # float32 passes in another batch; guidance multiplies their rounding.
  np.testing.assert_allclose(
    _cotangent(pipeline, None, small), expected, rtol=1e-4, atol=1e-6
  )


@pytest.mark.parametrize('proxy_scale', [1.0, 2.0])
def test_vsd_is_the_gradient_of_its_surrogate_loss(proxied, proxy_scale):
  pipeline, proxy = proxied
  request = _request((HAPPY, 1.0, 4.0), (GREEN, -0.5, 1.0))
  noisy, _, timestep, a, s = _noised_by_hand(pipeline, request)
  residual = 0
  for term in request.terms:
    base = _eps_by_hand(
      pipeline,
      noisy,
      timestep,
      a,
      s,
      term.prompts,
      term.guidance_scale,
    )
    with proxy.active():
      learned = _eps_by_hand(
        pipeline,
        noisy,
        timestep,
        a,
        s,
        [term.plain_prompt] * 2,
        proxy_scale,
      )
    residual = residual + term.weight * s**2 * (base - learned)
  np.testing.assert_allclose(
    _cotangent(pipeline, proxy, request, proxy_guidance_scale=proxy_scale),
    _surrogate_gradient(request, residual),
    rtol=1e-4,  # As above.
    atol=1e-6,
  )


@pytest.mark.parametrize('prediction_type', schedules.BETA_PREDICTION_TYPES)
def test_every_prediction_type_is_compared_by_eps(tmp_path, prediction_type):
  # One network, read three ways, must give what diffusers would read.
  directory = tiny.write_pipeline(tmp_path, prediction_type)
  pipeline = pipelines.open_pipeline(directory, device='cpu')
  request = _request((HAPPY, 1.0, 1.0))
  noisy, noise, timestep, _, s = _noised_by_hand(pipeline, request)
  oracle = diffusers.DDIMScheduler(
    beta_schedule='squaredcos_cap_v2',
    prediction_type=prediction_type,
    clip_sample=False,
  )
  oracle.set_timesteps(1000)
  rows = []
  for view, text in enumerate(request.terms[0].prompts):
    with torch.no_grad():
      output = pipeline.denoiser(
        noisy[view : view + 1],
        timestep[view],
        pipeline.text.encode([text]).sequence,
      ).sample
    x0 = oracle.step(output, int(timestep[view]), noisy[view : view + 1])
    a = oracle.alphas_cumprod[timestep[view]].sqrt()
    x0 = x0.pred_original_sample
    rows.append((noisy[view : view + 1] - a * x0) / s[view])
  expected = _surrogate_gradient(request, s**2 * (torch.cat(rows) - noise))
  np.testing.assert_allclose(
    _cotangent(pipeline, None, request), expected, rtol=1e-4, atol=1e-6
  )


@pytest.mark.parametrize('mode', ['sum', 'perp', 'renorm'])
def test_shares_of_the_sum_add_up_to_one(proxied, mode):
  request = _request((HAPPY, 1.0, 4.0), (SAD, -0.5, 3.0), mode=mode)
  metrics = scores.score(*proxied, request).metrics
  shares = [metrics['share_0'], metrics['share_1']]
  assert sum(shares) == pytest.approx(1, abs=1e-4)
  for index, share in enumerate(shares):
    assert np.sign(share) == np.sign(metrics[f'cosine_{index}'])


def test_a_fresh_proxy_leaves_no_residual(tmp_path):
  pipeline = pipelines.open_pipeline(
    tiny.write_pipeline(tmp_path), 'bfloat16', 'cpu'
  )
  request = _request((HAPPY, 1.0, 1.0))
  (term,) = request.terms
  term = dataclasses.replace(term, prompts=(HAPPY, HAPPY))
  request = dataclasses.replace(request, terms=(term,))
  answer = scores.score(pipeline, proxies.Proxy(pipeline.denoiser), request)
  assert not answer.cotangent.any()
  assert answer.metrics == {'norm_0': 0.0, 'cosine_0': 0.0, 'share_0': 0.0}


def test_doubling_every_weight_doubles_the_cotangent_exactly(proxied):
  once = _cotangent(*proxied, _request((HAPPY, 0.7, 4.0), (SAD, -0.3, 3.0)))
  twice = _cotangent(*proxied, _request((HAPPY, 1.4, 4.0), (SAD, -0.6, 3.0)))
  assert once.any()
  np.testing.assert_array_equal(twice, 2 * once)


@pytest.mark.parametrize('mode', ['sum', 'perp', 'renorm'])
def test_opposite_concepts_cancel_exactly(proxied, mode):
  request = _request((HAPPY, 0.7, 4.0), (HAPPY, -0.7, 4.0), mode=mode)
  assert not _cotangent(*proxied, request).any()


@pytest.mark.parametrize('mode', ['sum', 'perp', 'renorm'])
def test_a_concept_and_its_opposite_leave_the_third_alone(proxied, mode):
  sad, happy = (SAD, 0.7, 4.0), (HAPPY, 0.1, 3.0)
  three = _request(sad, happy, (SAD, -0.7, 4.0), mode=mode)
  alone = _request((SAD, 0.0, 4.0), happy, mode=mode)
  np.testing.assert_array_equal(
    _cotangent(*proxied, three), _cotangent(*proxied, alone)
  )


@pytest.mark.parametrize('mode', ['sum', 'perp', 'renorm'])
def test_the_order_of_concepts_never_changes_a_bit(proxied, mode):
  concepts = [(HAPPY, 0.7, 4.0), (SAD, -0.3, 3.0), (GREEN, 1.1, 1.0)]
  there = scores.score(*proxied, _request(*concepts, mode=mode))
  back = scores.score(*proxied, _request(*concepts[::-1], mode=mode))
  np.testing.assert_array_equal(there.cotangent, back.cotangent)
  assert there.metrics['norm_0'] == back.metrics['norm_2']


def test_the_sum_of_two_answers_is_the_answer_of_the_sum(proxied):
  happy, sad = (HAPPY, 0.7, 4.0), (SAD, -0.3, 3.0)
  both = _cotangent(*proxied, _request(happy, sad))
  parts = [_cotangent(*proxied, _request(one)) for one in (happy, sad)]
  # Two batches of another size round differently.
  np.testing.assert_allclose(both, parts[0] + parts[1], rtol=1e-4, atol=1e-7)


def test_the_loss_is_a_mean_over_views(proxied):
  request = _request((HAPPY, 1.0, 4.0))
  cotangent = _cotangent(*proxied, request)
  (term,) = request.terms
  doubled = dataclasses.replace(
    request,
    images=np.concatenate([request.images] * 2),
    terms=(dataclasses.replace(term, prompts=term.prompts * 2),),
    noise_levels=np.concatenate([request.noise_levels] * 2),
  )
  # The noise of the first two of four views is that of two views.
  np.testing.assert_allclose(
    _cotangent(*proxied, doubled)[:2], cotangent / 2, rtol=1e-4, atol=1e-7
  )


def test_the_loss_does_not_grow_with_the_resolution(proxied):
  # The directional derivative along a constant change of colour is what a
  # learner feels; upsampling an image must not change it.
  small = _request((HAPPY, 1.0, 4.0))
  smooth = np.full_like(small.images, 0.3)
  small = dataclasses.replace(small, images=smooth)
  big = dataclasses.replace(
    small, images=np.full((2, 64, 64, 3), 0.3, np.float32)
  )
  # The resize's rows sum to one in float32.
  np.testing.assert_allclose(
    _cotangent(*proxied, big).sum((1, 2)),
    _cotangent(*proxied, small).sum((1, 2)),
    rtol=1e-4,
    atol=1e-6,
  )


@pytest.mark.parametrize('weighting', schedules.WEIGHTINGS)
def test_the_weighting_scales_each_view(proxied, weighting):
  request = _request((HAPPY, 1.0, 4.0))
  _, _, _, a, s = _noised_by_hand(proxied[0], request)
  factor = schedules.WEIGHTINGS[weighting](a, s).numpy()
  uniform = _cotangent(*proxied, request, weighting='uniform')
  np.testing.assert_allclose(
    _cotangent(*proxied, request, weighting=weighting),
    factor * uniform,
    rtol=1e-5,  # One multiplication, in another place.
    atol=1e-9,
  )


def test_metrics_tell_with_and_against(proxied):
  request = _request((HAPPY, 2.0, 4.0), (HAPPY, -0.5, 4.0), (GREEN, 0.0, 1.0))
  metrics = scores.score(*proxied, request).metrics
  assert metrics['norm_0'] == pytest.approx(4 * metrics['norm_1'])
  assert metrics['cosine_0'] == pytest.approx(1)
  assert metrics['cosine_1'] == pytest.approx(-1)
  assert metrics['norm_2'] == metrics['cosine_2'] == 0


def test_a_norm_is_that_of_the_concepts_part_of_the_answer(proxied):
  alone = scores.score(*proxied, _request((HAPPY, -0.6, 4.0)))
  norm = np.linalg.norm(alone.cotangent)
  assert alone.metrics['norm_0'] == pytest.approx(norm)


def test_guidance_of_one_runs_no_unconditional_pass(proxied, monkeypatch):
  pipeline, proxy = proxied
  seen = []
  encode = pipeline.text.encode
  monkeypatch.setattr(
    pipeline.text, 'encode', lambda texts: seen.append(texts) or encode(texts)
  )
  scores.score(pipeline, proxy, _request((HAPPY, 1.0, 1.0)))
  assert [len(texts) for texts in seen] == [2, 2]
  scores.score(pipeline, proxy, _request((HAPPY, 1.0, 4.0), (SAD, 1.0, 1.0)))
  assert [len(texts) for texts in seen[2:]] == [6, 4]
  assert seen[-1] == [HAPPY, HAPPY, SAD, SAD]  # No view words.


def test_a_latent_model_answers_through_its_encoder(tmp_path):
  directory = tiny.write_pipeline(tmp_path, codec='vae')
  pipeline = pipelines.open_pipeline(directory, device='cpu')
  request = _request((HAPPY, 1.0, 4.0))
  answer = scores.score(pipeline, None, request)
  vae = diffusers.AutoencoderKL.from_pretrained(directory / 'vae')
  images = torch.tensor(request.images, requires_grad=True)
  latents = vae.encode(2 * images.permute(0, 3, 1, 2) - 1).latent_dist.mean
  noised = answer.noised
  eps = _eps_by_hand(
    pipeline,
    noised.noisy,
    noised.timestep,
    noised.alpha_t,
    noised.sigma_t,
    request.terms[0].prompts,
    4.0,
  )
  residual = noised.sigma_t**2 * (eps - noised.noise)
  (residual * latents * 0.18215).mean().backward()
  np.testing.assert_allclose(
    answer.cotangent, images.grad.numpy(), rtol=1e-3, atol=1e-7
  )
