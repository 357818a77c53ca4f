"""The proxy starts as the base, moves alone, and can be put back exactly."""

import numpy as np
import pytest
import torch

from mmdist.core import messages
from mmdist.priors import pipeline as pipelines
from mmdist.priors import proxy as proxies
from tests.priors import tiny


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('proxy'))


def _proxied(directory, dtype='float32', **kwargs):
  pipeline = pipelines.open_pipeline(directory, dtype, 'cpu')
  return pipeline, proxies.Proxy(pipeline.denoiser, **kwargs)


def _predict(pipeline):
  generator = torch.Generator().manual_seed(3)
  return pipelines.predict(
    pipeline,
    torch.randn(2, 12, 8, 8, generator=generator),
    torch.tensor([50, 600]),
    pipeline.text.encode(['a happy man', 'a red hat']),
  )


def _fit(pipeline, proxy, learning_rate=1e-2):
  return proxy.fit(
    lambda: (_predict(pipeline) - 0.3).square().mean(), learning_rate
  )


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@torch.no_grad()
def test_a_fresh_proxy_is_the_base_bit_for_bit(directory, dtype):
  alone = _predict(pipelines.open_pipeline(directory, dtype, 'cpu'))
  pipeline, proxy = _proxied(directory, dtype)
  base = _predict(pipeline)
  with proxy.active():
    learned = _predict(pipeline)
  assert torch.equal(base, alone)
  assert torch.equal(learned, base)


def test_a_fit_moves_the_adapters_and_nothing_else(directory):
  pipeline, proxy = _proxied(directory)
  before = {n: w.clone() for n, w in pipeline.denoiser.state_dict().items()}
  base = _predict(pipeline)
  for _ in range(2):  # A moves only once B is no longer zero.
    _fit(pipeline, proxy)
  moved = {
    name
    for name, weight in pipeline.denoiser.state_dict().items()
    if not torch.equal(weight, before[name])
  }
  assert moved and all('lora_' in name for name in moved)
  assert any('lora_A' in name for name in moved)
  assert torch.equal(_predict(pipeline), base)
  with torch.no_grad(), proxy.active():
    assert not torch.equal(_predict(pipeline), base)


def test_fits_lower_the_loss(directory):
  pipeline, proxy = _proxied(directory)
  losses = [_fit(pipeline, proxy) for _ in range(8)]
  assert losses[-1] < losses[0]
  assert proxy.step == 8


def test_fits_are_the_steps_of_an_explicit_adam(directory, monkeypatch):
  pipeline, proxy = _proxied(directory)
  start = [w.detach().numpy().copy() for w in proxy.parameters.values()]
  seen, grad = [], torch.autograd.grad

  def note(*args, **kwargs):
    found = grad(*args, **kwargs)
    seen.append([gradient.numpy().astype(np.float64) for gradient in found])
    return found

  monkeypatch.setattr(torch.autograd, 'grad', note)
  rates = np.linspace(1e-3, 1e-2, 12)
  for rate in rates:
    _fit(pipeline, proxy, learning_rate=float(rate))
  # In float64, as the paper of Adam has it (Kingma and Ba 2015, Algorithm 1).
  moved = [np.zeros(w.shape) for w in start]
  first, second = ([np.zeros(w.shape) for w in start] for _ in range(2))
  for step, (rate, gradients) in enumerate(zip(rates, seen, strict=True), 1):
    for k, gradient in enumerate(gradients):
      first[k] = 0.9 * first[k] + 0.1 * gradient
      second[k] = 0.99 * second[k] + 0.01 * gradient**2
      mean = first[k] / (1 - 0.9**step)
      size = np.sqrt(second[k] / (1 - 0.99**step))
      moved[k] -= rate * mean / (size + 1e-8)
  weights = [w.detach().numpy() for w in proxy.parameters.values()]
  assert len(weights) == len(moved) > 10
  for weight, before, step in zip(weights, start, moved, strict=True):
    error = np.abs(weight - before - step).max() / np.abs(step).max()
    assert error < 1e-5


def test_a_restored_proxy_goes_on_bit_for_bit(directory):
  pipeline, proxy = _proxied(directory)
  for _ in range(2):
    _fit(pipeline, proxy)
  saved = proxy.save()
  kept = {name: array.copy() for name, array in saved.arrays.items()}
  for array in saved.arrays.values():
    array.setflags(write=False)  # As Ray hands them over.
  on = [_fit(pipeline, proxy) for _ in range(3)]
  other_pipeline, other = _proxied(directory, seed=9)
  other.restore(saved)
  assert other.step == 2
  assert [_fit(other_pipeline, other) for _ in range(3)] == on
  _assert_same(other.save(), proxy.save())
  assert all(np.array_equal(saved.arrays[n], kept[n]) for n in kept)


def test_a_fresh_proxy_is_saved_and_restored_too(directory):
  pipeline, proxy = _proxied(directory)
  fresh = proxy.save()
  first = _fit(pipeline, proxy), _fit(pipeline, proxy)
  proxy.restore(fresh)
  assert (_fit(pipeline, proxy), _fit(pipeline, proxy)) == first


def test_the_seed_decides_the_adapters_and_no_global_generator_moves(directory):
  torch.manual_seed(0)
  state = torch.random.get_rng_state()
  one = _proxied(directory, seed=1)[1].save()
  assert torch.equal(torch.random.get_rng_state(), state)
  torch.manual_seed(5)
  _assert_same(_proxied(directory, seed=1)[1].save(), one)
  other = _proxied(directory, seed=2)[1].save()
  assert any(
    not np.array_equal(array, other.arrays[name])
    for name, array in one.arrays.items()
  )


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_loss_that_is_not_finite_moves_nothing(directory, value):
  pipeline, proxy = _proxied(directory)
  _fit(pipeline, proxy)
  before = proxy.save()
  with pytest.raises(FloatingPointError, match='fit 1 has a loss of'):
    proxy.fit(lambda: _predict(pipeline).mean() * value, 1e-3)
  _assert_same(proxy.save(), before)


def test_a_state_of_another_rank_is_refused(directory):
  state = _proxied(directory, rank=2)[1].save()
  with pytest.raises(ValueError, match=r'has shape \(2, .*expected \(4, '):
    _proxied(directory)[1].restore(state)


def test_a_state_without_arrays_is_refused(directory):
  with pytest.raises(ValueError, match='has shape none, expected'):
    _proxied(directory)[1].restore(messages.ProxyState(3, {}))


def _assert_same(state, other):
  assert state.step == other.step
  assert state.arrays.keys() == other.arrays.keys()
  for name, array in state.arrays.items():
    np.testing.assert_array_equal(array, other.arrays[name])
