"""Tiny random diffusers directories, built by diffusers' own classes."""

import json
import pathlib

import diffusers
import torch
import transformers

from experiments.benchmarks import gpu_models
from mmdist.core import messages
from mmdist.priors.training import embedded

WORDS = (
  'a portrait of happy sad man woman with green red skin hat , front back view '
  'photo [w] [v]'
).split()
LENGTH = 16
# Of priors that are trained in tests.
ARCHITECTURE = embedded.Architecture(
  image_size=8,
  widths=(16, 32),
  attention=(False, True),
  text_width=16,
  text_layers=1,
)
EMBED = 16


def write_pipeline(
  directory: pathlib.Path,
  prediction_type: str = 'v_prediction',
  codec: str = 'pixel_unshuffle',
  seed: int = 0,
) -> pathlib.Path:
  """Writes a pipeline of 16-pixel images; codec 'vae' makes a latent one."""
  channels = {'pixel_unshuffle': 12, 'identity': 3, 'vae': 4}[codec]
  with torch.random.fork_rng(devices=[]):
    torch.manual_seed(seed)
    _unet(channels).save_pretrained(directory / 'unet')
    _text_encoder().save_pretrained(directory / 'text_encoder')
    if codec == 'vae':
      _vae().save_pretrained(directory / 'vae')
  tokenizer = embedded.make_tokenizer(WORDS, LENGTH)
  tokenizer.save_pretrained(directory / 'tokenizer')
  diffusers.DDPMScheduler(
    beta_schedule='squaredcos_cap_v2',
    prediction_type=prediction_type,
    clip_sample=False,
    steps_offset=1,
  ).save_pretrained(directory / 'scheduler')
  if codec != 'vae':
    settings = {
      'image_codec': codec,
      'factor': 2,
      'image_size': 16,
      'identifier_tokens': {'normal': '[w]', 'personal': '[v]'},
      'prompt_length': LENGTH,
    }
    (directory / 'mmdist.json').write_text(json.dumps(settings))
  return directory


def _unet(channels: int) -> diffusers.UNet2DConditionModel:
  unet = diffusers.UNet2DConditionModel(
    sample_size=16 if channels == 3 else 8,
    in_channels=channels,
    out_channels=channels,
    block_out_channels=(8, 16),
    layers_per_block=1,
    down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D'),
    up_block_types=('CrossAttnUpBlock2D', 'UpBlock2D'),
    cross_attention_dim=EMBED,
    attention_head_dim=2,
    norm_num_groups=4,
  )
  with torch.no_grad():
    # A fresh UNet hardly listens to its text; these tests need one that does.
    for name, weight in unet.named_parameters():
      if 'attn2' in name:
        weight.mul_(5)
  return unet


def _text_encoder() -> transformers.CLIPTextModel:
  encoder = transformers.CLIPTextModel(
    transformers.CLIPTextConfig(
      vocab_size=64,  # Room for either tokenizer.
      hidden_size=EMBED,
      intermediate_size=32,
      num_hidden_layers=1,
      num_attention_heads=2,
      max_position_embeddings=LENGTH,
      bos_token_id=1,
      eos_token_id=2,
      pad_token_id=0,
      projection_dim=EMBED,
    )
  )
  with torch.no_grad():
    # CLIP's initial scale of 0.02 makes all words nearly the same.
    for name, weight in encoder.named_parameters():
      if 'embedding' in name:
        weight.normal_(0, 0.5)
  return encoder


def _vae() -> diffusers.AutoencoderKL:
  return diffusers.AutoencoderKL(
    block_out_channels=(8, 8),
    down_block_types=('DownEncoderBlock2D',) * 2,
    up_block_types=('UpDecoderBlock2D',) * 2,
    latent_channels=4,
    norm_num_groups=4,
    sample_size=16,
    scaling_factor=0.18215,
  )


def clip_tokenizer(directory: pathlib.Path) -> None:
  """Writes a byte-pair tokenizer of CLIP's kind that knows single letters."""
  gpu_models.write_tokenizer(directory, LENGTH)


def spec(
  directory: pathlib.Path, name: str = 'tiny', num_threads: int = 1, **changes
) -> messages.PriorSpec:
  """Returns a float32 spec on the CPU; `changes` are of its options."""
  settings = {
    'directory': str(directory),
    'dtype': 'float32',
    'device': 'cpu',
    **changes,
  }
  return messages.PriorSpec(
    name, messages.PriorOptions(**settings), num_threads
  )
