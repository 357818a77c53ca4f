"""A diffusers directory, opened: text in, prediction of a noisy image out.

The embedded priors and Stable Diffusion take the same path: `families.py` says
what a directory is, `denoisers.py` how its network is called.
"""

from collections.abc import Mapping, Sequence
import copy
import dataclasses
import os
import pathlib
from typing import Any

import diffusers
import torch
import transformers

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import names
from mmdist.core import strict_json
from mmdist.priors import adapters
from mmdist.priors import attention
from mmdist.priors import chat_readers
from mmdist.priors import chat_templates
from mmdist.priors import cuda_graphs
from mmdist.priors import denoisers
from mmdist.priors import devices
from mmdist.priors import directory as files
from mmdist.priors import families
from mmdist.priors import family_texts
from mmdist.priors import image_codec
from mmdist.priors import locate
from mmdist.priors import norms
from mmdist.priors import prompt_encoder
from mmdist.priors import resizing
from mmdist.priors import schedule as schedules
from mmdist.priors import text_encoders


@dataclasses.dataclass(frozen=True, eq=False)
class Pipeline:
  """One text-to-image model.

  Attributes:
    denoiser: predicts from (noisy latents, time, embeddings).
    text: its texts' encoders.
    schedule: its noise levels and what it predicts.
    codec: turns pixels in [-1, 1] into latents and back.
    image_size: pixels along an axis of the images it knows.
    settings: `mmdist.json`; empty if there was none.
    dtype: in which the networks compute.
    device: where they lie.
    index: `model_index.json`; empty if there was none.
    memory: how it was opened; see `messages.MemoryOptions`.
    recordings: of passes of the frozen network; None records none.
    is_mixed: whether weights may be of another dtype than the one in which the
      network computes, so that autocast is needed.
  """

  denoiser: Any
  text: prompt_encoder.PromptEncoder
  schedule: schedules.Schedule
  codec: image_codec.ImageCodec
  image_size: int
  settings: Mapping[str, Any]
  dtype: torch.dtype
  device: torch.device
  index: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  memory: messages.MemoryOptions = dataclasses.field(
    default_factory=messages.MemoryOptions
  )
  recordings: cuda_graphs.Recordings | None = None
  is_mixed: bool = True


def open_pipeline(
  directory: str | os.PathLike,
  dtype: str = 'float32',
  device: str = 'auto',
  train: bool = False,
  memory: messages.MemoryOptions | None = None,
  lora: str = '',
  lora_scale: float = 1.0,
  loras: Sequence[tuple[str, float]] = (),
  prompt_chunks: int = 1,
  base: str = '',
) -> Pipeline:
  """Opens a directory; every network is frozen and in eval mode.

  Args:
    directory: a diffusers directory, or a checkpoint in one file.
    dtype: in which the networks compute; see `devices.resolve_dtype`.
    device: where they lie; see `devices.resolve_device`.
    train: keep the denoiser's weights in float32 and compute in `dtype`.
    memory: what to spend time on to save memory; None has the defaults.
    lora: a LoRA file of the user's own, merged into the weights; '' for none.
    lora_scale: how much of it.
    loras: more of them, each with its factor.
    prompt_chunks: pieces in which a text is read.
    base: beside a checkpoint in one file: see `locate.locate`.

  Raises:
    FileNotFoundError, UserError: in one line, the file that is wrong.
  """
  memory = memory or messages.MemoryOptions()
  loras = [*([(lora, lora_scale)] if lora else []), *loras]
  names.check_choice('dtype', dtype, messages.DTYPES)
  names.check_choice(
    'memory.text_dtype', memory.text_dtype, messages.TEXT_DTYPES
  )
  if os.path.isfile(directory):
    directory = locate.locate(os.fspath(directory), base)
  family = families.read_family(pathlib.Path(directory))
  network = family.denoiser_config['_class_name']
  if memory.cuda_graphs:
    denoisers.check_can_be_recorded(network)
  # A progress bar per network is noise in an actor's log.
  transformers.utils.logging.disable_progress_bar()
  diffusers.utils.logging.disable_progress_bar()
  torch_device = devices.resolve_device(device)
  torch_dtype = devices.resolve_dtype(dtype, torch_device)
  denoiser = files.load_component(
    denoisers.network_class(network),
    family.directory,
    family.denoiser,
    torch_dtype=torch.float32 if train or loras else torch_dtype,
  )
  text = _open_text(family, memory, torch_device, bool(loras), prompt_chunks)
  if loras:
    adapters.merge_loras(denoiser, text, loras)
    for encoder in text.modules:
      text_encoders.lower(encoder, devices.DTYPES[memory.text_dtype])
    if not train:
      # torch's `to` is called directly, because diffusers' own warns of layers
      # kept in float32 although there are none here.
      torch.nn.Module.to(denoiser, torch_dtype)
  denoiser.to(torch_device)
  if memory.channels_last:
    denoiser.to(memory_format=torch.channels_last)
    norms.quicken(denoiser, torch_device)
  if memory.attention_slicing:
    attention.slice_attention(denoiser)
  else:
    attention.choose_attention(denoiser, torch_device)
  path = family.directory / 'model_index.json'
  return Pipeline(
    denoiser=denoiser,
    text=text,
    schedule=family.schedule,
    codec=_open_codec(family, torch_dtype, memory, torch_device),
    image_size=family.image_size,
    settings=family.settings,
    dtype=torch_dtype,
    device=torch_device,
    index=files.read_json(path) if path.is_file() else {},
    memory=memory,
    recordings=_recordings(memory, torch_device),
  )


