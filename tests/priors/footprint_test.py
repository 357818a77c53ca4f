"""The estimate of memory against what opened priors really hold."""

import numpy as np
import pytest
import torch
from torch import profiler

from mmdist.core import messages
from mmdist.priors import footprint
from mmdist.priors import memory_needs
from mmdist.priors import prior as priors
from tests.priors import tiny
from tests.priors import tiny_families


def count(module, size):
  # T5 has one table under two names.
  held = {w.data_ptr(): w.numel() for w in module.state_dict().values()}
  return sum(held.values()) * size


@pytest.mark.parametrize('family', tiny_families.FAMILIES)
def test_weights_and_proxy_are_those_of_the_opened_prior(family, tmp_path):
  directory = tiny_families.write(family, tmp_path)
  spec = tiny.spec(directory, rank=3)
  estimate = footprint.estimate(spec, 2)
  prior = priors.build(spec)
  lora = sum(w.numel() for w in prior.proxy.parameters.values())
  network = count(prior.pipeline.denoiser, 4) - 4 * lora
  assert estimate.denoiser == pytest.approx(network, rel=0.01)
  texts = prior.pipeline.text.modules
  assert estimate.text == pytest.approx(
    sum(count(module, 4) for module in texts), rel=0.01
  )
  assert estimate.proxy == 16 * lora
  assert bool(estimate.vae) == (family not in ('if', 'pixels'))
  assert estimate.total == sum(
    (
      estimate.denoiser,
      estimate.text,
      estimate.vae,
      estimate.proxy,
      estimate.activations,
    )
  )


def test_the_estimate_follows_dtype_views_and_options(tmp_path):
  directory = tiny_families.write('sd1', tmp_path)
  spec = tiny.spec(directory)
  full = footprint.estimate(spec, 2)
  half = footprint.estimate(tiny.spec(directory, dtype='bfloat16'), 2)
  assert half.denoiser * 2 == full.denoiser
  assert half.text == full.text  # Of a dtype of its own.
  assert footprint.estimate(spec, 4).activations == 2 * full.activations
  sds = tiny.spec(directory, objective='sds')
  assert footprint.estimate(sds, 2).proxy == 0
  memory = messages.MemoryOptions(offload_text=True, checkpoint_encoder=False)
  spec = tiny.spec(directory, memory=memory, device='cuda')
  other = footprint.estimate(spec, 2)
  assert other.activations > full.activations
  parts = other.denoiser + other.vae + other.proxy + other.activations
  assert other.total == parts
  # On the CPU, text encoders that are moved there take no less of its memory.
  here = footprint.estimate(tiny.spec(directory, memory=memory), 2)
  assert here.total == parts + here.text


TEXTS = tiny.WORDS[2:8]


def request(step: int) -> messages.ScoreRequest:
  """Asks about two views under each of `TEXTS`, guided."""
  rng = np.random.default_rng(step)
  return messages.ScoreRequest(
    step=step,
    images=rng.random((2, 16, 16, 3), dtype=np.float32),
    terms=tuple(messages.Term((t,) * 2, t, 1.0, 4.0) for t in TEXTS),
    noise_levels=np.float32([0.3, 0.6]),
    seed=step,
    proxy_step=step,
    proxy_learning_rate=1e-3,
  )


def most_allocated(call) -> int:
  """Returns the most bytes that torch's allocator gave out at a time."""
  with profiler.profile(
    activities=[profiler.ProfilerActivity.CPU], profile_memory=True
  ) as profiled:
    call()
  events = profiled.profiler.kineto_results.events()
  given = [e for e in events if e.name() == '[memory]']
  in_order = sorted(given, key=lambda event: event.start_ns())
  return int(np.cumsum([event.nbytes() for event in in_order]).max())


