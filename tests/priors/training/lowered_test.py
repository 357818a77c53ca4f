"""A copy in the dtype that a network computes in has its gradients."""

import dataclasses

import numpy as np
import torch

from mmdist.heads import worlds
from mmdist.priors.training import dreambooth
from mmdist.priors.training import embedded
from mmdist.priors.training import from_scratch
from mmdist.priors.training import lowered
from tests.priors import tiny

TRAINING = from_scratch.Training(num_images=40, learning_rate=1e-3)


def make_tiny(dtype):
  words = worlds.get('people').captions.vocabulary()
  pipeline = embedded.make_pipeline(words, tiny.ARCHITECTURE, dtype)
  pipeline.denoiser.requires_grad_(True).train()
  return pipeline


def batch():
  rng = np.random.default_rng(0)
  size = tiny.ARCHITECTURE.image_size
  images = rng.random((8, size, size, 3), dtype=np.float32)
  return images, ['a red hat', 'a blue hat'] * 4


def gradients_of(pipeline, network):
  pipeline.denoiser.zero_grad()
  tuning = dreambooth.FineTuning(seed=8)
  lowered.descend(
    pipeline,
    network,
    lambda given: dreambooth.training_loss(given, batch(), tuning, 0),
  )
  return torch.cat([w.grad.flatten() for w in pipeline.denoiser.parameters()])


def test_its_gradients_are_nearly_as_good_as_under_autocast():
  pipeline = make_tiny('bfloat16')
  network = lowered.make(pipeline)
  assert {w.dtype for w in network.parameters()} == {torch.bfloat16}
  exact = dataclasses.replace(pipeline, dtype=torch.float32)
  generator = torch.Generator().manual_seed(0)
  for _ in range(2):  # At first, and after the weights have moved.
    true = gradients_of(exact, None)
    apart = [
      (gradients_of(pipeline, one) - true).norm() / true.norm()
      for one in (network, None)
    ]
    assert 0 < apart[0] < 2 * apart[1] < 0.2
    with torch.no_grad():
      for weight in pipeline.denoiser.parameters():
        weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


def test_a_step_moves_the_weights_in_float32():
  pipeline = make_tiny('bfloat16')
  state = from_scratch.init_state(pipeline, TRAINING)
  before = [w.detach().clone() for w in pipeline.denoiser.parameters()]
  assert state.lowered is not None
  from_scratch.train_step(pipeline, state, TRAINING, batch())
  moved = [
    (a - b).abs().max() > 0
    for a, b in zip(pipeline.denoiser.parameters(), before, strict=True)
  ]
  assert np.mean(moved) > 0.9
  assert {w.dtype for w in pipeline.denoiser.parameters()} == {torch.float32}
  assert all(w.grad is None for w in state.lowered.parameters())


def test_there_is_none_where_weights_are_what_is_computed_in():
  assert lowered.make(make_tiny('float32')) is None
