"""Muon over the weights of a network, against what defines it."""

import numpy as np
import pytest
import torch

from mmdist.priors.training import matrix_optimizer

RATE = 1e-3


class Network(torch.nn.Module):
  def __init__(self):
    super().__init__()
    self.conv_in = torch.nn.Conv2d(3, 6, 3)
    self.wide = torch.nn.Linear(24, 4)
    self.filter = torch.nn.Conv2d(5, 6, 3)
    self.norm = torch.nn.GroupNorm(2, 6)
    self.conv_out = torch.nn.Conv2d(6, 3, 3)


def test_it_takes_matrices_but_those_that_read_or_write_pixels():
  network = Network()
  optimizer = matrix_optimizer.MatrixOptimizer(network, RATE)
  taken = {id(weight) for weight in optimizer.weights}
  assert taken == {id(network.wide.weight), id(network.filter.weight)}


def moved(layout, gradients):
  """Returns a filter after some steps, in torch's usual order."""
  torch.manual_seed(0)
  network = Network().to(memory_format=layout)
  optimizer = matrix_optimizer.MatrixOptimizer(network, RATE)
  for gradient in gradients:
    network.filter.weight.grad = gradient.clone()
    optimizer.step(RATE)
  return network.filter.weight.detach().contiguous(), optimizer, network


def gradients_of(count):
  generator = torch.Generator().manual_seed(1)
  shape = (6, 5, 3, 3)
  return [torch.randn(shape, generator=generator) for _ in range(count)]


def test_a_step_moves_all_directions_of_a_matrix_alike():
  (gradient,) = gradients_of(1)
  # One direction is a hundred times as large as the others.
  flat = gradient.flatten(1)
  gradient = (flat + 100 * torch.outer(flat[:, 0], flat[0])).view_as(gradient)
  before, _, _ = moved(torch.contiguous_format, [])
  after, _, _ = moved(torch.contiguous_format, [gradient])
  rate = RATE * matrix_optimizer.RATE_RATIO
  step = (before * (1 - rate * 0.05) - after).flatten(1).double().numpy()
  sizes = np.linalg.svd(step, compute_uv=False)
  # By 0.2 sqrt(45) in each, as near as five iterations in bfloat16 come to it.
  wanted = rate * 0.2 * np.sqrt(45)
  assert np.all((0.6 * wanted < sizes) & (sizes < 1.3 * wanted))
  # Each goes downhill: the same singular vectors as the gradient's.
  assert np.sum(step * gradient.flatten(1).numpy()) > 0


@pytest.mark.parametrize(
  'order', [torch.contiguous_format, torch.channels_last]
)
def test_a_filter_moves_alike_however_it_and_its_gradient_lie_in_memory(order):
  gradients = gradients_of(3)
  usual, _, _ = moved(torch.contiguous_format, gradients)
  other = [g.contiguous(memory_format=order) for g in gradients]
  found, _, _ = moved(torch.channels_last, other)
  # Sums in another order, in bfloat16.
  torch.testing.assert_close(found, usual, rtol=0, atol=0.03 * RATE)
  assert (found - moved(order, [])[0]).abs().mean() > 0.3 * RATE


def test_momentum_goes_on_in_another_optimizer():
  gradients = gradients_of(4)
  whole, _, _ = moved(torch.channels_last, gradients)
  _, first, network = moved(torch.channels_last, gradients[:2])
  second = matrix_optimizer.MatrixOptimizer(network, RATE)
  second.restore(first.momentum())
  for gradient in gradients[2:]:
    network.filter.weight.grad = gradient.clone()
    second.step(RATE)
  assert torch.equal(network.filter.weight.detach(), whole)