@pytest.mark.parametrize(
  'family, proxy_per, batched',
  [
    ('sd1', 'concept', True),
    ('if', 'prior', True),
    ('sd3', 'prior', False),
    ('sd3', 'concept', False),
  ],
)
def test_many_texts_take_what_torch_allocates(
  tmp_path, family, proxy_per, batched
):
  spec = tiny.spec(
    tiny_families.write(family, tmp_path),
    proxy_per=proxy_per,
    memory=messages.MemoryOptions(batched=batched),
  )
  prior = priors.build(spec)
  # The texts are read, and the proxies made, in the first step.
  prior.score(request(0))
  prior.fit()
  most = max(
    most_allocated(lambda: prior.score(request(1))), most_allocated(prior.fit)
  )
  estimate = footprint.estimate(spec, 2, len(TEXTS))
  # Latents, noise and residuals are not in the estimate.
  assert estimate.activations == pytest.approx(most, rel=0.1)
  assert estimate.activations > footprint.estimate(spec, 2).activations


def test_a_proxy_for_each_text_is_counted(tmp_path):
  directory = tiny_families.write('pixels', tmp_path)
  spec = tiny.spec(directory, proxy_per='concept')
  prior = priors.build(spec)
  prior.score(request(0))
  prior.fit()
  held, weights = 0, 0
  for text in TEXTS:
    proxy = prior.proxy.of(text)
    weights = sum(w.nbytes for w in proxy.parameters.values())
    states = proxy._adam.state.values()
    moments = [s[m].nbytes for s in states for m in ('exp_avg', 'exp_avg_sq')]
    held += weights + sum(moments)
  # Gradients are there of one proxy at a time.
  expected = held + weights
  assert footprint.estimate(spec, 2, len(TEXTS)).proxy == expected


@pytest.mark.parametrize(
  'proxy_per, batched, scale, expected',
  [
    ('prior', False, 1.0, 5),  # The base: four texts and the empty one.
    ('prior', True, 1.0, 9),  # And the proxy's four.
    ('prior', True, 2.0, 10),
    ('concept', False, 2.0, 5),  # Each proxy has a pass of its own.
    ('concept', True, 1.0, 9),
    ('concept', True, 2.0, 13),  # An empty text for each proxy.
  ],
)
def test_the_largest_pass_is_found(proxy_per, batched, scale, expected):
  options = messages.PriorOptions(
    proxy_per=proxy_per,
    proxy_guidance_scale=scale,
    memory=messages.MemoryOptions(batched=batched),
  )
  assert footprint.num_rows(options, 4) == expected
  options.objective = 'sds'
  assert footprint.num_rows(options, 4) == 5


def test_outputs_of_layers_are_counted():
  layers = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU())
  counted = footprint.count_outputs(layers, lambda: layers(torch.ones(2, 3)), 4)
  assert counted == 2 * (2 * 5) * 4
  layers(torch.ones(2, 3))  # And no longer.


def test_no_weight_is_read(tmp_path, monkeypatch):
  directory = tiny_families.write('pixels', tmp_path)

  def refuse(*_, **__):
    raise AssertionError('a weight was loaded')

  monkeypatch.setattr(torch, 'load', refuse)
  monkeypatch.setattr('safetensors.torch.load_file', refuse)
  footprint.estimate(tiny.spec(directory), 1)


def test_lines_name_the_prior_and_the_sum():
  one = memory_needs.Footprint(2**31, 2**20, 0, 2**20, 2**29)
  two = memory_needs.Footprint(2**20, 2**20, 2**20, 0, 0, offloaded=True)
  lines = memory_needs.format_lines(
    {'generic': one, 'normal': two}, {'generic': 'a', 'normal': 'b'}
  )
  assert lines[0].startswith("memory of prior 'generic': about 2.5 GiB (netw")
  assert 'text 1 MiB on the CPU, VAE 1 MiB' in lines[1]
  assert lines[2] == 'memory of all priors: about 2.5 GiB'


def test_frozen_weights_that_priors_share_are_in_the_sum_once():
  one = memory_needs.Footprint(2**30, 2**29, 2**28, 2**20, 2**21)
  two = memory_needs.Footprint(2**30, 2**29, 2**28, 2**22, 2**23)
  priors = {'generic': one, 'normal': one, 'twin': two}
  models = {'generic': 'a', 'normal': 'b', 'twin': 'a'}
  total, shared = memory_needs.sum_of(priors, models)
  assert total == 2 * one.total + 2**22 + 2**23
  assert shared == [['generic', 'twin']]
  assert memory_needs.format_lines(priors, models)[-1] == (
    'memory of all priors: about 3.5 GiB; the frozen weights of generic, twin '
    'count once'
  )
