"""Random diffusers directories of the sizes of known models, without weights.

What a score costs depends on the shapes alone, which are public. The tokenizer
knows single letters; texts are padded to 77 tokens as everywhere.
"""

import pathlib
from typing import Any

import diffusers
import torch
import transformers

from mmdist.core import strict_json

_VAE: dict[str, Any] = {
  'down_block_types': ('DownEncoderBlock2D',) * 4,
  'up_block_types': ('UpDecoderBlock2D',) * 4,
  'block_out_channels': (128, 256, 512, 512),
  'layers_per_block': 2,
  'latent_channels': 4,
}
_CLIP: dict[str, Any] = {
  'vocab_size': 49408,
  'hidden_size': 768,
  'intermediate_size': 3072,
  'num_hidden_layers': 12,
  'num_attention_heads': 12,
  'projection_dim': 768,
}
_CLIP_LARGE: dict[str, Any] = {
  'vocab_size': 49408,
  'hidden_size': 1280,
  'intermediate_size': 5120,
  'num_hidden_layers': 32,
  'num_attention_heads': 20,
  'projection_dim': 1280,
  'hidden_act': 'gelu',
}
_TINY_CLIP: dict[str, Any] = {
  'vocab_size': 64,
  'hidden_size': 16,
  'intermediate_size': 32,
  'num_hidden_layers': 2,
  'num_attention_heads': 2,
  'projection_dim': 16,
}
_XL: dict[str, Any] = {
  'down_block_types': ('DownBlock2D', *('CrossAttnDownBlock2D',) * 2),
  'up_block_types': (*('CrossAttnUpBlock2D',) * 2, 'UpBlock2D'),
  'use_linear_projection': True,
  'addition_embed_type': 'text_time',
}
# Family, UNet, text encoders, VAE.
_SIZES: dict[str, tuple[str, dict[str, Any], list[dict], dict[str, Any]]] = {
  # What diffusers has by default is of this size, but for the texts.
  'sd15': (
    'StableDiffusionPipeline',
    {'sample_size': 64, 'cross_attention_dim': 768},
    [_CLIP],
    _VAE | {'sample_size': 512, 'scaling_factor': 0.18215},
  ),
  'sdxl': (
    'StableDiffusionXLPipeline',
    _XL
    | {
      'sample_size': 128,
      'block_out_channels': (320, 640, 1280),
      'transformer_layers_per_block': (1, 2, 10),
      'attention_head_dim': (5, 10, 20),
      'cross_attention_dim': 2048,
      'addition_time_embed_dim': 256,
      'projection_class_embeddings_input_dim': 1280 + 6 * 256,
    },
    [_CLIP, _CLIP_LARGE],
    _VAE | {'sample_size': 1024, 'scaling_factor': 0.13025},
  ),
  'tiny': (
    'StableDiffusionPipeline',
    {
      'sample_size': 8,
      'block_out_channels': (8, 16),
      'layers_per_block': 1,
      'down_block_types': ('DownBlock2D', 'CrossAttnDownBlock2D'),
      'up_block_types': ('CrossAttnUpBlock2D', 'UpBlock2D'),
      'cross_attention_dim': 16,
      'attention_head_dim': 4,
      'norm_num_groups': 4,
    },
    [_TINY_CLIP],
    {
      'block_out_channels': (8, 8),
      'down_block_types': ('DownEncoderBlock2D',) * 2,
      'up_block_types': ('UpDecoderBlock2D',) * 2,
      'latent_channels': 4,
      'norm_num_groups': 4,
      'sample_size': 16,
    },
  ),
}


def write(kind: str, directory: pathlib.Path, device: str) -> pathlib.Path:
  """Writes a directory in bfloat16, unless it is there; returns it.

  Args:
    kind: 'sd15', 'sdxl' or 'tiny'.
    directory: made with its last file, so that half of one is never taken.
    device: on which the random numbers are drawn.
  """
  if (directory / 'model_index.json').is_file():
    return directory
  family, unet, clips, vae = _SIZES[kind]
  index: dict[str, Any] = {'_class_name': family}
  if len(clips) > 1:
    index['force_zeros_for_empty_prompt'] = True

  def save(name: str, module: Any) -> None:
    # torch's `to` is called directly, because diffusers' own warns.
    torch.nn.Module.to(module, torch.bfloat16).save_pretrained(
      directory / name, safe_serialization=True
    )
    library = 'diffusers' if name in ('unet', 'vae') else 'transformers'
    index[name] = [library, type(module).__name__]

  with torch.random.fork_rng(devices=[]), torch.device(device):
    torch.manual_seed(0)
    save('unet', diffusers.UNet2DConditionModel(**unet))
    save('vae', diffusers.AutoencoderKL(**vae))
    for number, clip in enumerate(clips, 1):
      suffix = f'_{number}' if number > 1 else ''
      save(f'text_encoder{suffix}', _text_encoder(clip, bool(suffix)))
      write_tokenizer(directory / f'tokenizer{suffix}')
      index[f'tokenizer{suffix}'] = ['transformers', 'CLIPTokenizer']
  scheduler: Any = diffusers.DDIMScheduler(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule='scaled_linear',
    steps_offset=1,
  )
  scheduler.save_pretrained(directory / 'scheduler')
  index['scheduler'] = ['diffusers', 'DDIMScheduler']
  (directory / 'model_index.json').write_text(strict_json.dumps(index), 'utf-8')
  return directory


def _text_encoder(sizes: dict[str, Any], is_projected: bool) -> Any:
  config = transformers.CLIPTextConfig(
    **sizes,
    max_position_embeddings=77,
    bos_token_id=54,
    eos_token_id=55,
    pad_token_id=55,
  )
  if is_projected:
    return transformers.CLIPTextModelWithProjection(config)
  return transformers.CLIPTextModel(config)


def write_tokenizer(directory: pathlib.Path, length: int = 77) -> None:
  """Writes a byte-pair tokenizer of CLIP's kind that knows single letters.

  Args:
    directory: is made.
    length: tokens of the longest text.
  """
  letters = 'abcdefghijklmnopqrstuvwxyz,'
  pieces = [*letters, *(f'{letter}</w>' for letter in letters)]
  vocabulary = {piece: index for index, piece in enumerate(pieces)}
  for special in ('<|startoftext|>', '<|endoftext|>'):
    vocabulary[special] = len(vocabulary)
  directory.mkdir(parents=True, exist_ok=True)
  (directory / 'vocab.json').write_text(strict_json.dumps(vocabulary), 'utf-8')
  (directory / 'merges.txt').write_text('#version: 0.2\n', 'utf-8')
  settings = {'tokenizer_class': 'CLIPTokenizer', 'model_max_length': length}
  (directory / 'tokenizer_config.json').write_text(
    strict_json.dumps(settings), 'utf-8'
  )
