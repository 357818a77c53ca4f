"""How well a prior denoises given pictures, per noise level.

The loss of a training says little: it is dominated by the noise levels, and by
pictures that were seen. This is the same number for every prior of a size.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mmdist.core import seeds
from mmdist.priors import pipeline as pipelines
from mmdist.priors.training import guesses

LEVELS = (200, 400, 600, 800)  # Timesteps of 1,000.
_NUM_TIMESTEPS = 1000


def denoised_psnr(
  pipeline: pipelines.Pipeline,
  images: np.ndarray,
  texts: Sequence[str],
  levels: Sequence[int] = LEVELS,
) -> list[float]:
  """Returns how near the pictures are that a prior guesses behind noise.

  The noise is the same each time, and for each level.

  Args:
    pipeline: on any device; it guesses in one pass, without guidance.
    images: [N, H, W, 3] float32 in [0, 1].
    texts: N captions that say everything.
    levels: noise levels as timesteps of 1,000.

  Returns:
    Per level the PSNR in decibels over all pictures, of values in [0, 1].
  """
  latents = pipelines.encode_images(pipeline, torch.from_numpy(images))
  rng = seeds.generator(0, 0, 'denoised psnr')
  drawn = rng.standard_normal(latents.shape, dtype=np.float32)
  noise = torch.from_numpy(drawn).to(latents.device)
  return [
    _psnr(pipeline, latents, noise, texts, level / _NUM_TIMESTEPS)
    for level in levels
  ]


def _psnr(
  pipeline: pipelines.Pipeline,
  latents: torch.Tensor,
  noise: torch.Tensor,
  texts: Sequence[str],
  t: float,
) -> float:
  guessed = guesses.guess(pipeline, latents, noise, texts, t)
  # Pixels of [-1, 1] are twice as far apart as those of [0, 1].
  squares = ((guessed.clamp(-1, 1) - latents) / 2).square()
  return float(-10 * squares.mean().log10())
