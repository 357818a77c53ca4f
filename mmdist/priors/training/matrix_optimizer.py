"""Muon for the weights of a network that are matrices.

A step along a matrix of gradients mostly moves the few directions in which
these are large. Muon takes the nearest orthogonal matrix instead, which moves
all of them alike. A small prior then needs half as many pictures for the same
loss as with AdamW alone (docs/results.md, 'A small prior of people').

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the rate
is that of Liu et al. 2025, arXiv:2502.16982, by which an entry of a matrix
moves as far as AdamW would move it.
"""

from collections.abc import Mapping

import torch

# Of its rate to that of AdamW.
RATE_RATIO = 3.0
_MOMENTUM = 0.95
_WEIGHT_DECAY = 0.05
# Convolutions that read and write pixels: they are no maps between features.
_NO_MATRICES = ('conv_in.', 'conv_out.')


class MatrixOptimizer:
  """Torch's Muon, which takes matrices, over weights of any shape.

  A convolution is the matrix of its outputs by all that one of them reads.

  Attributes:
    weights: which it moves.
  """

  def __init__(self, network: torch.nn.Module, learning_rate: float):
    """Takes the matrices of a network.

    Args:
      network: with float32 weights.
      learning_rate: of AdamW, for the other weights.
    """
    self.weights = [
      weight
      for name, weight in network.named_parameters()
      if weight.ndim > 1 and not name.startswith(_NO_MATRICES)
    ]
    # Of the same memory: what moves these moves the weights.
    self._matrices = [
      torch.nn.Parameter(_as_matrix(weight.detach(), weight))
      for weight in self.weights
    ]
    self._optimizer = torch.optim.Muon(
      self._matrices,
      learning_rate * RATE_RATIO,
      weight_decay=_WEIGHT_DECAY,
      momentum=_MOMENTUM,
      adjust_lr_fn='match_rms_adamw',
    )

  def step(self, learning_rate: float) -> None:
    """Moves the weights along their gradients.

    Args:
      learning_rate: of AdamW, see `RATE_RATIO`.
    """
    for weight, matrix in zip(self.weights, self._matrices, strict=True):
      grad = weight.grad
      matrix.grad = None if grad is None else _as_matrix(grad, weight)
    self._optimizer.param_groups[0]['lr'] = learning_rate * RATE_RATIO
    self._optimizer.step()
    for matrix in self._matrices:
      matrix.grad = None

  def momentum(self) -> dict[torch.nn.Parameter, torch.Tensor]:
    """Returns what is kept of past gradients, by weight; [outputs, inputs]."""
    return {
      weight: self._optimizer.state[matrix]['momentum_buffer']
      for weight, matrix in zip(self.weights, self._matrices, strict=True)
      if 'momentum_buffer' in self._optimizer.state.get(matrix, {})
    }

  def restore(
    self, momentum: Mapping[torch.nn.Parameter, torch.Tensor]
  ) -> None:
    """Takes back what `momentum` has returned; others begin without any."""
    for weight, matrix in zip(self.weights, self._matrices, strict=True):
      if weight in momentum:
        self._optimizer.state[matrix]['momentum_buffer'] = momentum[weight]


def _as_matrix(tensor: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
  """Returns [outputs, inputs] of a weight or of its gradient.

  Of a weight it is the same memory: inputs are in the order in which the weight
  lies there, which does not matter to Muon.

  Args:
    tensor: [outputs, ...].
    weight: whose order is taken.
  """
  if weight.ndim == 4 and not weight.is_contiguous():
    tensor = tensor.permute(0, 2, 3, 1)  # Channels last.
  return tensor.flatten(1)
