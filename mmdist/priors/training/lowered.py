"""A copy of a network whose weights have the dtype in which it computes.

Weights in training are float32. On a CPU autocast, which rounds them in every
pass, costs a sixth of a step; a copy that is rounded once a step does not.
"""

from collections.abc import Callable
import copy
import dataclasses

import torch

from mmdist.priors import pipeline as pipelines


def make(pipeline: pipelines.Pipeline) -> torch.nn.Module | None:
  """Returns a copy of the denoiser; None where none would be faster.

  Args:
    pipeline: with float32 weights, of which those to train take gradients.
  """
  if pipeline.dtype == torch.float32 or pipeline.device.type != 'cpu':
    return None
  network: torch.nn.Module = copy.deepcopy(pipeline.denoiser)
  # torch's `to` is called directly, because diffusers' own warns of layers
  # kept in float32 although there are none here.
  return torch.nn.Module.to(network, pipeline.dtype)


def descend(
  pipeline: pipelines.Pipeline,
  network: torch.nn.Module | None,
  loss_of: Callable[[pipelines.Pipeline], torch.Tensor],
) -> torch.Tensor:
  """Leaves a loss's gradients in the denoiser's weights; returns the loss.

  Args:
    pipeline: whose denoiser's weights get them.
    network: as `make` returns it; None computes under autocast.
    loss_of: returns the loss of the pipeline that it is given.
  """
  if network is None:
    loss = loss_of(pipeline)
    loss.backward()
    return loss
  weights = tuple(pipeline.denoiser.parameters())
  rounded = tuple(network.parameters())
  with torch.no_grad():
    torch._foreach_copy_(rounded, weights)
  loss = loss_of(
    dataclasses.replace(pipeline, denoiser=network, is_mixed=False)
  )
  loss.backward()
  for weight, low in zip(weights, rounded, strict=True):
    weight.grad = None if low.grad is None else low.grad.float()
    low.grad = None
  return loss
