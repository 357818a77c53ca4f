"""Noise levels: t, the weight w(t), and what networks of four kinds predict.

A noisy image is x_t = alpha_t x + sigma_t e. A network predicts the noise e
('epsilon'), the image x ('sample') or v = alpha_t e - sigma_t x
('v_prediction'), with alpha_t^2 + sigma_t^2 = 1; or, by flow matching, the
velocity e - x ('flow'), with alpha_t + sigma_t = 1. Its scheduler's config says
which; here each prediction is turned into e or x. Everything is batched over
views.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import inspect
from typing import Any

import diffusers
import numpy as np
import torch

from mmdist.core import errors
from mmdist.core import model_files
from mmdist.priors import signatures

BETA_PREDICTION_TYPES = ('epsilon', 'v_prediction', 'sample')
PREDICTION_TYPES = (*BETA_PREDICTION_TYPES, 'flow')

_FLOW = 'FlowMatchEulerDiscreteScheduler'
# Stands for a level alpha_t or sigma_t of zero. A schedule of zero terminal SNR
# (Lin et al. 2024), and every flow, ends in pure noise; others begin with a
# clean image. At such an end a prediction of v or of a velocity still says what
# x is, but through products of 0 and infinity. With a level this small, all
# formulas are finite and continuous there, and float32 keeps the four digits
# that it has beside the end. diffusers' own samplers take the same level.
LEAST_LEVEL = 2.0**-12
# A square of a level below this one is zero up to float32's rounding.
_NOTHING = 1e-10

# w(t), from alpha_t and sigma_t (docs/method.md, section 2, 'Weighting'). A
# constant factor is left out, since it would act as another learning rate. The
# keys are `messages.WEIGHTINGS`.
WEIGHTINGS: Mapping[
  str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
] = {
  'sigma2': lambda alpha_t, sigma_t: sigma_t**2,
  'uniform': lambda alpha_t, sigma_t: torch.ones_like(sigma_t),
  # The x0 form with w0 = 1 (w = w0 sigma_t / alpha_t). Grows without bound as
  # alpha_t goes to 0.
  'x0': lambda alpha_t, sigma_t: sigma_t / alpha_t,
  'fantasia': lambda alpha_t, sigma_t: alpha_t * sigma_t**2,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
  """The noise levels a network was trained on.

  Attributes:
    signal: [N] alpha_t per timestep, decreasing, float32.
    noise: [N] sigma_t per timestep, increasing, float32.
    times: [N] the time that the network is given at a timestep: the timestep's
      number in int64; for flow matching sigma_t N in float32.
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

  @property
  def ends_in_noise(self) -> bool:
    """Whether nothing of the image is left at the last timestep."""
    return float(self.signal[-1]) == LEAST_LEVEL


def schedule_from_config(
  config: Mapping[str, Any], num_tokens: int | None = None
) -> Schedule:
  """Reads the config of any diffusers scheduler that has betas, or of flows.

  Which sampler it names does not matter: only noise levels are read.

  Args:
    config: of a scheduler.
    num_tokens: of an image, by which some flows are shifted (Flux); None where
      there are none.

  Raises:
    UserError: the scheduler is of another kind (EDM), or its network predicts
      something unknown.
  """
  name = str(config.get('_class_name', 'DDPMScheduler'))
  if name.startswith('FlowMatch'):
    return _flow_schedule(config, name, num_tokens)
  defaults = _defaults(name)
  settings = {**defaults, **config}
  prediction_type = settings.get('prediction_type', 'epsilon')
  is_flow = 'use_flow_sigmas' in defaults and settings['use_flow_sigmas']
  if is_flow and prediction_type == 'flow_prediction':
    return _sampled_flow(settings, config, name)
  known = inspect.signature(diffusers.DDPMScheduler.__init__).parameters
  if not _has_betas(name) or prediction_type not in BETA_PREDICTION_TYPES:
    raise errors.UserError(
      f'scheduler {name} with prediction_type {prediction_type!r} is not '
      'supported; expected one with betas that predicts '
      f'{", ".join(BETA_PREDICTION_TYPES)}, or flow_prediction with '
      'use_flow_sigmas, or FlowMatchEulerDiscreteScheduler.'
    )
  if settings.get('snr_shift_scale', 1.0) not in (None, 1, 1.0):
    raise errors.UserError(
      f'scheduler {name} has snr_shift_scale={settings["snr_shift_scale"]!r}, '
      'which moves its noise levels and is not read; expected 1.'
    )
  scheduler: Any = _build(
    diffusers.DDPMScheduler,
    name,
    {key: value for key, value in settings.items() if key in known},
  )
  alphas = scheduler.alphas_cumprod
  if not ((alphas >= 0) & (alphas <= 1)).all():
    raise errors.UserError(
      f'scheduler {name} has betas whose products leave [0, 1]; expected betas '
      'in [0, 1].'
    )
  alphas = torch.where(alphas < _NOTHING, LEAST_LEVEL**2, alphas)
  alphas = torch.where(1 - alphas < _NOTHING, 1 - LEAST_LEVEL**2, alphas)
  return Schedule(
    signal=alphas.sqrt(),
    noise=(1 - alphas).sqrt(),
    times=torch.arange(len(alphas)),
    prediction_type=prediction_type,
    config=dict(config),
  )


