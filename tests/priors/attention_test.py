"""Attention in half precision, where a network asks for float32 scores."""

import json

from diffusers.models import attention_processor
import pytest
import safetensors.torch
import torch

from mmdist.core import messages
from mmdist.priors import pipeline as pipelines
from mmdist.priors import proxy as proxies
from tests.priors import tiny_families


def _write(directory, upcast, family='sd1'):
  """Large queries and keys, as in Stable Diffusion 2.1."""
  directory = tiny_families.write(family, directory)
  path = directory / 'unet' / 'config.json'
  config = json.loads(path.read_text()) | {'upcast_attention': upcast}
  path.write_text(json.dumps(config))
  weights = directory / 'unet' / 'diffusion_pytorch_model.safetensors'
  state = safetensors.torch.load_file(weights)
  for name in state:
    if 'attn1.to_q' in name or 'attn1.to_k' in name:
      state[name] *= 3000
  safetensors.torch.save_file(state, weights, metadata={'format': 'pt'})
  return directory


@pytest.fixture(scope='module', name='directory')
def fixture_directory(tmp_path_factory):
  return _write(tmp_path_factory.mktemp('upcast') / 'sd', True)


def _predict(directory, dtype, form):
  pipeline = pipelines.open_pipeline(
    directory,
    dtype,
    'cpu',
    memory=messages.MemoryOptions(attention_slicing=form == 'sliced'),
  )
  if form == 'fused':
    pipeline.denoiser.set_attn_processor(attention_processor.AttnProcessor2_0())
  noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
  embeds = pipeline.text.encode(['a man'])
  return pipelines.predict(pipeline, noisy, torch.tensor([700]), embeds)


FORMS = ('plain', 'sliced', 'fused')


@pytest.mark.parametrize('form', FORMS)
@torch.no_grad()
def test_upcast_attention_stays_in_float32_under_autocast(directory, form):
  expected = _predict(directory, 'float32', form)
  found = _predict(directory, 'float16', form)
  assert found.isfinite().all()
  # Softmax of scores of 1e5 is all or nothing: where float16's queries tie
  # otherwise than float32's, one token is replaced by another.
  assert (found - expected).abs().median() < 0.02


@torch.no_grad()
def test_without_it_the_scores_overflow(tmp_path):
  # The test above tests something.
  lowered = _predict(_write(tmp_path / 'sd', False), 'float16', 'plain')
  assert not lowered.isfinite().all()


def test_scores_of_bfloat16_are_those_of_float32(directory):
  """Queries and keys are rounded to bfloat16; what is made of them is not."""
  pipeline = pipelines.open_pipeline(directory, 'bfloat16', 'cpu')
  seen = []
  attention = next(
    module
    for name, module in pipeline.denoiser.named_modules()
    if name.endswith('attn1')
  )
  scores_of = attention.get_attention_scores

  def watch(query, key, mask=None):
    scores = scores_of(query, key, mask)
    exact = (query.double() @ key.double().transpose(-1, -2)) * attention.scale
    seen.append((scores.double(), exact.softmax(-1)))
    return scores

  attention.get_attention_scores = watch
  noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
  with torch.no_grad():
    embeds = pipeline.text.encode(['a man'])
    pipelines.predict(pipeline, noisy, torch.tensor([700]), embeds)
  for scores, exact in seen:
    # The probabilities are rounded to bfloat16's 8 bits, no more.
    torch.testing.assert_close(scores, exact, rtol=2**-8, atol=2**-8)
  assert seen


def test_a_proxy_is_fitted_through_it(directory):
  pipeline = pipelines.open_pipeline(directory, 'bfloat16', 'cpu')
  proxy = proxies.Proxy(pipeline.denoiser)
  noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
  inputs = pipelines.inputs_of(
    pipeline, noisy, torch.tensor([700]), pipeline.text.encode(['a man'])
  )

  def loss(target, *given):
    return (pipelines.predict_at(pipeline, *given) - target).square().mean()

  assert proxy.fit(loss, 1e-3, (torch.zeros_like(noisy), *inputs)) > 0
