"""The estimate of memory against what opened priors really hold."""

import pytest
import torch

from mmdist.core import messages
from mmdist.priors import footprint
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
  one = footprint.Footprint(2**31, 2**20, 0, 2**20, 2**29)
  two = footprint.Footprint(2**20, 2**20, 2**20, 0, 0, offloaded=True)
  lines = footprint.format_lines(
    {'generic': one, 'normal': two}, {'generic': 'a', 'normal': 'b'}
  )
  assert lines[0].startswith("memory of prior 'generic': about 2.5 GiB (netw")
  assert 'text 1 MiB on the CPU, VAE 1 MiB' in lines[1]
  assert lines[2] == 'memory of all priors: about 2.5 GiB'


def test_frozen_weights_that_priors_share_are_in_the_sum_once():
  one = footprint.Footprint(2**30, 2**29, 2**28, 2**20, 2**21)
  two = footprint.Footprint(2**30, 2**29, 2**28, 2**22, 2**23)
  priors = {'generic': one, 'normal': one, 'twin': two}
  models = {'generic': 'a', 'normal': 'b', 'twin': 'a'}
  total, shared = footprint.sum_of(priors, models)
  assert total == 2 * one.total + 2**22 + 2**23
  assert shared == [['generic', 'twin']]
  assert footprint.format_lines(priors, models)[-1] == (
    'memory of all priors: about 3.5 GiB; the frozen weights of generic, twin '
    'count once'
  )
