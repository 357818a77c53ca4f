"""Tiny random directories of each family, built by the libraries' own classes.

Nothing is downloaded: what makes a family is its classes and configuration
files, not its size. Each writer returns the directory it was given.
"""

import json
import pathlib

import diffusers
from sentencepiece import sentencepiece_model_pb2 as sentencepiece
import torch
import transformers

from tests.priors import tiny
from tests.priors import tiny_chats

# Transformers beyond Stable Diffusion 3.
TRANSFORMERS = ('flux', 'pixart', 'auraflow', 'sana', 'z_image', 'qwen_image')
FAMILIES = ('sd1', 'sd2', 'sdxl', 'if', 'sd3', 'pixels')
_WIDTH = 16  # Of every text encoder.
_SD_BETAS = {
  'beta_start': 0.00085,
  'beta_end': 0.012,
  'beta_schedule': 'scaled_linear',
  'steps_offset': 1,
}


def write(family: str, directory: pathlib.Path, seed: int = 0) -> pathlib.Path:
  """Writes one of `FAMILIES` or `TRANSFORMERS`."""
  with torch.random.fork_rng(devices=[]):
    torch.manual_seed(seed)
    return _WRITERS[family](directory)


def _write_sd(directory, scheduler) -> pathlib.Path:
  _unet(4, 4).save_pretrained(directory / 'unet')
  _vae(4).save_pretrained(directory / 'vae')
  _clip().save_pretrained(directory / 'text_encoder')
  tiny.clip_tokenizer(directory / 'tokenizer')
  scheduler.save_pretrained(directory / 'scheduler')
  return _index(directory, 'StableDiffusionPipeline')


def _write_sd1(directory):
  return _write_sd(
    directory, diffusers.PNDMScheduler(**_SD_BETAS, skip_prk_steps=True)
  )


def _write_sd2(directory):
  return _write_sd(
    directory,
    diffusers.DDIMScheduler(**_SD_BETAS, prediction_type='v_prediction'),
  )


def _write_sdxl(directory):
  _unet(
    4,
    4,
    cross_attention_dim=2 * _WIDTH,
    addition_embed_type='text_time',
    addition_time_embed_dim=8,
    projection_class_embeddings_input_dim=_WIDTH + 6 * 8,
  ).save_pretrained(directory / 'unet')
  _vae(4).save_pretrained(directory / 'vae')
  _clip().save_pretrained(directory / 'text_encoder')
  _clip(projection=True).save_pretrained(directory / 'text_encoder_2')
  for suffix in ('', '_2'):
    tiny.clip_tokenizer(directory / f'tokenizer{suffix}')
  diffusers.EulerDiscreteScheduler(**_SD_BETAS).save_pretrained(
    directory / 'scheduler'
  )
  return _index(
    directory, 'StableDiffusionXLPipeline', force_zeros_for_empty_prompt=True
  )


def _write_if(directory):
  _unet(
    3,
    6,
    sample_size=16,
    down_block_types=('ResnetDownsampleBlock2D', 'SimpleCrossAttnDownBlock2D'),
    up_block_types=('SimpleCrossAttnUpBlock2D', 'ResnetUpsampleBlock2D'),
    mid_block_type='UNetMidBlock2DSimpleCrossAttn',
    addition_embed_type='text',
    addition_embed_type_num_heads=2,
    encoder_hid_dim=2 * _WIDTH,
    encoder_hid_dim_type='text_proj',
    resnet_time_scale_shift='scale_shift',
    act_fn='gelu',
    only_cross_attention=True,
  ).save_pretrained(directory / 'unet')
  _t5().save_pretrained(directory / 'text_encoder')
  sentencepiece_tokenizer(directory / 'tokenizer')
  diffusers.DDPMScheduler(
    beta_schedule='squaredcos_cap_v2',
    variance_type='learned_range',
    thresholding=True,
  ).save_pretrained(directory / 'scheduler')
  return _index(directory, 'IFPipeline')


def _write_sd3(directory):
  network = diffusers.SD3Transformer2DModel(
    sample_size=8,
    patch_size=2,
    in_channels=4,
    out_channels=4,
    num_layers=2,
    attention_head_dim=8,
    num_attention_heads=2,
    joint_attention_dim=2 * _WIDTH,
    caption_projection_dim=16,
    pooled_projection_dim=2 * _WIDTH,
    pos_embed_max_size=8,
  )
  with torch.no_grad():  # A fresh one leaves its input as it is.
    for name, weight in network.named_parameters():
      if 'norm' in name or 'proj_out' in name:
        weight.add_(0.1 * torch.randn_like(weight))
  network.save_pretrained(directory / 'transformer')
  _vae(4, shift_factor=0.06).save_pretrained(directory / 'vae')
  for suffix in ('', '_2'):
    _clip(projection=True).save_pretrained(directory / f'text_encoder{suffix}')
    tiny.clip_tokenizer(directory / f'tokenizer{suffix}')
  _t5().save_pretrained(directory / 'text_encoder_3')
  sentencepiece_tokenizer(directory / 'tokenizer_3')
  diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(
    directory / 'scheduler'
  )
  return _index(directory, 'StableDiffusion3Pipeline')


