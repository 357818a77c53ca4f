"""Noise levels: t, a and s, the weight w(t), and eps, v, x0 and flow made one.

A noisy image is x_t = a_t x + s_t e. A network predicts the noise e
('epsilon'), the image x ('sample') or v = a e - s x ('v_prediction'), with
a^2 + s^2 = 1; or, by flow matching, the velocity e - x ('flow'), with
a + s = 1. Its scheduler's config says which. Everything here is batched over
views.
"""

from collections.abc import Callable, Mapping
import dataclasses
import inspect
from typing import Any

import diffusers
import torch

BETA_PREDICTION_TYPES = ('epsilon', 'v_prediction', 'sample')
PREDICTION_TYPES = (*BETA_PREDICTION_TYPES, 'flow')

_FLOW = diffusers.FlowMatchEulerDiscreteScheduler

# w(t), from a and s (docs/method.md, section 2, 'Weighting'); a common factor
# is the learning rate's.
WEIGHTINGS: Mapping[str, Callable[..., torch.Tensor]] = {
  'sigma2': lambda a, s: s**2,
  'uniform': lambda a, s: torch.ones_like(s),
  # The x0 form with w0 = 1 (w = w0 s / a). Grows without bound as a goes to 0.
  'x0': lambda a, s: s / a,
  'fantasia': lambda a, s: a * s**2,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
  """The noise levels a network was trained on.

  Attributes:
    signal: [N] a per timestep, decreasing, float32.
    noise: [N] s per timestep, increasing, float32.
    times: [N] what the network calls a timestep: its number in int64, or for
      flow matching s times their count in float32.
    prediction_type: what the network predicts; one of `PREDICTION_TYPES`.
    config: the scheduler's own config, kept for saving.
  """

  signal: torch.Tensor
  noise: torch.Tensor
  times: torch.Tensor
  prediction_type: str
  config: Mapping[str, Any]

  def __len__(self) -> int:
    return len(self.signal)


def schedule_from_config(config: Mapping[str, Any]) -> Schedule:
  """Reads the config of any diffusers scheduler that has betas, or of flows.

  Which sampler it names does not matter: only noise levels are read.

  Raises:
    ValueError: the scheduler is of another kind (EDM, flows that shift with
      the image), or its network predicts something unknown.
  """
  name = str(config.get('_class_name', 'DDPMScheduler'))
  if name.startswith('FlowMatch'):
    return _flow_schedule(config, name)
  prediction_type = config.get('prediction_type', 'epsilon')
  known = inspect.signature(diffusers.DDPMScheduler.__init__).parameters
  if not _has_betas(name) or prediction_type not in BETA_PREDICTION_TYPES:
    raise ValueError(
      f'scheduler {name} with prediction_type {prediction_type!r} is not '
      'supported; expected one with betas that predicts '
      f'{", ".join(BETA_PREDICTION_TYPES)}, or FlowMatchEulerDiscreteScheduler.'
    )
  scheduler = diffusers.DDPMScheduler(
    **{key: value for key, value in config.items() if key in known}
  )
  alphas = scheduler.alphas_cumprod
  return Schedule(
    signal=alphas.sqrt(),
    noise=(1 - alphas).sqrt(),
    times=torch.arange(len(alphas)),
    prediction_type=prediction_type,
    config=dict(config),
  )


def _has_betas(name: str) -> bool:
  """Returns whether a scheduler of diffusers is given by its betas."""
  scheduler = getattr(diffusers, name, None)
  if not inspect.isclass(scheduler):
    return False
  return 'beta_start' in inspect.signature(scheduler.__init__).parameters


def _flow_schedule(config: Mapping[str, Any], name: str) -> Schedule:
  """Reads a flow: x_t = (1 - s) x + s e, with diffusers' own shifted s."""
  if config.get('use_dynamic_shifting') or name != _FLOW.__name__:
    raise ValueError(
      f'scheduler {name} with use_dynamic_shifting='
      f'{bool(config.get("use_dynamic_shifting"))} is not supported; expected '
      f'{_FLOW.__name__} with a constant shift.'
    )
  known = inspect.signature(_FLOW.__init__).parameters
  scheduler = _FLOW(**{k: v for k, v in config.items() if k in known})
  noise = scheduler.sigmas.flip(0).float()
  return Schedule(
    signal=1 - noise,
    noise=noise,
    times=scheduler.timesteps.flip(0).float(),
    prediction_type='flow',
    config=dict(config),
  )


def t_to_timestep(schedule: Schedule, t) -> torch.Tensor:
  """Turns t in [0, 1] into the nearest timestep, int64 in [0, N - 1]."""
  t = torch.as_tensor(t, dtype=torch.float64)
  last = len(schedule) - 1
  return (t * last).round().clamp(0, last).long()


def coefficients(
  schedule: Schedule, timestep: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
  """Returns a and s, each [V, 1, 1, 1] float32 on the timestep's device."""
  a, s = (
    level.to(timestep.device)[timestep][:, None, None, None]
    for level in (schedule.signal, schedule.noise)
  )
  return a, s


def add_noise(latents, noise, a, s) -> torch.Tensor:
  """Returns x_t = a x + s e."""
  return a * latents + s * noise


def prediction_to_eps(prediction, noisy, a, s, prediction_type: str):
  """Turns a network's output at x_t = `noisy` into its estimate of e."""
  if prediction_type == 'epsilon':
    return prediction
  if prediction_type == 'v_prediction':
    return a * prediction + s * noisy
  if prediction_type == 'flow':
    return noisy + a * prediction
  return (noisy - a * prediction) / s


def prediction_to_x0(prediction, noisy, a, s, prediction_type: str):
  """Turns a network's output at x_t = `noisy` into its estimate of x."""
  if prediction_type == 'sample':
    return prediction
  if prediction_type == 'v_prediction':
    return a * noisy - s * prediction
  if prediction_type == 'flow':
    return noisy - s * prediction
  return (noisy - s * prediction) / a


def training_target(latents, noise, a, s, prediction_type: str):
  """Returns what the network should have predicted."""
  if prediction_type == 'epsilon':
    return noise
  if prediction_type == 'v_prediction':
    return a * noise - s * latents
  if prediction_type == 'flow':
    return noise - latents
  return latents
