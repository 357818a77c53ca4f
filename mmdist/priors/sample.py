"""Pictures from a prior alone: a DDIM sampler with guidance."""

from collections.abc import Sequence

import numpy as np
import torch

from mmdist.core import errors
from mmdist.core import seeds
from mmdist.priors import denoisers
from mmdist.priors import image_codec
from mmdist.priors import pipeline as pipelines
from mmdist.priors import schedule as schedules
from mmdist.priors import text_encoders


@torch.no_grad()
def sample(
  pipeline: pipelines.Pipeline,
  prompts: Sequence[str],
  guidance_scale: float = 4.0,
  num_steps: int = 25,
  seed: int = 0,
) -> np.ndarray:
  """Draws one picture per prompt.

  Args:
    pipeline: the model.
    prompts: N texts.
    guidance_scale: s in uncond + s (cond - uncond); 1 is unguided.
    num_steps: passes of the network, from 1 to its number of timesteps.
    seed: decides the noise, and with it every picture; picture i does not
      depend on the other prompts.

  Returns:
    [N, H, W, 3] float32 in [0, 1].

  Raises:
    UserError: a prompt is wrong, or nothing can be sampled from pure noise;
      see `schedule.check_can_sample`.

  Source: Song et al. 2021, DDIM, eq. 12 with eta = 0; trailing timesteps after
  Lin et al. 2024, so that the first step starts from pure noise.
  """
  schedules.check_can_sample(pipeline.schedule)
  texts = list(prompts)
  if guidance_scale != 1:
    texts += [''] * len(prompts)
  prompt_embeds = pipeline.text.encode(texts)
  latents = _draw_noise(pipeline, len(prompts), seed)
  timesteps = _trailing_timesteps(pipeline.schedule, num_steps)
  for timestep, following in zip(timesteps, [*timesteps[1:], None]):
    latents = _denoise(
      pipeline, latents, timestep, following, prompt_embeds, guidance_scale
    )
  pixels = pipeline.codec.decode(latents).clamp(-1, 1) / 2 + 0.5
  return pixels.permute(0, 2, 3, 1).float().cpu().numpy()


def _draw_noise(
  pipeline: pipelines.Pipeline, count: int, seed: int
) -> torch.Tensor:
  size = pipeline.image_size // pipeline.codec.factor
  network = pipeline.denoiser
  channels = denoisers.latent_channels(type(network).__name__, network.config)
  shape = (channels, size, size)
  noise = [
    seeds.generator(seed, index, 'sample').standard_normal(
      shape, dtype=np.float32
    )
    for index in range(count)
  ]
  return torch.from_numpy(np.stack(noise)).to(pipeline.device)


def _trailing_timesteps(
  schedule: schedules.Schedule, num_steps: int
) -> list[int]:
  last = len(schedule)
  if not 1 <= num_steps <= last:
    raise errors.UserError(f'num_steps is {num_steps}; expected 1 to {last}.')
  return [round(last - i * last / num_steps) - 1 for i in range(num_steps)]


def _denoise(
  pipeline: pipelines.Pipeline,
  latents: torch.Tensor,
  timestep: int,
  following: int | None,
  prompt_embeds: text_encoders.PromptEmbeds,
  guidance_scale: float,
) -> torch.Tensor:
  """Goes from one timestep to the following one; None is the clean image."""
  repeats = len(prompt_embeds.sequence) // len(latents)
  timesteps = torch.full((len(latents),), timestep, device=latents.device)
  noise_pred = pipelines.predict(
    pipeline,
    latents.repeat(repeats, 1, 1, 1),
    timesteps.repeat(repeats),
    prompt_embeds,
  )
  if repeats == 2:
    wanted, empty = noise_pred.chunk(2)
    noise_pred = empty + guidance_scale * (wanted - empty)
  alpha_t, sigma_t = schedules.coefficients(pipeline.schedule, timesteps)
  x0 = schedules.noise_pred_to_x0(
    noise_pred,
    latents,
    alpha_t,
    sigma_t,
    pipeline.schedule.prediction_type,
  )
  if isinstance(pipeline.codec, image_codec.PixelCodec):
    x0 = x0.clamp(-1, 1)  # Pixels have a range; the latents of a VAE do not.
  if following is None:
    return x0
  eps = (latents - alpha_t * x0) / sigma_t
  alpha_t, sigma_t = schedules.coefficients(
    pipeline.schedule, torch.full_like(timesteps, following)
  )
  return schedules.add_noise(x0, eps, alpha_t, sigma_t)