def check_weighting(schedule: Schedule, weighting: str) -> None:
  """Raises UserError where w(t) has no bound at an end of a schedule."""
  predicts = schedule.prediction_type
  if weighting == 'x0' and predicts == 'epsilon' and schedule.ends_in_noise:
    raise errors.UserError(
      'weighting is x0, and the network predicts epsilon on a schedule of zero '
      'terminal SNR (rescale_betas_zero_snr): at t = 1 it says nothing about '
      'x0, and its weight would be infinite; expected another weighting, such '
      'as sigma2.'
    )


def check_can_sample(schedule: Schedule) -> None:
  """Raises UserError where no picture can be sampled from pure noise."""
  if schedule.prediction_type == 'epsilon' and schedule.ends_in_noise:
    raise errors.UserError(
      'no picture can be sampled: the network predicts epsilon on a schedule '
      'of zero terminal SNR (rescale_betas_zero_snr), and the noise in pure '
      'noise says nothing about a picture; expected v_prediction in '
      'scheduler/scheduler_config.json, or rescale_betas_zero_snr false if the '
      'network was trained without it.'
    )


def _build(kind: Any, name: str, settings: Mapping[str, Any]) -> Any:
  """Builds a scheduler of diffusers, or raises UserError in one line."""
  try:
    return kind(**settings)
  # NotImplementedError: a schedule of betas that it does not know.
  except (
    NotImplementedError,
    TypeError,
    ValueError,
    RuntimeError,
    ZeroDivisionError,
  ) as error:
    raise errors.UserError(
      f'scheduler {name} cannot be read from its config: '
      f'{model_files.first_line(error)}'
    ) from error


def _defaults(name: str) -> dict[str, Any]:
  """Returns what a scheduler of diffusers takes where its config is silent."""
  scheduler = getattr(diffusers, name, None)
  if not inspect.isclass(scheduler):
    return {}
  return signatures.defaults_of(scheduler)


def _has_betas(name: str) -> bool:
  """Returns whether a scheduler of diffusers is given by its betas."""
  scheduler = getattr(diffusers, name, None)
  if not inspect.isclass(scheduler):
    return False
  return 'beta_start' in inspect.signature(scheduler.__init__).parameters


def _flow_schedule(
  config: Mapping[str, Any], name: str, num_tokens: int | None
) -> Schedule:
  """Reads a flow: x_t = (1 - sigma_t) x + sigma_t e.

  Its sigma_t is shifted as diffusers' own scheduler shifts it.
  """
  is_dynamic = bool(config.get('use_dynamic_shifting'))
  if name != _FLOW or (is_dynamic and num_tokens is None):
    raise errors.UserError(
      f'scheduler {name} with use_dynamic_shifting={is_dynamic} is not '
      f'supported; expected {_FLOW} with a constant shift, or a transformer '
      'whose images have a known size.'
    )
  # Here, because it imports scipy's statistics, and most priors are no flows.
  kind = diffusers.FlowMatchEulerDiscreteScheduler
  known = inspect.signature(kind.__init__).parameters
  settings = {k: v for k, v in config.items() if k in known}
  scheduler: Any = _build(kind, name, settings)
  if is_dynamic:
    # All timesteps, shifted as for images of this size.
    count = scheduler.config.num_train_timesteps
    scheduler.set_timesteps(
      sigmas=np.linspace(1.0, 1 / count, count),
      mu=_dynamic_shift(scheduler.config, num_tokens or 0),
    )
  # Sampling adds an end of 0, which no network was trained at.
  noise = scheduler.sigmas[: len(scheduler.timesteps)].flip(0).float()
  noise = noise.clamp(LEAST_LEVEL, 1 - LEAST_LEVEL)
  return Schedule(
    signal=1 - noise,
    noise=noise,
    times=scheduler.timesteps.flip(0).float(),
    prediction_type='flow',
    config=dict(config),
  )


