"""What a checkpoint in one file is, told from the names of its tensors.

Its name says nothing: people rename files. Reads headers only, without torch.
"""

from collections.abc import Iterable, Mapping
import dataclasses
from typing import Any

from mmdist.core import errors
from mmdist.priors import flux_looks

Header = Mapping[str, Mapping[str, Any]]
NETWORK = 'model.diffusion_model.'
_REMEDY = (
  "if diffusers reads it, open it with diffusers' from_single_file and give "
  'the directory that save_pretrained writes'
)

# Component -> the prefixes that its tensors may have in a file of a family.
_VAE = ('first_stage_model.', 'vae.')
_COMPONENTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
  'sd1': {
    'unet': (NETWORK,),
    'vae': _VAE,
    'text_encoder': ('cond_stage_model.transformer.',),
  },
  'sd2': {
    'unet': (NETWORK,),
    'vae': _VAE,
    'text_encoder': ('cond_stage_model.model.',),
  },
  'sdxl': {
    'unet': (NETWORK,),
    'vae': _VAE,
    'text_encoder': ('conditioner.embedders.0.transformer.',),
    'text_encoder_2': ('conditioner.embedders.1.model.',),
  },
  'sd3': {
    'transformer': (NETWORK,),
    'vae': _VAE,
    'text_encoder': ('text_encoders.clip_l.transformer.',),
    'text_encoder_2': ('text_encoders.clip_g.transformer.',),
    'text_encoder_3': ('text_encoders.t5xxl.transformer.',),
  },
  'flux': {
    'transformer': flux_looks.PREFIXES,
    'vae': _VAE,
    'text_encoder': ('text_encoders.clip_l.transformer.',),
    'text_encoder_2': ('text_encoders.t5xxl.transformer.',),
  },
}
# What people call the families.
SPOKEN = {
  'sd1': 'Stable Diffusion 1',
  'sd2': 'Stable Diffusion 2',
  'sdxl': 'Stable Diffusion XL',
  'sd3': 'Stable Diffusion 3',
  'flux': 'Flux',
}
# Parts of names of adapters.
_ADAPTERS = {
  'lora_': 'a LoRA',
  'hada_w': 'a LoHa',
  'lokr_w': 'a LoKr',
  'oft_blocks': 'an OFT',
  'oft_R': 'an OFT',
}
# A part of a name -> what a file with it looks like; the first that fits
# counts. In names as they are compared, '^.' is the beginning and '$' the end.
# These come with parts of other models, and none is a prior, whoever reads it.
_BESIDE = {
  'control_model.': 'a ControlNet',
  'controlnet_cond_embedding.': 'a ControlNet',
  '.controlnet_': 'a ControlNet',
  'input_hint_block.': 'a ControlNet',
  'lllite_': 'a ControlNet-LLLite',
  '.adapter.body.': 'a T2I-Adapter',
  'motion_modules.': 'a motion module of AnimateDiff',
  'emb_params': 'a textual inversion',
  'string_to_param': 'a textual inversion',
  '.clip_g$': 'a textual inversion',
  '.clip_l$': 'a textual inversion',
  '.t5xxl$': 'a textual inversion',
  '.<': 'a textual inversion',
  'image_proj.': 'an IP-Adapter',
  'ip_adapter': 'an IP-Adapter',
  '.conv_first.': 'a network that enlarges images',
  '.RDB1.': 'a network that enlarges images',
  '.residual_group.': 'a network that enlarges images',
}
# Other families, and networks of those that are read.
_LOOKS = {
  'double_stream_modulation_img.': 'Flux 2',
  'distilled_guidance_layer.': 'Chroma',
  'txt_in.individual_token_refiner.': 'Hunyuan Video',
  'double_blocks.': 'a part or a relative of Flux',
  'double_layers.': 'AuraFlow',
  'clip_txt_mapper.': 'Stable Cascade',
  'cap_embedder.': 'Lumina 2 or Z-Image',
  'patchify_proj.': 'LTX Video',
  'head.modulation': 'Wan',
  'adaln_single.': 'PixArt or Sana',
  'cross_attn.q_linear.': 'PixArt or Sana',
  'txt_norm.': 'Qwen-Image',
  'add_embedding.linear_1.': "diffusers' UNet of Stable Diffusion XL alone",
  'down_blocks.0.resnets.0.conv1.': 'one network of diffusers, a UNet, alone',
  'transformer_blocks.0.': 'one network of diffusers, a transformer, alone',
  '^.input_blocks.0.0.': (
    f'a UNet alone whose tensors lack {NETWORK} before their names'
  ),
}
# Parts of whole checkpoints of any family, where nothing else is.
_ALONE = {
  '.vision_model.': 'an encoder of images',
  '.SelfAttention.': 'a text encoder (T5) alone',
  '.transformer.resblocks.': 'a text encoder alone',
  '.text_model.': 'a text encoder alone',
  'decoder.mid.block_1.': 'a VAE alone',
  'decoder.mid_block.': "diffusers' VAE alone",
}
# Numbers that the refiner of Stable Diffusion XL is told beside a text.
_REFINER = 2560
# How names begin in a whole checkpoint and nowhere else.
_OF_WHOLE = ('conditioner.', 'first_stage_model.')
_EDM = ('edm_mean', 'edm_vpred.sigma_max')
# What a network takes besides noisy latents.
_CHANNELS = {
  5: 'of depth',
  7: 'that enlarges images',
  8: 'that edits a given image',
  9: 'that paints into a given image',
}


