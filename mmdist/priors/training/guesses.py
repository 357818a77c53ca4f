"""What a prior takes a noisy picture for, in one pass and without guidance."""

from collections.abc import Sequence

import torch

from mmdist.priors import pipeline as pipelines
from mmdist.priors import schedule as schedules

_CHUNK = 64  # Pictures per pass, which bounds the memory on a CPU.


@torch.no_grad()
def guess(
  pipeline: pipelines.Pipeline,
  clean: torch.Tensor,
  noise: torch.Tensor,
  texts: Sequence[str],
  t: float,
) -> torch.Tensor:
  """Returns [N, C, h, w] clean latents as the prior guesses them behind noise.

  Args:
    pipeline: on any device.
    clean: [N, C, h, w] latents.
    noise: the same shape, standard normal.
    texts: N captions.
    t: noise level in [0, 1].
  """
  guesses = []
  for first in range(0, len(clean), _CHUNK):
    part = slice(first, first + _CHUNK)
    timestep = torch.full(
      (len(clean[part]),),
      round(t * len(pipeline.schedule)),
      device=clean.device,
    )
    alpha_t, sigma_t = schedules.coefficients(pipeline.schedule, timestep)
    noisy = schedules.add_noise(clean[part], noise[part], alpha_t, sigma_t)
    prompt_embeds = pipeline.text.encode(texts[part])
    noise_pred = pipelines.predict(pipeline, noisy, timestep, prompt_embeds)
    guesses.append(
      schedules.noise_pred_to_x0(
        noise_pred, noisy, alpha_t, sigma_t, pipeline.schedule.prediction_type
      )
    )
  return torch.cat(guesses)
