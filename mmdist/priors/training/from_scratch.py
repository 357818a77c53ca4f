"""Trains a small text-to-image prior from nothing.

Owns a training's steps and checkpoints. The networks come from `embedded`,
pictures and captions from the caller; fine-tuning an existing prior is
`dreambooth`. The text encoder stays as `reading` has taught it: if it is
trained along, it forgets to tell a green skin from a green hat.

Several one-thread processes beat one process with several threads here: their
gradients meet once a step in one all-reduce, where OpenMP meets hundreds of
times. The networks are not compiled: torch 2.13 on a CPU, with autocast, then
returns gradients of exactly zero for all but the outermost layers.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import pathlib

import numpy as np
import safetensors
import safetensors.torch
import torch
import torch.distributed

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import strict_json
from mmdist.priors import pipeline as pipelines
from mmdist.priors.training import dreambooth
from mmdist.priors.training import lowered
from mmdist.priors.training import matrix_optimizer


@dataclasses.dataclass(frozen=True)
class Training:
  """How a prior is trained.

  Attributes:
    num_images: pictures to see in all; the learning rate falls to 3 % over
      the last `decay_share` of them.
    learning_rate: AdamW's peak; Muon's follows, see `matrix_optimizer`.
    warmup_steps: steps in which the rate rises linearly.
    decay_share: share of the training, its last, in which the rate falls.
    ema: decay of the averaged weights, which are what is saved.
    empty_text_share: captions left empty, for guidance.
    noise_emphasis, family_emphasis: see `dreambooth.FineTuning`.
    max_gradient_norm: above it gradients are scaled down.
    dtype: in which the networks compute, see `devices.resolve_dtype`; weights
      stay float32.
    optimizer: 'muon' moves matrices by Muon and the rest by AdamW, 'adamw'
      everything by AdamW. Where steps are recorded on a GPU, that is AdamW.
    seed: decides initial weights, noise and t.
    save_every_s: seconds between checkpoints.
  """

  num_images: int
  learning_rate: float
  warmup_steps: int = 200
  decay_share: float = 0.3
  ema: float = 0.998
  empty_text_share: float = 0.1
  noise_emphasis: float = 1.5
  family_emphasis: float = 8.0
  max_gradient_norm: float = 0.25
  dtype: str = messages.AUTO
  optimizer: str = 'muon'
  seed: int = 0
  save_every_s: float = 240.0


@dataclasses.dataclass
class TrainingState:
  """Where a training is, besides the weights, which are in the pipeline.

  Attributes:
    step: optimiser steps behind it.
    num_seen: pictures seen so far, by all ranks.
    average: averaged weights, in the order of `trainable_weights`.
    optimizer: AdamW with its moments.
    matrices: moves the weights that AdamW does not; None: there are none.
    lowered: see `lowered.make`.
  """

  step: int
  num_seen: int
  average: list[torch.Tensor]
  optimizer: torch.optim.AdamW
  matrices: matrix_optimizer.MatrixOptimizer | None = None
  lowered: torch.nn.Module | None = None


def trainable_weights(pipeline: pipelines.Pipeline) -> list[torch.nn.Parameter]:
  """Returns every weight of the UNet, in a fixed order."""
  return list(pipeline.denoiser.parameters())


def init_state(
  pipeline: pipelines.Pipeline, training: Training
) -> TrainingState:
  """Starts a training from the pipeline's present weights."""
  weights = trainable_weights(pipeline)
  # A GPU plays a recorded step back, so the rate has to be a number in its own
  # memory, as the counts of steps are.
  recorded = pipeline.device.type == 'cuda'
  rate = training.learning_rate
  matrices = None
  if training.optimizer == 'muon' and not recorded:
    matrices = matrix_optimizer.MatrixOptimizer(pipeline.denoiser, rate)
  moved = {id(weight) for weight in matrices.weights} if matrices else set()
  optimizer = torch.optim.AdamW(
    [weight for weight in weights if id(weight) not in moved],
    torch.tensor(rate, device=pipeline.device) if recorded else rate,
    betas=(0.9, 0.999),
    weight_decay=0.01,
    fused=True,
    capturable=recorded,
  )
  average = [weight.detach().clone() for weight in weights]
  lower = lowered.make(pipeline)
  return TrainingState(0, 0, average, optimizer, matrices, lower)


def learning_rate(training: Training, step: int, num_seen: int) -> float:
  """Returns the rate of a step: linear rise, plateau, linear fall to 3 %.

  Args:
    training: peak, and where the rate rises and falls.
    step: from 0.
    num_seen: pictures seen before this step.
  """
  rise = min(1.0, (step + 1) / training.warmup_steps)
  left = 1 - num_seen / training.num_images
  fall = min(1.0, max(0.03, left / training.decay_share))
  return training.learning_rate * rise * fall


