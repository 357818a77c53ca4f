"""Bytes that live at a time, against sums by hand."""

import torch
from torch.nn import functional

from mmdist.priors import live_bytes


def make(*shape) -> torch.Tensor:
  return torch.zeros(*shape, device='meta')


def test_what_is_freed_makes_room():
  def run():
    for _ in range(5):
      make(10)
    kept = make(20)
    del kept

  assert live_bytes.peak(run) == 4 * 20


def test_what_is_kept_adds_up_and_views_do_not():
  def run():
    kept = [make(10) for _ in range(3)]
    kept += [kept[0].view(2, 5), kept[1][:3], kept[2].add_(1)]
    return kept

  assert live_bytes.peak(run) == 4 * 30


def test_inputs_and_weights_are_not_counted():
  layer = torch.nn.Linear(3, 5, device='meta')
  given = make(2, 3)
  assert live_bytes.peak(lambda: layer(given)) == 4 * 2 * 5


def test_attention_keeps_no_matrix_of_all_pairs():
  query, value = make(1, 2, 100, 8), make(1, 2, 100, 6)

  def attend():
    return functional.scaled_dot_product_attention(query, query, value=value)

  assert live_bytes.peak(attend) == 4 * 2 * 100 * 6


def test_nothing_is_kept_for_a_backward_pass():
  weight = make(4).requires_grad_()

  def run():
    total = weight
    for _ in range(9):
      total = (2 * total).exp()

  assert live_bytes.peak(run) == 4 * 4 * 3
