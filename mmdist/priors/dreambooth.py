"""Fine-tunes a model on a few pictures of one thing, under a token of its own.

The paper's way to a normal prior and to a personal colour prior (method.md
section 5): no class-prior loss. The caller brings the batches and saves the
pipeline afterwards.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import itertools

import numpy as np
import torch

from mmdist.core import seeds
from mmdist.core import shapes
from mmdist.priors import pipeline as pipelines
from mmdist.priors import schedule as schedules

# Images, prompts and, if some pictures shall share t and noise, a number each.
Batch = (
  tuple[np.ndarray, Sequence[str]]
  | tuple[np.ndarray, Sequence[str], np.ndarray]
)


@dataclasses.dataclass(frozen=True)
class FineTuning:
  """How a model is fine-tuned.

  Attributes:
    num_steps: optimiser steps, one batch each.
    learning_rate: peak of AdamW; 3e-6 for a large model (A.2), 2e-4 to 6e-4
      for the embedded ones.
    decay: whether the rate falls linearly to a tenth.
    train_text_encoder: move it too, or the UNet alone.
    ema: decay of the average that is kept in the end; 0 keeps the last.
    empty_text_share: share of texts left empty, so that guidance survives.
    weight_decay: AdamW's.
    max_gradient_norm: above it gradients are scaled down.
    noise_emphasis: density of t: 1 is uniform; with e it is proportional to
      (1 - t)^(1/e - 1), so that above 1 more pictures are nearly noise, where
      the text decides.
    family_emphasis: how many times more a pixel may count, at most, for how
      much it differs within its family.
    seed: decides t, noise and which texts are empty.
  """

  num_steps: int = 800
  learning_rate: float = 3e-6
  decay: bool = False
  train_text_encoder: bool = False
  ema: float = 0.0
  empty_text_share: float = 0.0
  weight_decay: float = 0.01
  max_gradient_norm: float = 1.0
  noise_emphasis: float = 1.0
  family_emphasis: float = 0.0
  seed: int = 0


def finetune(
  pipeline: pipelines.Pipeline,
  batches: Iterable[Batch],
  tuning: FineTuning,
  report: Callable[[int, float], None] = lambda step, loss: None,
) -> list[float]:
  """Fine-tunes a pipeline in place; it is frozen again at the end.

  Args:
    pipeline: opened with `train=True`, so that its weights are float32.
    batches: (images [B, H, W, 3] float32 in [0, 1], B prompts) or (images,
      prompts, [B] families), see `training_loss`; at least `num_steps`.
    tuning: how.
    report: called with each step and its loss.

  Returns:
    The loss of every step.

  Raises:
    ValueError: too few batches, unknown words, weights that are not float32.
    FloatingPointError: a loss is not finite.
  """
  modules = [pipeline.denoiser]
  if tuning.train_text_encoder:
    modules += pipeline.text.modules
  weights = [weight for module in modules for weight in module.parameters()]
  if any(weight.dtype != torch.float32 for weight in weights):
    raise ValueError(
      'fine-tuning needs weights in float32; open the pipeline with train=True.'
    )
  for module in modules:
    module.requires_grad_(True).train()
  try:
    losses = _descend(pipeline, weights, batches, tuning, report)
  finally:
    for module in modules:
      module.requires_grad_(False).eval()
    pipeline.text.forget()
  return losses


def _descend(pipeline, weights, batches, tuning, report) -> list[float]:
  adam = torch.optim.AdamW(
    weights,
    tuning.learning_rate,
    betas=(0.9, 0.99),
    weight_decay=tuning.weight_decay,
  )
  average = [weight.detach().clone() for weight in weights]
  losses = []
  for step, batch in enumerate(itertools.islice(batches, tuning.num_steps)):
    loss = training_loss(pipeline, batch, tuning, step)
    if not loss.isfinite():
      raise FloatingPointError(f'step {step} has a loss of {loss.item()}.')
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, tuning.max_gradient_norm)
    adam.param_groups[0]['lr'] = _learning_rate(tuning, step)
    adam.step()
    adam.zero_grad(set_to_none=True)
    # A young average would remember the start for too long.
    keep = min(tuning.ema, (1 + step) / (10 + step))
    torch._foreach_lerp_(average, [w.detach() for w in weights], 1 - keep)
    losses.append(loss.item())
    report(step, losses[-1])
  if len(losses) < tuning.num_steps:
    raise ValueError(
      f'{len(losses)} batches for {tuning.num_steps} steps; give more, or '
      'repeat them.'
    )
  for weight, kept in zip(weights, average, strict=True):
    weight.data.copy_(kept)
  return losses


def _learning_rate(tuning: FineTuning, step: int) -> float:
  fall = 0.9 * step / tuning.num_steps if tuning.decay else 0.0
  return tuning.learning_rate * (1 - fall)


def training_loss(
  pipeline: pipelines.Pipeline, batch: Batch, tuning: FineTuning, step: int
) -> torch.Tensor:
  """Returns the denoising loss of one batch, a scalar with gradient.

  Pictures of one family share t, noise and whether their text is empty: what
  tells them apart is then learned from their texts alone.
  """
  images, prompts, *families = batch
  numbers = families[0] if families else np.arange(len(prompts))
  # Each picture takes what was drawn for the first of its family.
  _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
  lead = first[which]
  shapes.check_shape('images', images, (len(prompts), 'H', 'W', 3))
  rng = seeds.generator(tuning.seed, step, 'dreambooth')
  with torch.no_grad():
    latents = pipelines.encode_images(
      pipeline, torch.tensor(np.asarray(images, np.float32))
    )
  # Stratified over the batch: the loss varies by orders of magnitude with t.
  t = (rng.permutation(len(prompts)) + rng.uniform(size=len(prompts))) / len(
    prompts
  )
  t = 1 - (1 - t[lead]) ** tuning.noise_emphasis
  timestep = schedules.t_to_timestep(pipeline.schedule, t).to(latents.device)
  a, s = schedules.coefficients(pipeline.schedule, timestep)
  noise = rng.standard_normal(latents.shape, dtype=np.float32)
  noise = torch.from_numpy(noise[lead]).to(latents)
  empty = (rng.uniform(size=len(prompts)) < tuning.empty_text_share)[lead]
  texts = ['' if blank else p for p, blank in zip(prompts, empty, strict=True)]
  with torch.set_grad_enabled(
    tuning.train_text_encoder and torch.is_grad_enabled()
  ):
    embeds = pipeline.text.encode_afresh(texts)
  noisy = schedules.add_noise(latents, noise, a, s)
  prediction = pipelines.predict(pipeline, noisy, timestep, embeds)
  target = schedules.training_target(
    latents, noise, a, s, pipeline.schedule.prediction_type
  )
  errors = (prediction - target).square()
  if families and tuning.family_emphasis:
    errors = errors * _family_weights(latents, which, tuning.family_emphasis)
  return errors.mean()


def _family_weights(latents, which, most: float) -> torch.Tensor:
  """Returns [B, 1, H, W] of mean 1 per picture: where siblings differ."""
  weights = torch.ones_like(latents[:, :1])
  for number in range(which.max() + 1):
    rows = torch.from_numpy(np.flatnonzero(which == number))
    spread = latents[rows].std(0, correction=0).mean(0)
    extra = (spread / spread.mean().clamp_min(1e-6)).clamp_max(most)
    weights[rows] = (1 + extra) / (1 + extra).mean()
  return weights
