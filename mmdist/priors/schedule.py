"""Noise levels: t, a and s, the weight w(t), and eps, v and x0 made one.

A noisy image is x_t = a_t x + s_t e with a^2 + s^2 = 1. A network predicts the
noise e ('epsilon'), the image x ('sample') or v = a e - s x ('v_prediction');
its scheduler's config says which. Everything here is batched over views.
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
from typing import Any

import diffusers
import torch

PREDICTION_TYPES = ('epsilon', 'v_prediction', 'sample')

# w(t) of method.md O4, from a and s; a common factor is the learning rate's.
WEIGHTINGS: Mapping[str, Callable[..., torch.Tensor]] = {
  'sigma2': lambda a, s: s**2,
  'uniform': lambda a, s: torch.ones_like(s),
  # The x0 form with w0 = 1, by O3. Grows without bound as a goes to 0.
  'x0': lambda a, s: s / a,
  'fantasia': lambda a, s: a * s**2,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
  """The noise levels a network was trained on.

  Attributes:
    alphas_cumprod: [N] a^2 per timestep, decreasing, float32.
    prediction_type: what the network predicts; one of `PREDICTION_TYPES`.
    config: the scheduler's own config, kept for saving.
  """

  alphas_cumprod: torch.Tensor
  prediction_type: str
  config: Mapping[str, Any]


def schedule_from_config(config: Mapping[str, Any]) -> Schedule:
  """Reads any diffusers scheduler's config that is given by its betas.

  Raises:
    ValueError: the scheduler has no betas (flow matching), or predicts
      something unknown.
  """
  name = str(config.get('_class_name', 'no class'))
  prediction_type = config.get('prediction_type', 'epsilon')
  if 'FlowMatch' in name or prediction_type not in PREDICTION_TYPES:
    raise ValueError(
      f'scheduler {name} with prediction_type {prediction_type!r} is not '
      f'supported; expected betas and one of {", ".join(PREDICTION_TYPES)}.'
    )
  known = inspect.signature(diffusers.DDPMScheduler.__init__).parameters
  scheduler = diffusers.DDPMScheduler(
    **{key: value for key, value in config.items() if key in known}
  )
  return Schedule(scheduler.alphas_cumprod, prediction_type, dict(config))


def t_to_timestep(schedule: Schedule, t) -> torch.Tensor:
  """Turns t in [0, 1] into the nearest timestep, int64 in [0, N - 1]."""
  t = torch.as_tensor(t, dtype=torch.float64)
  last = len(schedule.alphas_cumprod) - 1
  return (t * last).round().clamp(0, last).long()


def coefficients(
  schedule: Schedule, timestep: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
  """Returns a and s, each [V, 1, 1, 1] float32 on the timestep's device."""
  alphas = schedule.alphas_cumprod.to(timestep.device)[timestep]
  alphas = alphas[:, None, None, None]
  return alphas.sqrt(), (1 - alphas).sqrt()


def add_noise(latents, noise, a, s) -> torch.Tensor:
  """Returns x_t = a x + s e."""
  return a * latents + s * noise


def prediction_to_eps(prediction, noisy, a, s, prediction_type: str):
  """Turns a network's output at x_t = `noisy` into its estimate of e."""
  if prediction_type == 'epsilon':
    return prediction
  if prediction_type == 'v_prediction':
    return a * prediction + s * noisy
  return (noisy - a * prediction) / s


def prediction_to_x0(prediction, noisy, a, s, prediction_type: str):
  """Turns a network's output at x_t = `noisy` into its estimate of x."""
  if prediction_type == 'sample':
    return prediction
  if prediction_type == 'v_prediction':
    return a * noisy - s * prediction
  return (noisy - s * prediction) / a


def training_target(latents, noise, a, s, prediction_type: str):
  """Returns what the network should have predicted."""
  if prediction_type == 'epsilon':
    return noise
  if prediction_type == 'v_prediction':
    return a * noise - s * latents
  return latents