def train_step(
  pipeline: pipelines.Pipeline,
  state: TrainingState,
  training: Training,
  batch: dreambooth.Batch,
  rank: int = 0,
  num_ranks: int = 1,
) -> float:
  """Takes one step on this rank's batch; returns its loss.

  Args:
    pipeline: whose UNet moves.
    state: changed in place.
    training: how.
    batch: of this rank, see `dreambooth.Batch`.
    rank: of this process, from 0.
    num_ranks: processes that take the same step, each on a batch of its own.

  Raises:
    NotFinite: the loss or a gradient of any rank is not finite; nothing has
      moved.
  """
  weights = trainable_weights(pipeline)
  tuning = dreambooth.FineTuning(
    empty_text_share=training.empty_text_share,
    noise_emphasis=training.noise_emphasis,
    family_emphasis=training.family_emphasis,
    seed=training.seed * num_ranks + rank,
  )
  loss = lowered.descend(
    pipeline,
    state.lowered,
    lambda given: dreambooth.training_loss(given, batch, tuning, state.step),
  )
  if num_ranks > 1:
    _average_gradients(weights, num_ranks)
  # Usual norms are 0.1 to 0.25; a batch of 0.6 once cost thousands of steps.
  # Gradients are those of all ranks by now, so all ranks raise, or none does.
  dreambooth.clip_gradients(
    weights,
    training.max_gradient_norm,
    f'step {state.step} has a gradient that is not finite, at a loss of '
    f'{loss.item()}; the last checkpoint is sound, try a lower learning rate.',
  )
  rate = learning_rate(training, state.step, state.num_seen)
  state.optimizer.param_groups[0]['lr'] = rate
  state.optimizer.step()
  if state.matrices:
    state.matrices.step(rate)
  for weight in weights:
    weight.grad = None
  # In the first steps the decay is smaller, so that the initial weights are
  # forgotten sooner.
  keep = min(training.ema, (1 + state.step) / (10 + state.step))
  torch._foreach_lerp_(state.average, [w.detach() for w in weights], 1 - keep)
  state.step += 1
  state.num_seen += len(batch[1]) * num_ranks
  return loss.item()


def _average_gradients(
  weights: Sequence[torch.nn.Parameter], num_ranks: int
) -> None:
  """Averages gradients over ranks, in one all-reduce of one flat vector."""
  gradients = []
  for weight in weights:
    if weight.grad is None:
      weight.grad = torch.zeros_like(weight)
    gradients.append(weight.grad)
  flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
  torch.distributed.all_reduce(flat)
  flat /= num_ranks
  parts = flat.split([weight.numel() for weight in weights])
  for gradient, part in zip(gradients, parts, strict=True):
    gradient.copy_(part.view_as(gradient))


def save_checkpoint(
  path: pathlib.Path, pipeline: pipelines.Pipeline, state: TrainingState
) -> None:
  """Writes everything a training needs to go on; whole or not at all."""
  weights = trainable_weights(pipeline)
  momentum = state.matrices.momentum() if state.matrices else {}
  tensors = {}
  for i, weight in enumerate(weights):
    if weight in momentum:
      tensors[f'momentum/{i}'] = momentum[weight].contiguous()
    moments = state.optimizer.state.get(weight, {})
    tensors[f'weight/{i}'] = weight.detach().contiguous()
    tensors[f'average/{i}'] = state.average[i].contiguous()
    for name in ('exp_avg', 'exp_avg_sq'):
      if name in moments:
        tensors[f'{name}/{i}'] = moments[name].contiguous()
  for name, weight in pipeline.text.modules[0].state_dict().items():
    tensors[f'text/{name}'] = weight.contiguous()
  where = strict_json.dumps(
    {
      'step': state.step,
      'num_seen': state.num_seen,
      'dtype': _name_dtype(pipeline),
      'optimizer': 'muon' if state.matrices else 'adamw',
      'device': pipeline.device.type,
    }
  )
  with atomic.replacing(path) as temporary:
    safetensors.torch.save_file(tensors, temporary, {'state': where})