def _recordings(
  memory: messages.MemoryOptions, device: torch.device
) -> cuda_graphs.Recordings | None:
  if not memory.cuda_graphs:
    return None
  if memory.batched:
    raise errors.UserError(
      'memory.cuda_graphs and memory.batched are both on, and a batch of mixed '
      'adapters cannot be recorded; switch one of them off.'
    )
  if device.type != 'cuda':
    raise errors.UserError(
      f'memory.cuda_graphs is on, and the prior is on {device.type}; expected '
      'a CUDA device, so switch it off.'
    )
  return cuda_graphs.Recordings()


def _open_text(
  family: families.Family,
  memory: messages.MemoryOptions,
  device: torch.device,
  is_changed: bool,
  prompt_chunks: int,
) -> prompt_encoder.PromptEncoder:
  """Opens the text encoders; in float32 if their weights are to change."""
  family_texts.check_chunks(family.directory, family.texts, prompt_chunks)
  dtype = devices.DTYPES['float32' if is_changed else memory.text_dtype]
  readers = []
  for text in family.texts:
    # Each text is encoded once, so a slow encoder in float32 costs little.
    encoder = files.load_component(
      getattr(transformers, family_texts.ENCODERS[text.kind]),
      family.directory,
      text.component,
      dtype=dtype,
    )
    tokenizer = files.load_tokenizer(family.directory, text.tokenizer)
    template = chat_templates.template_of(
      text.template, tokenizer, family.directory / text.tokenizer
    )
    kind = chat_readers.ChatReader if template else text_encoders.Reader
    readers.append(
      kind(
        tokenizer,
        encoder.to('cpu' if memory.offload_text else device),
        text.length,
        text.style,
        template,
      )
    )
  return prompt_encoder.PromptEncoder(
    readers, family.join, family.empty_is_zero, prompt_chunks
  )


def _open_codec(
  family: families.Family,
  dtype: torch.dtype,
  memory: messages.MemoryOptions,
  device: torch.device,
) -> image_codec.ImageCodec:
  if family.codec != 'vae':
    return image_codec.PixelCodec(family.codec_factor)
  path = family.directory / 'vae' / 'config.json'
  config = files.read_json(path)
  vae = files.load_component(
    image_codec.vae_class(config),
    family.directory,
    'vae',
    torch_dtype=image_codec.vae_dtype(config, dtype),
  )
  vae = vae.to(device)
  attention.choose_of_vae(vae, family.image_size, device)
  return image_codec.VaeCodec(vae, memory.checkpoint_encoder)


def encode_images(pipeline: Pipeline, images: torch.Tensor) -> torch.Tensor:
  """Turns images of any size into latents, differentiably.

  Args:
    pipeline: whose image size and codec are used.
    images: [V, H, W, 3] float32 in [0, 1], on the CPU.

  Returns:
    [V, C, h, w] float32 on the pipeline's device.
  """
  pixels = images.permute(0, 3, 1, 2).to(pipeline.device)
  pixels = resizing.resize(pixels, pipeline.image_size)
  return pipeline.codec.encode(2 * pixels - 1)


def predict(
  pipeline: Pipeline,
  noisy: torch.Tensor,
  timestep: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
  recordings: cuda_graphs.Recordings | None = None,
) -> torch.Tensor:
  """Runs the network once; the schedule says what its prediction means.

  Args:
    pipeline: whose network runs.
    noisy: [B, C, h, w] float32.
    timestep: [B] int64, as `schedule.t_to_timestep` has it.
    prompt_embeds: of B texts.
    recordings: of passes of the network as it is now; they have no gradient.

  Returns:
    [B, C, h, w] float32.
  """
  inputs = inputs_of(pipeline, noisy, timestep, prompt_embeds)
  if recordings is None:
    return predict_at(pipeline, *inputs)
  (noise_pred,) = recordings.run(
    'predict', lambda *given: (predict_at(pipeline, *given),), inputs
  )
  return noise_pred


Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]


