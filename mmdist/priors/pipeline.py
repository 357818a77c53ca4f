"""A diffusers directory, opened: text in, prediction of a noisy image out.

The embedded priors and Stable Diffusion take the same path. `mmdist.json` (see
`directory.py`) says what diffusers has no word for; a directory without it is
read as its folders say: a vae/ means latents.
"""

from collections.abc import Mapping
import copy
import dataclasses
import json
import os
import pathlib
from typing import Any

import diffusers
from diffusers.models import attention_processor
import torch
from torch.nn import functional
import transformers

from mmdist.core import names
from mmdist.priors import directory as files
from mmdist.priors import image_codec
from mmdist.priors import prompts
from mmdist.priors import schedule as schedules

DTYPES = {
  'float32': torch.float32,
  'bfloat16': torch.bfloat16,
  'float16': torch.float16,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Pipeline:
  """One text-to-image model.

  Attributes:
    unet: predicts from (noisy latents, timestep, embeddings).
    text: its texts' encoder.
    schedule: its noise levels and what it predicts.
    codec: between pixels in [-1, 1] and latents.
    image_size: pixels along an axis of the images it knows.
    settings: `mmdist.json`; empty if there was none.
    dtype: in which the networks compute.
    device: where they lie.
  """

  unet: Any
  text: prompts.PromptEncoder
  schedule: schedules.Schedule
  codec: image_codec.ImageCodec
  image_size: int
  settings: Mapping[str, Any]
  dtype: torch.dtype
  device: torch.device


def open_pipeline(
  directory: str | os.PathLike,
  dtype: str = 'float32',
  device: str = 'auto',
  train: bool = False,
) -> Pipeline:
  """Opens a directory; every network is frozen and in eval mode.

  Args:
    directory: a diffusers directory.
    dtype: a key of `DTYPES`, in which the networks compute.
    device: a torch device; 'auto' takes CUDA where there is one.
    train: keep the UNet's weights in float32 and compute in `dtype`.

  Raises:
    FileNotFoundError, ValueError: in one line, the file that is wrong.
  """
  names.check_choice('dtype', dtype, DTYPES)
  directory = pathlib.Path(directory)
  settings = files.read_settings(directory)
  # A progress bar per network is noise in an actor's log.
  transformers.utils.logging.disable_progress_bar()
  diffusers.utils.logging.disable_progress_bar()
  device = _device(device)
  config = files.read_json(directory / 'scheduler' / 'scheduler_config.json')
  weights_dtype = torch.float32 if train else DTYPES[dtype]
  unet = files.load_component(
    diffusers.UNet2DConditionModel,
    directory,
    'unet',
    torch_dtype=weights_dtype,
  ).to(device, memory_format=torch.channels_last)
  choose_attention(unet, device)
  codec = _open_codec(directory, settings, DTYPES[dtype], device)
  image_size = settings.get(
    'image_size', unet.config.sample_size * codec.factor
  )
  _check_fit(directory, unet, codec, image_size)
  return Pipeline(
    unet=unet,
    text=_open_text(directory, settings, device),
    schedule=schedules.schedule_from_config(config),
    codec=codec,
    image_size=image_size,
    settings=settings,
    dtype=DTYPES[dtype],
    device=device,
  )


def choose_attention(
  unet: diffusers.UNet2DConditionModel, device: torch.device
) -> None:
  """Takes plain attention for a small UNet on a CPU.

  There the fused one has a slow backward pass; on more than 32^2 tokens its
  memory counts for more.
  """
  if device.type == 'cpu' and unet.config.sample_size <= 32:
    unet.set_attn_processor(attention_processor.AttnProcessor())


def _device(name: str) -> torch.device:
  if name == 'auto':
    name = 'cuda' if torch.cuda.is_available() else 'cpu'
  return torch.device(name)


def _open_text(
  directory: pathlib.Path, settings: Mapping[str, Any], device: torch.device
) -> prompts.PromptEncoder:
  # float32: each text is encoded once, so precision costs nothing here.
  text_encoder = files.load_component(
    transformers.CLIPTextModel,
    directory,
    'text_encoder',
    dtype=torch.float32,
  ).to(device)
  tokenizer = files.load_tokenizer(directory)
  longest = text_encoder.config.max_position_embeddings
  length = files.prompt_length(settings, longest)
  return prompts.PromptEncoder(tokenizer, text_encoder, length)


def _open_codec(
  directory: pathlib.Path,
  settings: Mapping[str, Any],
  dtype: torch.dtype,
  device: torch.device,
) -> image_codec.ImageCodec:
  latent = (directory / 'vae').is_dir()
  name = settings.get('image_codec', 'vae' if latent else 'identity')
  if name == 'identity':
    return image_codec.PixelCodec(1)
  if name == 'pixel_unshuffle':
    return image_codec.PixelCodec(int(settings.get('factor', 2)))
  if name != 'vae':
    raise ValueError(
      f'{directory / files.SETTINGS_FILE} has image_codec {name!r}; expected '
      'pixel_unshuffle, identity or vae.'
    )
  # The VAE of Stable Diffusion overflows float16.
  vae = files.load_component(
    diffusers.AutoencoderKL,
    directory,
    'vae',
    torch_dtype=torch.float32 if dtype == torch.float16 else dtype,
  )
  return image_codec.VaeCodec(vae.to(device))


def _check_fit(directory, unet, codec, image_size: int) -> None:
  channels = unet.config.in_channels
  if isinstance(codec, image_codec.PixelCodec):
    expected = 3 * codec.factor**2
    if channels != expected:
      raise ValueError(
        f'{directory}: the UNet takes {channels} channels, the image codec '
        f'gives {expected}; correct image_codec and factor in '
        f'{files.SETTINGS_FILE}, or add the vae/ folder.'
      )
  if image_size % codec.factor:
    raise ValueError(
      f'{directory}: image_size {image_size} is no multiple of the image '
      f"codec's factor {codec.factor}."
    )


def encode_images(pipeline: Pipeline, images: torch.Tensor) -> torch.Tensor:
  """Turns images of any size into latents, differentiably.

  Args:
    pipeline: whose image size and codec are used.
    images: [V, H, W, 3] float32 in [0, 1], on the CPU.

  Returns:
    [V, C, h, w] float32 on the pipeline's device.
  """
  pixels = images.permute(0, 3, 1, 2)
  size = (pipeline.image_size, pipeline.image_size)
  if pixels.shape[-2:] != size:
    # On the CPU: CUDA's antialiased resize has no deterministic backward.
    pixels = functional.interpolate(
      pixels, size, mode='bilinear', align_corners=False, antialias=True
    )
  return pipeline.codec.encode((2 * pixels - 1).to(pipeline.device))


def predict(
  pipeline: Pipeline,
  noisy: torch.Tensor,
  timestep: torch.Tensor,
  embeds: torch.Tensor,
) -> torch.Tensor:
  """Runs the UNet once; the schedule says what its prediction means.

  Args:
    pipeline: whose UNet runs.
    noisy: [B, C, h, w] float32.
    timestep: [B] int64.
    embeds: [B, L, D] float32.

  Returns:
    [B, C, h, w] float32.
  """
  weights_dtype = pipeline.unet.dtype
  noisy = noisy.to(weights_dtype, memory_format=torch.channels_last)
  # Autocast also where the weights are bfloat16: the proxy's are float32.
  with torch.autocast(
    pipeline.device.type,
    pipeline.dtype,
    enabled=pipeline.dtype != torch.float32,
  ):
    prediction = pipeline.unet(
      noisy, timestep, encoder_hidden_states=embeds.to(weights_dtype)
    ).sample
  return prediction.float()


def save_pipeline(
  pipeline: Pipeline, directory: str | os.PathLike, dtype: str = 'float16'
) -> None:
  """Writes a diffusers directory that `open_pipeline` opens.

  Args:
    pipeline: without adapters.
    directory: created if missing.
    dtype: a key of `DTYPES`, of the stored UNet and text encoder.
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  text = pipeline.text
  copies = {'unet': pipeline.unet, 'text_encoder': text.text_encoder}
  for name, module in copies.items():
    # Past diffusers' own `to`, which warns of what it keeps in float32: none.
    module = torch.nn.Module.to(copy.deepcopy(module), 'cpu', DTYPES[dtype])
    module.save_pretrained(directory / name, safe_serialization=True)
    _forget_origin(directory / name / 'config.json')
  text.tokenizer.save_pretrained(directory / 'tokenizer')
  _write_json(
    directory / 'scheduler' / 'scheduler_config.json',
    {'_class_name': 'DDPMScheduler', **pipeline.schedule.config},
  )
  index = {
    '_class_name': 'StableDiffusionPipeline',
    'unet': ['diffusers', 'UNet2DConditionModel'],
    'text_encoder': ['transformers', 'CLIPTextModel'],
    'tokenizer': ['transformers', type(text.tokenizer).__name__],
    'scheduler': ['diffusers', 'DDPMScheduler'],
  }
  if isinstance(pipeline.codec, image_codec.VaeCodec):
    index['vae'] = ['diffusers', 'AutoencoderKL']
    pipeline.codec.vae.save_pretrained(
      directory / 'vae', safe_serialization=True
    )
  _write_json(directory / 'model_index.json', index)
  if pipeline.settings:
    _write_json(directory / files.SETTINGS_FILE, dict(pipeline.settings))


def _forget_origin(path: pathlib.Path) -> None:
  """Drops the path that a network was opened from: it is of one machine."""
  config = files.read_json(path)
  config.pop('_name_or_path', None)
  _write_json(path, config)


def _write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