def _sampled_flow(
  settings: Mapping[str, Any], config: Mapping[str, Any], name: str
) -> Schedule:
  """Reads a flow of a scheduler that has betas too and does not use them.

  DPM-Solver's of Sana: its levels are those of a flow with a constant shift.
  """
  if settings.get('use_dynamic_shifting'):
    raise errors.UserError(
      f'scheduler {name} with use_flow_sigmas has use_dynamic_shifting, which '
      'is not supported; expected a constant flow_shift.'
    )
  flow = {
    'num_train_timesteps': settings['num_train_timesteps'],
    'shift': settings['flow_shift'],
  }
  read = _flow_schedule(flow, _FLOW, None)
  return dataclasses.replace(read, config=dict(config))


def _dynamic_shift(config: Mapping[str, Any], num_tokens: int) -> float:
  """Returns mu, which grows with an image, as diffusers' pipelines take it."""
  least, most = (
    config.get('base_image_seq_len', 256),
    config.get('max_image_seq_len', 4096),
  )
  low, high = config.get('base_shift', 0.5), config.get('max_shift', 1.15)
  return low + (high - low) * (num_tokens - least) / (most - least)


def t_to_timestep(
  schedule: Schedule, t: np.ndarray | Sequence[float]
) -> torch.Tensor:
  """Turns t in [0, 1] into the nearest timestep, int64 in [0, N - 1]."""
  last = len(schedule) - 1
  return (
    (torch.as_tensor(t, dtype=torch.float64) * last)
    .round()
    .clamp(0, last)
    .long()
  )


def coefficients(
  schedule: Schedule, timestep: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
  """Returns alpha_t and sigma_t, [V, 1, 1, 1] float32 on timestep's device."""
  alpha_t, sigma_t = (
    level.to(timestep.device)[timestep][:, None, None, None]
    for level in (schedule.signal, schedule.noise)
  )
  return alpha_t, sigma_t


def add_noise(
  latents: torch.Tensor,
  noise: torch.Tensor,
  alpha_t: torch.Tensor,
  sigma_t: torch.Tensor,
) -> torch.Tensor:
  """Returns x_t = alpha_t x + sigma_t e."""
  return alpha_t * latents + sigma_t * noise


# The conversions below solve x_t = alpha_t x + sigma_t e, together with the
# definition of what the network predicts, for e or for x.


def noise_pred_to_eps(
  noise_pred: torch.Tensor,
  noisy: torch.Tensor,
  alpha_t: torch.Tensor,
  sigma_t: torch.Tensor,
  prediction_type: str,
) -> torch.Tensor:
  """Turns a network's output at x_t = `noisy` into its estimate of e."""
  if prediction_type == 'epsilon':
    return noise_pred
  if prediction_type == 'v_prediction':
    return alpha_t * noise_pred + sigma_t * noisy
  if prediction_type == 'flow':
    return noisy + alpha_t * noise_pred
  return (noisy - alpha_t * noise_pred) / sigma_t


def noise_pred_to_x0(
  noise_pred: torch.Tensor,
  noisy: torch.Tensor,
  alpha_t: torch.Tensor,
  sigma_t: torch.Tensor,
  prediction_type: str,
) -> torch.Tensor:
  """Turns a network's output at x_t = `noisy` into its estimate of x."""
  if prediction_type == 'sample':
    return noise_pred
  if prediction_type == 'v_prediction':
    return alpha_t * noisy - sigma_t * noise_pred
  if prediction_type == 'flow':
    return noisy - sigma_t * noise_pred
  return (noisy - sigma_t * noise_pred) / alpha_t


def training_target(
  latents: torch.Tensor,
  noise: torch.Tensor,
  alpha_t: torch.Tensor,
  sigma_t: torch.Tensor,
  prediction_type: str,
) -> torch.Tensor:
  """Returns what the network should have predicted."""
  if prediction_type == 'epsilon':
    return noise
  if prediction_type == 'v_prediction':
    return alpha_t * noise - sigma_t * latents
  if prediction_type == 'flow':
    return noise - latents
  return latents