def _write_pixels(directory):
  tiny.write_pipeline(directory)
  return _index(directory, 'StableDiffusionPipeline')


def _write_flux(directory):
  network = diffusers.FluxTransformer2DModel(
    patch_size=1,
    in_channels=16,
    num_layers=1,
    num_single_layers=1,
    attention_head_dim=16,
    num_attention_heads=2,
    joint_attention_dim=2 * _WIDTH,
    pooled_projection_dim=_WIDTH,
    guidance_embeds=True,
    axes_dims_rope=(4, 6, 6),
  )
  with torch.no_grad():
    for name, weight in network.named_parameters():
      if 'norm' in name or 'proj_out' in name:
        weight.add_(0.1 * torch.randn_like(weight))
  network.save_pretrained(directory / 'transformer')
  _vae(4, shift_factor=0.06).save_pretrained(directory / 'vae')
  _clip().save_pretrained(directory / 'text_encoder')
  tiny.clip_tokenizer(directory / 'tokenizer')
  _t5().save_pretrained(directory / 'text_encoder_2')
  sentencepiece_tokenizer(directory / 'tokenizer_2')
  diffusers.FlowMatchEulerDiscreteScheduler(
    use_dynamic_shifting=True
  ).save_pretrained(directory / 'scheduler')
  (directory / 'mmdist.json').write_text(json.dumps({'image_size': 16}))
  return _index(directory, 'FluxPipeline')


def _write_pixart(directory):
  network = diffusers.PixArtTransformer2DModel(
    sample_size=8,
    patch_size=2,
    in_channels=4,
    out_channels=8,
    num_layers=2,
    attention_head_dim=8,
    num_attention_heads=2,
    cross_attention_dim=16,
    caption_channels=2 * _WIDTH,
    use_additional_conditions=False,
  )
  with torch.no_grad():
    for name, weight in network.named_parameters():
      if 'attn2' in name or 'proj_out' in name or 'scale_shift' in name:
        weight.add_(0.2 * torch.randn_like(weight))
  network.save_pretrained(directory / 'transformer')
  _vae(4).save_pretrained(directory / 'vae')
  _t5().save_pretrained(directory / 'text_encoder')
  sentencepiece_tokenizer(directory / 'tokenizer')
  diffusers.DPMSolverMultistepScheduler(
    beta_start=0.0001, beta_end=0.02
  ).save_pretrained(directory / 'scheduler')
  return _index(directory, 'PixArtAlphaPipeline')


def _write_auraflow(directory):
  network = diffusers.AuraFlowTransformer2DModel(
    sample_size=8,
    patch_size=2,
    in_channels=4,
    out_channels=4,
    num_mmdit_layers=1,
    num_single_dit_layers=1,
    attention_head_dim=8,
    num_attention_heads=2,
    joint_attention_dim=2 * _WIDTH,
    caption_projection_dim=16,
    pos_embed_max_size=16,
  )
  with torch.no_grad():  # A fresh one hardly listens to its text.
    for name, weight in network.named_parameters():
      if 'attn' in name or 'context' in name or 'norm' in name:
        weight.add_(0.3 * torch.randn_like(weight))
  network.save_pretrained(directory / 'transformer')
  _vae(4).save_pretrained(directory / 'vae')
  _loud(
    transformers.UMT5EncoderModel(transformers.UMT5Config(**_T5_SIZES))
  ).save_pretrained(directory / 'text_encoder')
  sentencepiece_tokenizer(directory / 'tokenizer')
  diffusers.FlowMatchEulerDiscreteScheduler(shift=1.73).save_pretrained(
    directory / 'scheduler'
  )
  return _index(directory, 'AuraFlowPipeline')


def _write_sana(directory):
  return _index(directory, tiny_chats.write_sana(directory))


def _write_z_image(directory):
  return _index(directory, tiny_chats.write_z_image(directory))


def _write_qwen_image(directory):
  return _index(directory, tiny_chats.write_qwen_image(directory))