@dataclasses.dataclass(frozen=True)
class Look:
  """What a checkpoint is.

  Attributes:
    family: 'sd1', 'sd2', 'sdxl', 'sd3' or 'flux'.
    components: those that it holds -> the prefix of their tensors.
    needed: the components that its family has, here or not. T5 is left out of
      Stable Diffusion 3 where nobody has it.
    changes: of its scheduler's settings, which the file itself asks for.
    predicts: what its metadata say that its network predicts, in the words of
      a scheduler; '' if nothing.
  """

  family: str
  components: Mapping[str, str]
  needed: tuple[str, ...]
  changes: Mapping[str, Any]
  predicts: str = ''


# Key of Stability AI's ModelSpec and its words -> those of a scheduler.
_PREDICTS = 'modelspec.prediction_type'
_PREDICTIONS = {'epsilon': 'epsilon', 'v': 'v_prediction'}


def look(path: object, header: Header) -> Look:
  """Returns what a checkpoint is.

  Args:
    path: of the file, for the error.
    header: its tensors, by their names; see `model_files.read_header`.

  Raises:
    UserError: in one line; it is of another family, and which it looks like.
  """
  names = [name for name in header if name != '__metadata__']
  family = _family(path, header, names)
  prefixes = _COMPONENTS[family]
  found = {
    component: [p for p in known if any(name.startswith(p) for name in names)]
    for component, known in prefixes.items()
  }
  components = {name: some[0] for name, some in found.items() if some}
  changes: dict[str, Any] = {}
  if 'v_pred' in header:
    changes['prediction_type'] = 'v_prediction'
  if 'ztsnr' in header:
    changes['rescale_betas_zero_snr'] = True
  metadata = header.get('__metadata__') or {}
  predicts = _PREDICTIONS.get(str(metadata.get(_PREDICTS)), '')
  return Look(family, components, tuple(prefixes), changes, predicts)


def _family(path: object, header: Header, names: Iterable[str]) -> str:
  if f'{NETWORK}joint_blocks.0.x_block.attn.qkv.weight' in header:
    return 'sd3'
  flux = flux_looks.shapes_of(header)
  if flux:
    flux_looks.check(path, flux)
    return 'flux'
  first = header.get(f'{NETWORK}input_blocks.0.0.weight')
  if first is None:
    raise _unknown(path, names)
  if any(name.startswith('control_model.') for name in names):
    raise _unknown(path, names)
  shape = first['shape']
  if len(shape) != 4:
    raise _unknown(path, names)
  if any('.time_stack.' in name for name in names):
    raise errors.UserError(
      f'{path} looks like Stable Video Diffusion, which is no prior; expected '
      'Stable Diffusion 1, 2, XL or 3, or Flux.'
    )
  channels = shape[1]
  if channels != 4:
    kind = _CHANNELS.get(channels, f'of {channels} input channels')
    raise errors.UserError(
      f'{path} looks like a model {kind}, whose network takes {channels} '
      'channels; expected 4 of noisy latents, so it is no prior.'
    )
  for mark in _EDM:
    if mark in header:
      raise errors.UserError(
        f'{path} looks like a model of EDM ({mark}: Playground 2.5 or CosXL), '
        'whose noise levels are not read; expected Stable Diffusion 1, 2, XL '
        'or 3.'
      )
  if f'{NETWORK}label_emb.weight' in header:
    raise errors.UserError(
      f'{path} looks like a model that enlarges images; it is no prior.'
    )
  vector = header.get(f'{NETWORK}label_emb.0.0.weight')
  if (vector is not None and vector['shape'][1:] == [_REFINER]) or any(
    name.startswith('conditioner.embedders.0.model.') for name in names
  ):
    raise errors.UserError(
      f'{path} looks like the refiner of Stable Diffusion XL, which is no '
      'prior by itself; expected its base.'
    )
  if vector is not None:
    return 'sdxl'
  if any(name.startswith('cond_stage_model.model.') for name in names):
    return 'sd2'
  if any(name.startswith('cond_stage_model.') for name in names):
    return 'sd1'
  # Without its text encoder, its width tells.
  width = next(
    (
      header[name]['shape'][1]
      for name in names
      if name.startswith(NETWORK) and name.endswith('attn2.to_k.weight')
    ),
    0,
  )
  return 'sd2' if width == 1024 else 'sd1'


