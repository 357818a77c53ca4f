"""Trains a small text-to-image prior from nothing.

Owns the architecture of the embedded priors, the loop over batches and its
checkpoints. Pictures and captions are brought by the caller; fine-tuning an
existing prior is `mmdist.priors.dreambooth`.

Several one-thread processes beat one process with several threads here: their
gradients meet once a step in one all-reduce, where OpenMP meets hundreds of
times (`field-notes`: a factor of ten on a busy machine).
"""

from collections.abc import Callable, Sequence
import dataclasses
import json
import os
import pathlib

import diffusers
from diffusers.models import attention_processor
import numpy as np
import safetensors
import safetensors.torch
import tokenizers
import torch
import torch.distributed
import transformers

from mmdist.priors import dreambooth
from mmdist.priors import image_codec
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prompts
from mmdist.priors import schedule as schedules

SPECIAL_TOKENS = ('<pad>', '<s>', '</s>', '<unk>')
# Words that no caption uses: free to become somebody, or something.
IDENTIFIER_TOKENS = ('[v]', '[w]', '[v2]', '[v3]', '[v4]', '[w2]')
VOCABULARY_SIZE = 128  # Room for words that fine-tuning may add.


@dataclasses.dataclass(frozen=True)
class Architecture:
  """The size of a small pixel-space prior.

  Attributes:
    image_size: H = W in pixels.
    patch: pixels folded into channels along each axis.
    widths: channels per resolution, finest first.
    attention: whether a resolution attends to the text.
    text_width: size of a token's embedding.
    text_layers: layers of the text encoder.
    prompt_length: tokens of a text, both ends included.
  """

  image_size: int = 64
  patch: int = 2
  widths: tuple[int, ...] = (48, 96, 160)
  attention: tuple[bool, ...] = (False, False, True)
  text_width: int = 128
  text_layers: int = 2
  prompt_length: int = 40


@dataclasses.dataclass(frozen=True)
class Training:
  """How a prior is trained.

  Attributes:
    num_images: pictures to see in all; the learning rate falls to 3 % over
      the last `decay_share` of them.
    learning_rate: AdamW's peak.
    warmup_steps: steps of linear rise.
    decay_share: share of the training with falling rate.
    ema: decay of the averaged weights, which are what is saved.
    empty_text_share: captions left empty, for guidance.
    dtype: in which the networks compute; weights stay float32.
    seed: decides initial weights, noise and t.
    save_every_s: seconds between checkpoints.
  """

  num_images: int = 1_200_000
  learning_rate: float = 1e-3
  warmup_steps: int = 200
  decay_share: float = 0.3
  ema: float = 0.9993
  empty_text_share: float = 0.1
  dtype: str = 'bfloat16'
  seed: int = 0
  save_every_s: float = 240.0


def make_tokenizer(words: Sequence[str], prompt_length: int):
  """Builds a word-level tokenizer: one token per word, lowercase."""
  vocabulary = {}
  for word in (*SPECIAL_TOKENS, *IDENTIFIER_TOKENS, *words):
    vocabulary.setdefault(word, len(vocabulary))
  if len(vocabulary) > VOCABULARY_SIZE:
    raise ValueError(
      f'{len(vocabulary)} words; at most {VOCABULARY_SIZE} fit. Use fewer, or '
      'raise VOCABULARY_SIZE.'
    )
  model = tokenizers.models.WordLevel(vocabulary, unk_token='<unk>')
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.normalizer = tokenizers.normalizers.Sequence(
    [
      tokenizers.normalizers.Lowercase(),
      tokenizers.normalizers.Replace(tokenizers.Regex(r'\s*,\s*'), ' , '),
    ]
  )
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
    single='<s> $A </s>', special_tokens=[('<s>', 1), ('</s>', 2)]
  )
  return transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    bos_token='<s>',
    eos_token='</s>',
    unk_token='<unk>',
    pad_token='<pad>',
    model_max_length=prompt_length,
  )