def load_checkpoint(
  path: pathlib.Path,
  pipeline: pipelines.Pipeline,
  training: Training,
  report: Callable[[str], None] = lambda line: None,
) -> TrainingState:
  """Reads a checkpoint into the pipeline and a fresh state.

  Args:
    path: of the checkpoint.
    pipeline: of the same architecture.
    training: how it is trained.
    report: is told where the networks compute in another dtype, or on another
      device, from now on.

  Raises:
    UserError: the file is damaged, or of another architecture.
  """
  try:
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, 'pt') as file:
      where = json.loads((file.metadata() or {})['state'])
  except (safetensors.SafetensorError, KeyError) as error:
    raise errors.UserError(
      f'{path} is no checkpoint of a training, or damaged ({error}); delete it '
      'to start over.'
    ) from error
  state = init_state(pipeline, training)
  state.step, state.num_seen = where['step'], where['num_seen']
  _report_changes(path, where, pipeline, state, report)
  weights = trainable_weights(pipeline)
  shapes = [tensors[key].shape for key in _keys(tensors, 'weight')]
  text = {
    key.removeprefix('text/'): value
    for key, value in tensors.items()
    if key.startswith('text/')
  }
  wanted = pipeline.text.modules[0].state_dict()
  if shapes != [weight.shape for weight in weights] or {
    name: value.shape for name, value in text.items()
  } != {name: value.shape for name, value in wanted.items()}:
    raise errors.UserError(
      f'{path} holds weights of another architecture; give another --out, or '
      'the architecture it was trained with.'
    )
  pipeline.text.modules[0].load_state_dict(text)
  pipeline.text.forget()
  by_muon = set(state.matrices.weights) if state.matrices else set()
  if state.matrices:
    state.matrices.restore(
      {
        weight: tensors[f'momentum/{i}']
        for i, weight in enumerate(weights)
        if f'momentum/{i}' in tensors
      }
    )
  with torch.no_grad():
    for i, weight in enumerate(weights):
      weight.copy_(tensors[f'weight/{i}'])
      state.average[i].copy_(tensors[f'average/{i}'])
      if f'exp_avg/{i}' in tensors and weight not in by_muon:
        # In the weight's layout: fused AdamW walks both by their addresses.
        moments = {
          name: torch.empty_like(weight).copy_(tensors[f'{name}/{i}'])
          for name in ('exp_avg', 'exp_avg_sq')
        }
        moments['step'] = torch.tensor(float(state.step), device=weight.device)
        state.optimizer.state[weight] = moments
  return state


def _report_changes(
  path: pathlib.Path,
  where: Mapping[str, object],
  pipeline: pipelines.Pipeline,
  state: TrainingState,
  report: Callable[[str], None],
) -> None:
  """Says in one line each what makes the next steps differ in their bits."""
  other = where.get('optimizer', 'adamw')  # There was no other before.
  chosen = 'muon' if state.matrices else 'adamw'
  if other != chosen:
    report(
      f'warning: {path} was made by optimizer={other} and goes on by {chosen}, '
      'whose averages of past gradients begin anew.'
    )
  now = _name_dtype(pipeline)
  before = where.get('dtype', now)  # Checkpoints of 0.1 do not say.
  if before != now:
    report(
      f'warning: {path} was made in {before} and goes on in {now}, which this '
      'machine is better at, so what follows is not what it would have been '
      'there.'
    )
  device = where.get('device', 'cpu')  # Before there was a choice.
  if device != pipeline.device.type:
    report(
      f'warning: {path} was made on {device} and goes on on '
      f'{pipeline.device.type}, which draws other noise and rounds otherwise, '
      'so what follows is not what it would have been there.'
    )


def _name_dtype(pipeline: pipelines.Pipeline) -> str:
  return str(pipeline.dtype).removeprefix('torch.')


def _keys(tensors: Mapping[str, torch.Tensor], kind: str) -> list[str]:
  count = sum(key.startswith(f'{kind}/') for key in tensors)
  return [f'{kind}/{i}' for i in range(count)]


def averaged(
  pipeline: pipelines.Pipeline, state: TrainingState
) -> Callable[[], None]:
  """Puts the averaged weights in; returns the function that takes them out."""
  weights = trainable_weights(pipeline)
  kept = [weight.detach().clone() for weight in weights]
  _assign(weights, state.average)
  return lambda: _assign(weights, kept)


def _assign(
  weights: Sequence[torch.nn.Parameter], values: Sequence[torch.Tensor]
) -> None:
  with torch.no_grad():
    for weight, value in zip(weights, values, strict=True):
      weight.copy_(value)


def join(rank: int, num_ranks: int, rendezvous: pathlib.Path) -> None:
  """Makes this process one of `num_ranks`, with one thread."""
  torch.set_num_threads(1)
  if num_ranks > 1:
    # Not by an address 'file://...', in which '#' and '?' mean something.
    store = torch.distributed.FileStore(str(rendezvous), num_ranks)
    torch.distributed.init_process_group(
      'gloo', store=store, rank=rank, world_size=num_ranks
    )


def agree_to_stop(stop: bool, num_ranks: int) -> bool:
  """Returns whether any rank wants to stop; every rank must ask."""
  if num_ranks == 1:
    return stop
  flag = torch.tensor([float(stop)])
  torch.distributed.all_reduce(flag)
  return bool(flag.item() > 0)


def loss_history(losses: Sequence[float], window: int = 100) -> float:
  """Returns the mean of the last losses, NaN if there is none."""
  return float(np.mean(losses[-window:])) if losses else float('nan')