def _find(marks: Mapping[str, str], names: Iterable[str]) -> str | None:
  """Returns what the first mark stands for that is in a name."""
  names = [f'^.{name}$' for name in names]
  found = (
    what for mark, what in marks.items() if any(mark in name for name in names)
  )
  return next(found, None)


def looks_like(names: Iterable[str]) -> str | None:
  """Returns what a file is that is no adapter, from its tensors' names.

  Returns:
    'a ControlNet', or whatever it looks like; None if that is not known.
  """
  names = list(names)
  if any(name.startswith(_OF_WHOLE) for name in names):
    return 'a whole checkpoint, which is a prior of its own'
  return _find(_BESIDE | _LOOKS | _ALONE, names)


def _unknown(path: object, names: Iterable[str]) -> errors.UserError:
  names = list(names)
  expected = (
    'expected a whole checkpoint of Stable Diffusion 1, 2, XL or 3, or Flux'
  )
  adapter = _find(_ADAPTERS, names)
  if adapter:
    return errors.UserError(
      f'{path} looks like {adapter}; give it by --config.priors.NAME.lora=FILE '
      'beside the directory of a model.'
    )
  part = _find(_BESIDE, names)
  looks = _find(_LOOKS, names)
  if not part and not looks:
    part = _find(_ALONE, names)
  if part:
    return errors.UserError(
      f'{path} looks like {part}, which is no prior by itself; {expected}.'
    )
  if not looks and not names:
    looks = 'an empty file'
  elif not looks:
    looks = f'nothing that is known here (its first tensor is {names[0]})'
  return errors.UserError(f'{path} looks like {looks}; {expected}; {_REMEDY}.')


def sd3_config(header: Header) -> dict[str, Any]:
  """Returns the config of a transformer of Stable Diffusion 3 or 3.5.

  There are several sizes of it, and all but two of its figures are shapes.
  """
  shapes = {
    name.removeprefix(NETWORK): tensor['shape']
    for name, tensor in header.items()
    if name.startswith(NETWORK)
  }
  blocks = {
    int(name.split('.')[1]) for name in shapes if name.startswith('joint_block')
  }
  width, channels, patch, _ = shapes['x_embedder.proj.weight']
  head = 64
  return {
    '_class_name': 'SD3Transformer2DModel',
    'attention_head_dim': head,
    'caption_projection_dim': shapes['context_embedder.weight'][0],
    'dual_attention_layers': sorted(
      block
      for block in blocks
      if f'joint_blocks.{block}.x_block.attn2.qkv.weight' in shapes
    ),
    'in_channels': channels,
    'joint_attention_dim': shapes['context_embedder.weight'][1],
    'num_attention_heads': width // head,
    'num_layers': len(blocks),
    'out_channels': shapes['final_layer.linear.weight'][0] // patch**2,
    'patch_size': patch,
    'pooled_projection_dim': shapes['y_embedder.mlp.0.weight'][1],
    'pos_embed_max_size': round(shapes['pos_embed'][1] ** 0.5),
    'qk_norm': 'rms_norm' if any('.ln_q.' in name for name in shapes) else None,
    'sample_size': 128,
  }
