"""Renders on their way into noise: at random, or led there by the network.

Random noise is added to a render (`add_noise`). DDIM inversion instead asks the
network what noise a render has in it, and goes on from there step by step
(`invert`), so that the same render is always led to the same noise.
"""

from collections.abc import Callable
import dataclasses

import numpy as np
import torch

from mmdist.priors import pipeline as pipelines
from mmdist.priors import schedule as schedules


@dataclasses.dataclass(frozen=True, eq=False)
class Noised:
  """Renders in the network's space, noised.

  Attributes:
    latents: [V, C, h, w] clean, without gradient.
    noise: as latents.
    timestep: [V] int64.
    alpha_t: [V, 1, 1, 1] share of the latents.
    sigma_t: [V, 1, 1, 1] share of the noise.
    noisy: alpha_t latents + sigma_t noise.
  """

  latents: torch.Tensor
  noise: torch.Tensor
  timestep: torch.Tensor
  alpha_t: torch.Tensor
  sigma_t: torch.Tensor
  noisy: torch.Tensor


# Predicts [V, C, h, w], as the network does, at renders that are noised.
Predict = Callable[[Noised], torch.Tensor]


def add_noise(
  pipeline: pipelines.Pipeline,
  latents: torch.Tensor,
  noise: np.ndarray,
  t: np.ndarray,
) -> Noised:
  """Noises latents to t [V] in [0, 1] with noise drawn by numpy.

  Numpy draws it, so that it is the same on every device: torch's generators
  differ between CPU and CUDA.
  """
  added = torch.from_numpy(noise).to(latents)
  timestep = schedules.t_to_timestep(pipeline.schedule, t).to(latents.device)
  alpha_t, sigma_t = schedules.coefficients(pipeline.schedule, timestep)
  noisy = schedules.add_noise(latents, added, alpha_t, sigma_t)
  return Noised(latents, added, timestep, alpha_t, sigma_t, noisy)


def to_eps(
  pipeline: pipelines.Pipeline, noise_pred: torch.Tensor, at: Noised
) -> torch.Tensor:
  """Returns the estimate of the noise that a prediction stands for."""
  return schedules.noise_pred_to_eps(*_known(pipeline, noise_pred, at))


def to_x0(
  pipeline: pipelines.Pipeline, noise_pred: torch.Tensor, at: Noised
) -> torch.Tensor:
  """Returns the estimate of the render that a prediction stands for."""
  return schedules.noise_pred_to_x0(*_known(pipeline, noise_pred, at))


def _known(
  pipeline: pipelines.Pipeline, noise_pred: torch.Tensor, at: Noised
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, str]:
  kind = pipeline.schedule.prediction_type
  return noise_pred, at.noisy, at.alpha_t, at.sigma_t, kind


def start_inversion(latents: torch.Tensor) -> Noised:
  """Returns clean latents as DDIM inversion begins: no noise is in them."""
  timestep = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
  one = torch.ones(len(latents), 1, 1, 1, device=latents.device)
  return Noised(
    latents, torch.zeros_like(latents), timestep, one, 0 * one, latents
  )


def invert(
  pipeline: pipelines.Pipeline,
  begin: Noised,
  levels: np.ndarray,
  predict: Predict,
) -> Noised:
  """Leads renders to higher noise levels by DDIM inversion.

  Each step takes the network's estimates of render and noise where it is, and
  mixes them as the next level has them.

  Args:
    pipeline: whose schedule says the mixtures.
    begin: where they are.
    levels: [K, V] t in [0, 1], where the K steps lead.
    predict: what the network predicts; called K times.

  Returns:
    Renders at the last level; their noise is what would have been added.
  """
  noised = begin
  for t in levels:
    noise_pred = predict(noised)
    timestep = schedules.t_to_timestep(pipeline.schedule, t)
    timestep = timestep.to(noised.noisy.device)
    alpha_t, sigma_t = schedules.coefficients(pipeline.schedule, timestep)
    noisy = schedules.add_noise(
      to_x0(pipeline, noise_pred, noised),
      to_eps(pipeline, noise_pred, noised),
      alpha_t,
      sigma_t,
    )
    noise = (noisy - alpha_t * begin.latents) / sigma_t
    noised = Noised(begin.latents, noise, timestep, alpha_t, sigma_t, noisy)
  return noised