def inputs_of(
  pipeline: Pipeline,
  noisy: torch.Tensor,
  timestep: torch.Tensor,
  prompt_embeds: text_encoders.PromptEmbeds,
) -> Inputs:
  """Returns what the network is given, where it is and as it wants it.

  Args:
    pipeline, noisy, timestep, prompt_embeds: see `predict`.

  Returns:
    Noisy images, times as the network calls them, and the parts of the texts.
  """
  dtype = pipeline.denoiser.dtype
  times = pipeline.schedule.times.to(timestep.device)[timestep]
  if pipeline.memory.channels_last:
    noisy = noisy.contiguous(memory_format=torch.channels_last)
  embeds = prompt_embeds.to(noisy.device, dtype)
  return noisy.to(dtype), times, embeds.sequence, embeds.pooled


def predict_at(
  pipeline: Pipeline,
  noisy: torch.Tensor,
  times: torch.Tensor,
  sequence: torch.Tensor,
  pooled: torch.Tensor | None,
) -> torch.Tensor:
  """Runs the network on what `inputs_of` returns, and asks the CPU nothing."""
  # Autocast also where the weights are bfloat16: the proxy's are float32.
  with (
    torch.autocast(
      pipeline.device.type,
      pipeline.dtype,
      enabled=pipeline.is_mixed and pipeline.dtype != torch.float32,
      # A recording must not find weights that were cast before it, and that
      # nobody keeps.
      cache_enabled=not pipeline.memory.cuda_graphs,
    ),
    attention.upcast(pipeline.denoiser),
  ):
    noise_pred = denoisers.run(
      pipeline.denoiser,
      noisy,
      times,
      text_encoders.PromptEmbeds(sequence, pooled),
      pipeline.image_size,
    )
  return noise_pred.float()


def save_pipeline(
  pipeline: Pipeline, directory: str | os.PathLike, dtype: str = 'float16'
) -> None:
  """Writes a diffusers directory that `open_pipeline` opens.

  Args:
    pipeline: without adapters.
    directory: created if missing.
    dtype: a key of `devices.DTYPES`, of the stored denoiser and text encoders.
      A VAE is stored as it is.
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  # A bar per network is noise among the lines of a training.
  transformers.utils.logging.disable_progress_bar()
  unet = isinstance(pipeline.denoiser, diffusers.UNet2DConditionModel)
  networks = {'unet' if unet else 'transformer': pipeline.denoiser}
  index = {
    '_class_name': 'StableDiffusionPipeline',
    'scheduler': ['diffusers', 'DDPMScheduler'],
  }
  for number, reader in enumerate(pipeline.text.readers, 1):
    suffix = f'_{number}' if number > 1 else ''
    networks[f'text_encoder{suffix}'] = reader.text_encoder
    reader.tokenizer.save_pretrained(directory / f'tokenizer{suffix}')
    index[f'tokenizer{suffix}'] = [
      'transformers',
      type(reader.tokenizer).__name__,
    ]
  for name, module in networks.items():
    index[name] = [type(module).__module__.split('.')[0], type(module).__name__]
    # torch's `to` is called directly, because diffusers' own warns of layers
    # kept in float32 although there are none here.
    module = torch.nn.Module.to(
      copy.deepcopy(module), 'cpu', devices.DTYPES[dtype]
    )
    module.save_pretrained(directory / name, safe_serialization=True)
    _forget_origin(directory / name / 'config.json')
  if isinstance(pipeline.codec, image_codec.VaeCodec):
    index['vae'] = ['diffusers', type(pipeline.codec.vae).__name__]
    pipeline.codec.vae.save_pretrained(
      directory / 'vae', safe_serialization=True
    )
    _forget_origin(directory / 'vae' / 'config.json')
  _write_json(
    directory / 'scheduler' / 'scheduler_config.json',
    {'_class_name': 'DDPMScheduler', **pipeline.schedule.config},
  )
  _write_json(directory / 'model_index.json', {**index, **pipeline.index})
  if pipeline.settings:
    _write_json(directory / files.SETTINGS_FILE, dict(pipeline.settings))


def _forget_origin(path: pathlib.Path) -> None:
  """Drops the path that a network was opened from: it is of one machine."""
  config = files.read_json(path)
  config.pop('_name_or_path', None)
  _write_json(path, config)


def _write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write_text(path, strict_json.dumps(content, indent=2) + '\n')
