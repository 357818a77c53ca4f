"""What a network is asked when it learns to denoise, and how wrong it is.

Owns the laws of t, of empty texts and of families, and the errors that a
training adds up. Nothing here draws noise, so that a training on a CPU
(`dreambooth`) and one on a GPU (`device_training`) draw it where they compute.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mmdist.priors import pipeline as pipelines
from mmdist.priors import schedule as schedules
from mmdist.priors import text_encoders

# Of the sigma_t by which the errors of nearly clean pictures are divided.
_LEAST_NOISE = 0.05


def follow_families(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns whose draws each picture takes, and its family counted from 0.

  Args:
    numbers: [B] numbers of families.

  Returns:
    (lead, which), [B] int each: the first picture of the same family, and the
    family's rank among the numbers.
  """
  _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
  return first[which], which


def members(which: np.ndarray, device: torch.device) -> list[torch.Tensor]:
  """Returns [families, pictures] int64 rows, one array per size of a family.

  Args:
    which: as `follow_families` returns it. Pictures on their own are left out.
    device: where the rows are wanted.
  """
  rows: dict[int, list[np.ndarray]] = {}
  for number in np.flatnonzero(np.bincount(which) > 1):
    family = np.flatnonzero(which == number)
    rows.setdefault(len(family), []).append(family)
  return [
    torch.from_numpy(np.stack(families)).to(device)
    for families in rows.values()
  ]


def draw_t(
  rng: np.random.Generator, lead: np.ndarray, noise_emphasis: float
) -> np.ndarray:
  """Draws the [B] t of a batch in [0, 1], one per family.

  Stratified over the batch: the loss varies by orders of magnitude with t.

  Args:
    rng: decides.
    lead: as `follow_families` returns it.
    noise_emphasis: see `dreambooth.FineTuning`.
  """
  size = len(lead)
  t: np.ndarray = (rng.permutation(size) + rng.uniform(size=size)) / size
  return 1 - (1 - t[lead]) ** noise_emphasis


def draw_empty(
  rng: np.random.Generator, lead: np.ndarray, share: float
) -> np.ndarray:
  """Draws whose text is left empty, [B] bool, the same for a whole family."""
  empty: np.ndarray = rng.uniform(size=len(lead)) < share
  return empty[lead]


def squared_errors(
  pipeline: pipelines.Pipeline,
  latents: torch.Tensor,
  timestep: torch.Tensor,
  noise: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  weights: torch.Tensor | None = None,
) -> torch.Tensor:
  """Returns the squared errors of the network's prediction, with gradient.

  Those of a network that predicts the image are weighted as those of v.

  Asks the CPU for nothing, so that a GPU can record it.

  Args:
    pipeline: whose network predicts.
    latents: [B, C, h, w] float32, clean.
    timestep: [B] int64, see `schedules.t_to_timestep`.
    noise: as the latents.
    prompt_embeds: of B texts.
    weights: [B, 1, h, w], how much each pixel counts; None: all alike.

  Returns:
    [B, C, h, w] float32; their mean is the loss.
  """
  alpha_t, sigma_t = schedules.coefficients(pipeline.schedule, timestep)
  noisy = schedules.add_noise(latents, noise, alpha_t, sigma_t)
  noise_pred = pipelines.predict(pipeline, noisy, timestep, prompt_embeds)
  target = schedules.training_target(
    latents, noise, alpha_t, sigma_t, pipeline.schedule.prediction_type
  )
  squares = (noise_pred - target).square()
  if pipeline.schedule.prediction_type == 'sample':
    # As if v had been predicted, whose error is that of x by sigma_t: else a
    # picture that is nearly clean, and so its details, would count for nothing.
    squares = squares / sigma_t.clamp_min(_LEAST_NOISE).square()
  return squares if weights is None else squares * weights


def family_weights(
  latents: torch.Tensor, groups: Sequence[torch.Tensor], most: float
) -> torch.Tensor:
  """Returns [B, 1, h, w] weights, larger where pictures of a family differ.

  Each picture's weights have a mean of 1.

  Args:
    latents: [B, C, h, w] float32.
    groups: see `members`.
    most: what a pixel may gain, see `dreambooth.FineTuning.family_emphasis`.
  """
  weights = torch.ones_like(latents[:, :1])
  for rows in groups:
    spread = latents[rows].std(1, correction=0).mean(1)
    extra = spread / spread.mean((-2, -1), keepdim=True).clamp_min(1e-6)
    extra = 1 + extra.clamp_max(most)
    extra = extra / extra.mean((-2, -1), keepdim=True)
    # Each picture of a family has the weights of the family.
    weights[rows] = extra[:, None, None].expand(-1, rows.shape[1], 1, -1, -1)
  return weights