def make_pipeline(
  words: Sequence[str],
  architecture: Architecture = Architecture(),
  dtype: str = 'bfloat16',
  seed: int = 0,
) -> pipelines.Pipeline:
  """Builds an untrained pipeline with weights from the seed."""
  with torch.random.fork_rng():
    torch.manual_seed(seed)
    unet = _make_unet(architecture)
    # Plain attention: on a CPU the fused one is 3x slower in the backward pass.
    unet.set_attn_processor(attention_processor.AttnProcessor())
    text_encoder = _make_text_encoder(architecture)
  tokenizer = make_tokenizer(words, architecture.prompt_length)
  schedule = schedules.schedule_from_config(
    {
      '_class_name': 'DDPMScheduler',
      'num_train_timesteps': 1000,
      'beta_schedule': 'squaredcos_cap_v2',
      'prediction_type': 'v_prediction',
      'clip_sample': False,
    }
  )
  settings = {
    'image_codec': 'pixel_unshuffle',
    'factor': architecture.patch,
    'image_size': architecture.image_size,
    'prompt_length': architecture.prompt_length,
    'identifier_tokens': {'normal': '[w]', 'personal': '[v]'},
  }
  return pipelines.Pipeline(
    unet=unet.to(memory_format=torch.channels_last),
    text=prompts.PromptEncoder(
      tokenizer, text_encoder, architecture.prompt_length
    ),
    schedule=schedule,
    codec=image_codec.PixelCodec(architecture.patch),
    image_size=architecture.image_size,
    settings=settings,
    dtype=pipelines.DTYPES[dtype],
    device=torch.device('cpu'),
  )


