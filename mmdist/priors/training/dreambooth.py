"""Fine-tunes a model on a few pictures of one thing, under a token of its own.

The paper's way to a normal prior and to a personal colour prior
(docs/method.md, section 5). The paper has no class-prior loss; here
`class_weight` adds one. The caller brings the batches and saves the pipeline
afterwards.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import itertools
from typing import Any

import numpy as np
import torch

from mmdist.core import errors
from mmdist.core import seeds
from mmdist.core import shapes
from mmdist.priors import adapters
from mmdist.priors import pipeline as pipelines
from mmdist.priors import proxy as proxies
from mmdist.priors import schedule as schedules
from mmdist.priors.training import denoising

# Images and prompts; or images, prompts and the number of each picture's
# family. Pictures of one family share t and noise.
Batch = (
  tuple[np.ndarray, Sequence[str]]
  | tuple[np.ndarray, Sequence[str], np.ndarray]
)


@dataclasses.dataclass(frozen=True)
class FineTuning:
  """How a model is fine-tuned.

  Attributes:
    num_steps: optimiser steps, one batch each.
    learning_rate: peak of AdamW; 3e-6 for a large model (MagicMirror, A.2),
      2e-4 to 6e-4 for the embedded ones.
    decay: whether the rate falls linearly to a tenth.
    train_text_encoder: move it too, or the UNet alone.
    ema: decay of the average that is kept in the end; 0 keeps the last.
    empty_text_share: share of texts left empty, so that guidance survives.
    weight_decay: AdamW's.
    max_gradient_norm: above it gradients are scaled down.
    noise_emphasis: density of t: 1 is uniform; with e it is proportional to
      (1 - t)^(1/e - 1), so that above 1 more pictures are nearly noise, where
      the text decides.
    family_emphasis: pixels in which the pictures of a family differ count more:
      1 plus this number times as much at most, before weights are scaled to a
      mean of 1. 0 weighs all pixels alike.
    class_weight: of the second half of every batch, pictures of the class
      (prior preservation); 0 takes a batch as it comes.
    lora_rank: of adapters that move in place of the network's own weights; 0
      moves all of them.
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
  class_weight: float = 0.0
  lora_rank: int = 0
  seed: int = 0


class FineTuner:
  """One fine-tuning, step by step: its weights, their average and optimiser.

  Attributes:
    step: optimiser steps behind it.
  """

  def __init__(self, pipeline: pipelines.Pipeline, tuning: FineTuning):
    """Thaws what is to move.

    Args:
      pipeline: opened with `train=True`, so that its weights are float32.
      tuning: how.

    Raises:
      UserError: weights that are not float32.
    """
    self.pipeline = pipeline
    self.tuning = tuning
    self.step = 0
    self._modules = [pipeline.denoiser]
    if tuning.train_text_encoder:
      self._modules += pipeline.text.modules
    if tuning.lora_rank:
      add_lora(pipeline.denoiser, tuning.lora_rank, tuning.seed)
    self._weights = self._choose_weights()
    if any(w.dtype != torch.float32 for w in self._weights.values()):
      raise errors.UserError(
        'fine-tuning needs weights in float32; open the pipeline with '
        'train=True.'
      )
    for weight in self._weights.values():
      weight.requires_grad_(True)
    for module in self._modules:
      module.train()
    self._average = {n: w.detach().clone() for n, w in self._weights.items()}
    self._adam = torch.optim.AdamW(
      self._weights.values(),
      tuning.learning_rate,
      betas=(0.9, 0.99),
      weight_decay=tuning.weight_decay,
    )

  def _choose_weights(self) -> dict[str, torch.nn.Parameter]:
    weights = {}
    for number, module in enumerate(self._modules):
      of_lora = number == 0 and self.tuning.lora_rank
      for name, weight in module.named_parameters():
        if not of_lora or '.lora_' in name:
          weights[f'{number}.{name}'] = weight
    return weights

  def descend(self, batch: Batch) -> float:
    """Takes one step; returns its loss.

    Raises:
      NotFinite: the loss or its gradient is not finite; nothing has moved.
    """
    tuning, weights = self.tuning, list(self._weights.values())
    loss = training_loss(self.pipeline, batch, tuning, self.step)
    if not loss.isfinite():
      raise errors.NotFinite(f'step {self.step} has a loss of {loss.item()}.')
    loss.backward()
    clip_gradients(
      weights,
      tuning.max_gradient_norm,
      f'step {self.step} has a gradient that is not finite, at a loss of '
      f'{loss.item()}; try dtype float32 or a lower learning rate.',
    )
    self._adam.param_groups[0]['lr'] = _learning_rate(tuning, self.step)
    self._adam.step()
    self._adam.zero_grad(set_to_none=True)
    # In the first steps the decay is smaller, so that the initial weights are
    # forgotten sooner.
    keep = min(tuning.ema, (1 + self.step) / (10 + self.step))
    torch._foreach_lerp_(
      list(self._average.values()), [w.detach() for w in weights], 1 - keep
    )
    self.step += 1
    return loss.item()

  def finish(self) -> None:
    """Puts the averaged weights in and freezes everything."""
    with torch.no_grad():
      for name, weight in self._weights.items():
        weight.copy_(self._average[name])
    self.freeze()

  def freeze(self) -> None:
    """Freezes everything as it is."""
    for module in self._modules:
      module.requires_grad_(False).eval()
    self.pipeline.text.forget()

  def save(self) -> dict[str, torch.Tensor]:
    """Returns everything that `restore` needs, by flat names.

    These are no copies: the next step changes them.
    """
    tensors = {'step': torch.tensor(self.step)}
    for name, weight in self._weights.items():
      tensors[f'weight/{name}'] = weight.detach().contiguous()
      tensors[f'average/{name}'] = self._average[name].contiguous()
      for moment in ('exp_avg', 'exp_avg_sq'):
        kept = self._adam.state[weight].get(moment)
        if kept is not None:
          tensors[f'{moment}/{name}'] = kept.contiguous()
    return tensors

  def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
    """Goes back to what `save` returned, bit for bit.

    Raises:
      UserError: it is of another fine-tuning.
    """
    given = {
      name.partition('/')[2]: tuple(tensor.shape)
      for name, tensor in tensors.items()
      if name.startswith('weight/')
    }
    if given != {n: tuple(w.shape) for n, w in self._weights.items()}:
      raise errors.UserError(
        'the checkpoint is of another model, or of another rank'
      )
    self.step = int(tensors['step'])
    for name, weight in self._weights.items():
      weight.data.copy_(tensors[f'weight/{name}'])
      self._average[name].copy_(tensors[f'average/{name}'])
      if f'exp_avg/{name}' in tensors:
        # In the weight's layout: fused Adams walk both by their addresses.
        state = {
          moment: torch.empty_like(weight).copy_(tensors[f'{moment}/{name}'])
          for moment in ('exp_avg', 'exp_avg_sq')
        }
        state['step'] = torch.tensor(float(self.step))
        self._adam.state[weight] = state