_WRITERS = {
  'qwen_image': _write_qwen_image,
  'sana': _write_sana,
  'z_image': _write_z_image,
  'auraflow': _write_auraflow,
  'flux': _write_flux,
  'pixart': _write_pixart,
  'sd1': _write_sd1,
  'sd2': _write_sd2,
  'sdxl': _write_sdxl,
  'if': _write_if,
  'sd3': _write_sd3,
  'pixels': _write_pixels,
}


def _index(directory: pathlib.Path, name: str, **more) -> pathlib.Path:
  """Writes model_index.json from what lies in the folders."""
  index = {'_class_name': name, **more}
  for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
    configs = {
      'scheduler': 'scheduler_config.json',
      'tokenizer': 'tokenizer_config.json',
    }
    file = folder / configs.get(folder.name.split('_')[0], 'config.json')
    config = json.loads(file.read_text())
    library = 'diffusers' if '_class_name' in config else 'transformers'
    index[folder.name] = [
      library,
      config.get('_class_name')
      or config.get('tokenizer_class')
      or config['architectures'][0],
    ]
  (directory / 'model_index.json').write_text(json.dumps(index))
  return directory


def _unet(in_channels, out_channels, **changes):
  settings = {
    'sample_size': 8,
    'block_out_channels': (8, 16),
    'layers_per_block': 1,
    'down_block_types': ('DownBlock2D', 'CrossAttnDownBlock2D'),
    'up_block_types': ('CrossAttnUpBlock2D', 'UpBlock2D'),
    'cross_attention_dim': _WIDTH,
    'attention_head_dim': 4,
    'norm_num_groups': 4,
  }
  return diffusers.UNet2DConditionModel(
    in_channels=in_channels, out_channels=out_channels, **settings | changes
  )


def _vae(channels, **changes):
  return diffusers.AutoencoderKL(
    block_out_channels=(8, 8),
    down_block_types=('DownEncoderBlock2D',) * 2,
    up_block_types=('UpDecoderBlock2D',) * 2,
    latent_channels=channels,
    norm_num_groups=4,
    sample_size=16,
    scaling_factor=0.18215,
    **changes,
  )


def _clip(projection: bool = False):
  config = transformers.CLIPTextConfig(
    vocab_size=64,
    hidden_size=_WIDTH,
    intermediate_size=32,
    num_hidden_layers=3,
    num_attention_heads=2,
    max_position_embeddings=tiny.LENGTH,
    projection_dim=_WIDTH,
    bos_token_id=54,
    eos_token_id=55,
    pad_token_id=55,
  )
  cls = (
    transformers.CLIPTextModelWithProjection
    if projection
    else transformers.CLIPTextModel
  )
  return _loud(cls(config))


_T5_SIZES = {
  'vocab_size': 64,
  'd_model': 2 * _WIDTH,
  'd_kv': 8,
  'd_ff': 32,
  'num_layers': 2,
  'num_heads': 2,
  'feed_forward_proj': 'gated-gelu',
}


def _t5():
  return _loud(transformers.T5EncoderModel(transformers.T5Config(**_T5_SIZES)))


def _loud(encoder):
  """At their initial scale all words are nearly the same."""
  with torch.no_grad():
    for name, weight in encoder.named_parameters():
      if 'embed' in name or 'shared' in name:
        weight.normal_(0, 0.5)
  return encoder


def sentencepiece_tokenizer(directory: pathlib.Path) -> None:
  """Writes T5's kind of tokenizer, which knows letters and a few words."""
  model = sentencepiece.ModelProto()
  pieces = [('<pad>', 0.0, 3), ('</s>', 0.0, 3), ('<unk>', 0.0, 2)]
  pieces += [('\u2581', -2.0, 1)]
  pieces += [(f'\u2581{word}', -3.0, 1) for word in 'a happy sad man'.split()]
  pieces += [(letter, -5.0, 1) for letter in 'abcdefghijklmnopqrstuvwxyz,']
  for text, score, kind in pieces:
    piece = model.pieces.add()
    piece.piece, piece.score, piece.type = text, score, kind
  model.trainer_spec.model_type = 1
  model.trainer_spec.unk_id = 2
  model.trainer_spec.eos_id = 1
  model.trainer_spec.pad_id = 0
  model.trainer_spec.bos_id = -1
  directory.mkdir(parents=True, exist_ok=True)
  (directory / 'spiece.model').write_bytes(model.SerializeToString())
  settings = {
    'tokenizer_class': 'T5Tokenizer',
    'model_max_length': 512,
    'eos_token': '</s>',
    'unk_token': '<unk>',
    'pad_token': '<pad>',
  }
  (directory / 'tokenizer_config.json').write_text(json.dumps(settings))