def _make_unet(architecture):
  a = architecture
  channels = 3 * a.patch**2

  def blocks(plain, attending, flags):
    return tuple(attending if flag else plain for flag in flags)

  return diffusers.UNet2DConditionModel(
    sample_size=a.image_size // a.patch,
    in_channels=channels,
    out_channels=channels,
    block_out_channels=a.widths,
    layers_per_block=1,
    down_block_types=blocks('DownBlock2D', 'CrossAttnDownBlock2D', a.attention),
    up_block_types=blocks('UpBlock2D', 'CrossAttnUpBlock2D', a.attention[::-1]),
    cross_attention_dim=a.text_width,
    attention_head_dim=tuple(max(1, width // 32) for width in a.widths),
    norm_num_groups=16,
    # The whole sentence also moves the time embedding: colours are learned
    # several times faster than through attention alone.
    addition_embed_type='text',
    addition_embed_type_num_heads=4,
  )


def _make_text_encoder(architecture):
  a = architecture
  config = transformers.CLIPTextConfig(
    vocab_size=VOCABULARY_SIZE,
    hidden_size=a.text_width,
    intermediate_size=2 * a.text_width,
    num_hidden_layers=a.text_layers,
    num_attention_heads=4,
    max_position_embeddings=a.prompt_length,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    projection_dim=a.text_width,
  )
  encoder = transformers.CLIPTextModel(config)
  with torch.no_grad():  # CLIP's own initial scale of 0.02 is slow to learn.
    for name, weight in encoder.named_parameters():
      if 'token_embedding' in name:
        weight.normal_(0, 0.5)
      elif 'position_embedding' in name:
        weight.normal_(0, 0.1)
  return encoder


@dataclasses.dataclass
class TrainingState:
  """Where a training is: weights live in the pipeline, the rest here."""

  step: int
  num_seen: int
  average: list[torch.Tensor]
  optimizer: torch.optim.AdamW


def trainable_weights(pipeline: pipelines.Pipeline) -> list[torch.nn.Parameter]:
  """Returns every weight of UNet and text encoder, in a fixed order."""
  modules = (pipeline.unet, pipeline.text.text_encoder)
  return [weight for module in modules for weight in module.parameters()]


def init_state(
  pipeline: pipelines.Pipeline, training: Training
) -> TrainingState:
  """Starts a training from the pipeline's present weights."""
  weights = trainable_weights(pipeline)
  optimizer = torch.optim.AdamW(
    weights,
    training.learning_rate,
    betas=(0.9, 0.99),
    weight_decay=0.01,
    fused=True,
  )
  average = [weight.detach().clone() for weight in weights]
  return TrainingState(0, 0, average, optimizer)


def learning_rate(training: Training, step: int, num_seen: int) -> float:
  """Linear rise, plateau, linear fall to 3 %."""
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
  """Takes one step on this rank's batch; returns its loss."""
  weights = trainable_weights(pipeline)
  tuning = dreambooth.FineTuning(
    train_text_encoder=True,
    empty_text_share=training.empty_text_share,
    seed=training.seed * num_ranks + rank,
  )
  loss = dreambooth.training_loss(pipeline, batch, tuning, state.step)
  loss.backward()
  if num_ranks > 1:
    _average_gradients(weights, num_ranks)
  torch.nn.utils.clip_grad_norm_(weights, 1.0)
  rate = learning_rate(training, state.step, state.num_seen)
  state.optimizer.param_groups[0]['lr'] = rate
  state.optimizer.step()
  state.optimizer.zero_grad(set_to_none=True)
  # A young average would remember the start for too long.
  keep = min(training.ema, (1 + state.step) / (10 + state.step))
  torch._foreach_lerp_(state.average, [w.detach() for w in weights], 1 - keep)
  state.step += 1
  state.num_seen += len(batch[1]) * num_ranks
  return loss.item()


def _average_gradients(weights, num_ranks):
  """One all-reduce of one flat vector."""
  for weight in weights:
    if weight.grad is None:
      weight.grad = torch.zeros_like(weight)
  flat = torch.cat([weight.grad.reshape(-1) for weight in weights])
  torch.distributed.all_reduce(flat)
  flat /= num_ranks
  parts = flat.split([weight.numel() for weight in weights])
  for weight, part in zip(weights, parts, strict=True):
    weight.grad.copy_(part.view_as(weight.grad))


def save_checkpoint(
  path: pathlib.Path, pipeline: pipelines.Pipeline, state: TrainingState
) -> None:
  """Writes everything a training needs to go on; whole or not at all."""
  weights = trainable_weights(pipeline)
  tensors = {}
  for i, weight in enumerate(weights):
    moments = state.optimizer.state.get(weight, {})
    tensors[f'weight/{i}'] = weight.detach().contiguous()
    tensors[f'average/{i}'] = state.average[i].contiguous()
    for name in ('exp_avg', 'exp_avg_sq'):
      if name in moments:
        tensors[f'{name}/{i}'] = moments[name].contiguous()
  where = json.dumps({'step': state.step, 'num_seen': state.num_seen})
  temporary = path.with_suffix('.tmp')
  safetensors.torch.save_file(tensors, temporary, {'state': where})
  os.replace(temporary, path)


def load_checkpoint(
  path: pathlib.Path, pipeline: pipelines.Pipeline, training: Training
) -> TrainingState:
  """Reads a checkpoint into the pipeline and a fresh state.

  Raises:
    ValueError: the file is damaged, or of another architecture.
  """
  try:
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, 'pt') as file:
      where = json.loads((file.metadata() or {})['state'])
  except (safetensors.SafetensorError, KeyError) as error:
    raise ValueError(
      f'{path} is no checkpoint of a training, or damaged ({error}); delete it '
      'to start over.'
    ) from error
  state = init_state(pipeline, training)
  state.step, state.num_seen = where['step'], where['num_seen']
  weights = trainable_weights(pipeline)
  shapes = [tensors[key].shape for key in _keys(tensors, 'weight')]
  if shapes != [weight.shape for weight in weights]:
    raise ValueError(
      f'{path} holds weights of another architecture; give another --out, or '
      'the architecture it was trained with.'
    )
  with torch.no_grad():
    for i, weight in enumerate(weights):
      weight.copy_(tensors[f'weight/{i}'])
      state.average[i].copy_(tensors[f'average/{i}'])
      if f'exp_avg/{i}' in tensors:
        # In the weight's layout: fused AdamW walks both by their addresses.
        moments = {
          name: torch.empty_like(weight).copy_(tensors[f'{name}/{i}'])
          for name in ('exp_avg', 'exp_avg_sq')
        }
        moments['step'] = torch.tensor(float(state.step))
        state.optimizer.state[weight] = moments
  return state


def _keys(tensors, kind):
  count = sum(key.startswith(f'{kind}/') for key in tensors)
  return [f'{kind}/{i}' for i in range(count)]


def averaged(
  pipeline: pipelines.Pipeline, state: TrainingState
) -> Callable[[], None]:
  """Puts the averaged weights in; returns the function that takes them out."""
  weights = trainable_weights(pipeline)
  kept = [weight.detach().clone() for weight in weights]
  _assign(weights, state.average)
  pipeline.text.forget()

  def undo():
    _assign(weights, kept)
    pipeline.text.forget()

  return undo


def _assign(weights, values):
  with torch.no_grad():
    for weight, value in zip(weights, values, strict=True):
      weight.copy_(value)


def join(rank: int, num_ranks: int, rendezvous: pathlib.Path) -> None:
  """Makes this process one of `num_ranks`, with one thread."""
  torch.set_num_threads(1)
  if num_ranks > 1:
    torch.distributed.init_process_group(
      'gloo',
      init_method=f'file://{rendezvous.absolute()}',
      rank=rank,
      world_size=num_ranks,
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