def add_lora(denoiser: Any, rank: int, seed: int) -> None:
  """Adds a LoRA to the layers that a proxy moves too, with weights by seed."""
  with torch.random.fork_rng(devices=[]):
    torch.manual_seed(seeds.derive_seed(seed, 0, 'dreambooth') % (1 << 32))
    denoiser.add_adapter(proxies.lora_config(rank), adapters.NAME)


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
    UserError: too few batches, unknown words, weights that are not float32.
    NotFinite: a loss or its gradient is not finite.
  """
  tuner = FineTuner(pipeline, tuning)
  losses = []
  try:
    for batch in itertools.islice(batches, tuning.num_steps):
      losses.append(tuner.descend(batch))
      report(len(losses) - 1, losses[-1])
    if len(losses) < tuning.num_steps:
      raise errors.UserError(
        f'{len(losses)} batches for {tuning.num_steps} steps; give more, or '
        'repeat them.'
      )
    tuner.finish()
  finally:
    tuner.freeze()
  return losses


def _learning_rate(tuning: FineTuning, step: int) -> float:
  fall = 0.9 * step / tuning.num_steps if tuning.decay else 0.0
  return tuning.learning_rate * (1 - fall)


def clip_gradients(
  weights: Sequence[torch.nn.Parameter],
  max_norm: float,
  line: str,
) -> None:
  """Scales gradients down to a norm, all of them together.

  A finite loss may have an infinite gradient, as in float16. Clipping then
  makes NaN of all gradients, so they are dropped instead.

  Args:
    weights: with their gradients.
    max_norm: that stays.
    line: what is said if they are not finite.

  Raises:
    NotFinite: a gradient is not finite; nothing has moved.
  """
  if not torch.nn.utils.clip_grad_norm_(weights, max_norm).isfinite():
    for weight in weights:
      weight.grad = None
    raise errors.NotFinite(line)


def training_loss(
  pipeline: pipelines.Pipeline, batch: Batch, tuning: FineTuning, step: int
) -> torch.Tensor:
  """Returns the denoising loss of one batch, a scalar with gradient.

  Pictures of one family share t, noise and whether their text is empty: what
  tells them apart is then learned from their texts alone.

  Args:
    pipeline: whose network predicts.
    batch: (images [B, H, W, 3] float32 in [0, 1], B prompts), and in some cases
      [B] numbers of their families.
    tuning: how; its seed and `step` decide t, noise and empty texts.
    step: the optimiser step, from 0.
  """
  images, prompts, *families = batch
  lead, which = denoising.follow_families(
    families[0] if families else np.arange(len(prompts))
  )
  shapes.check_shape('images', images, (len(prompts), 'H', 'W', 3))
  rng = seeds.generator(tuning.seed, step, 'dreambooth')
  with torch.no_grad():
    latents = pipelines.encode_images(
      pipeline, torch.tensor(np.asarray(images, np.float32))
    )
  t = denoising.draw_t(rng, lead, tuning.noise_emphasis)
  timestep = schedules.t_to_timestep(pipeline.schedule, t).to(latents.device)
  drawn = rng.standard_normal(latents.shape, dtype=np.float32)
  noise = torch.from_numpy(drawn[lead]).to(latents)
  empty = denoising.draw_empty(rng, lead, tuning.empty_text_share)
  texts = ['' if blank else p for p, blank in zip(prompts, empty, strict=True)]
  with torch.set_grad_enabled(
    tuning.train_text_encoder and torch.is_grad_enabled()
  ):
    prompt_embeds = pipeline.text.encode_afresh(texts)
  weights = None
  if families and tuning.family_emphasis:
    weights = denoising.family_weights(
      latents,
      denoising.members(which, latents.device),
      tuning.family_emphasis,
    )
  squares = denoising.squared_errors(
    pipeline, latents, timestep, noise, prompt_embeds, weights
  )
  if tuning.class_weight:
    own, of_class = squares.chunk(2)
    return own.mean() + tuning.class_weight * of_class.mean()
  return squares.mean()
