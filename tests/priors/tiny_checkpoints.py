"""Tiny checkpoints in one file: tiny families in the names of their authors.

The mapping is the public one, written here the other way round: from diffusers
to the authors' names.
"""

import pathlib
import re
import shutil

import safetensors.torch
import torch

from mmdist.priors import ldm_names
from mmdist.priors import pipeline as pipelines
from tests.priors import tiny_families
from tests.priors import tiny_flux

FAMILIES = ('sd1', 'sd2', 'sdxl', 'sd3', 'flux')
_NETWORK = 'model.diffusion_model.'


def write(
  family: str, folder: pathlib.Path, dtype: torch.dtype = torch.float32
) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
  """Writes a family twice.

  Returns:
    The diffusers directory; the checkpoint; and a base without any weights.
  """
  directory = tiny_families.write(family, folder / 'diffusers')
  pipeline = pipelines.open_pipeline(directory, 'float32', 'cpu')
  state = tensors_of(family, pipeline)
  file = folder / 'my favourite.safetensors'
  save(state, file, dtype)
  base = pathlib.Path(shutil.copytree(directory, folder / 'base'))
  for path in base.rglob('*.safetensors'):
    path.unlink()
  return directory, file, base


def save(state, file, dtype=torch.float32):
  """Writes tensors, the floating-point ones in `dtype`."""
  safetensors.torch.save_file(
    {
      name: (t.to(dtype) if t.is_floating_point() else t).clone().contiguous()
      for name, t in state.items()
    },
    file,
  )


def tensors_of(family, pipeline):
  """Returns a pipeline's weights in the authors' names."""
  text = [module.state_dict() for module in pipeline.text.modules]
  if family == 'sd3':
    state = sd3_names(pipeline.denoiser)
    for name, weights in zip(('clip_l', 'clip_g', 't5xxl'), text, strict=True):
      prefix = f'text_encoders.{name}.transformer.'
      state |= {f'{prefix}{k}': v for k, v in weights.items()}
  elif family == 'flux':
    # As ComfyUI saves all of it into one file.
    theirs = tiny_flux.authors_state(pipeline.denoiser)
    state = {f'{_NETWORK}{name}': weight for name, weight in theirs.items()}
    for name, weights in zip(('clip_l', 't5xxl'), text, strict=True):
      prefix = f'text_encoders.{name}.transformer.'
      state |= {f'{prefix}{k}': v for k, v in weights.items()}
    vae = vae_names(pipeline.codec.vae)
    return state | {
      name.replace('first_stage_model.', 'vae.'): weight
      for name, weight in vae.items()
    }
  else:
    state = unet_names(pipeline.denoiser)
    # As files have them, beside the weights.
    if family == 'sd1':
      state |= _hugging_face('cond_stage_model.transformer.', text[0])
    elif family == 'sd2':
      state |= _open_clip('cond_stage_model.model.', text[0])
      # The layer that diffusers leaves out, and what nobody reads.
      width = 16
      state |= _open_clip(
        'cond_stage_model.model.',
        {
          k.replace('layers.2', 'layers.3'): v
          for k, v in text[0].items()
          if 'layers.2' in k
        },
      )
      state['cond_stage_model.model.text_projection'] = torch.eye(width)
      state['cond_stage_model.model.logit_scale'] = torch.ones(())
    else:
      state |= _hugging_face('conditioner.embedders.0.transformer.', text[0])
      state |= _open_clip('conditioner.embedders.1.model.', text[1])
  return state | vae_names(pipeline.codec.vae)


def unet_names(unet):
  """Returns a UNet's weights in the authors' names."""
  layers = ldm_names.unet_layers(
    [name for name, module in unet.named_modules()], unet.config
  )
  theirs = {rows.layers[0]: name for name, rows in layers.items()}
  state = {}
  for name, weight in unet.state_dict().items():
    layer, _, part = name.rpartition('.')
    state[f'{_NETWORK}{theirs[layer]}.{part}'] = weight
  return state


def vae_names(vae):
  """Returns a VAE's weights in the authors' names."""
  blocks = len(vae.config.block_out_channels)
  state = {}
  for name, weight in vae.state_dict().items():
    theirs = name
    for pattern, replacement in (
      (r'down_blocks\.(\d+)\.resnets\.', r'down.\1.block.'),
      (r'down_blocks\.(\d+)\.downsamplers\.0', r'down.\1.downsample'),
      (r'mid_block\.resnets\.0', 'mid.block_1'),
      (r'mid_block\.resnets\.1', 'mid.block_2'),
      (r'mid_block\.attentions\.0\.', 'mid.attn_1.'),
      (r'conv_norm_out', 'norm_out'),
      (r'conv_shortcut', 'nin_shortcut'),
    ):
      theirs = re.sub(pattern, replacement, theirs)
    # Their blocks on the way up are counted from the image.
    theirs = re.sub(
      r'up_blocks\.(\d+)\.(resnets\.|upsamplers\.0)',
      lambda match: (
        f'up.{blocks - 1 - int(match[1])}.'
        f'{"block." if match[2] == "resnets." else "upsample"}'
      ),
      theirs,
    )
    if 'attn_1' in theirs:
      for ours, old in (
        ('group_norm', 'norm'),
        ('to_q', 'q'),
        ('to_k', 'k'),
        ('to_v', 'v'),
        ('to_out.0', 'proj_out'),
      ):
        theirs = theirs.replace(f'.{ours}.', f'.{old}.')
      if weight.ndim == 2:  # A convolution of one pixel there.
        weight = weight[:, :, None, None]
    state[f'first_stage_model.{theirs}'] = weight
  return state


def _hugging_face(prefix, weights):
  state = {
    f'{prefix}text_model.{k.removeprefix("text_model.")}': v
    for k, v in weights.items()
  }
  state[f'{prefix}text_model.embeddings.position_ids'] = torch.arange(16)[None]
  return state


def _open_clip(prefix, weights):
  weights = {k.removeprefix('text_model.'): v for k, v in weights.items()}
  ends = {
    'embeddings.position_embedding.weight': 'positional_embedding',
    'embeddings.token_embedding.weight': 'token_embedding.weight',
    'final_layer_norm.weight': 'ln_final.weight',
    'final_layer_norm.bias': 'ln_final.bias',
  }
  state = {}
  for name, weight in weights.items():
    if name in ends:
      state[f'{prefix}{ends[name]}'] = weight
    elif name == 'text_projection.weight':
      state[f'{prefix}text_projection'] = weight.T
    else:
      layer = re.fullmatch(r'encoder\.layers\.(\d+)\.(.+)', name)
      inner = f'{prefix}transformer.resblocks.{layer[1]}.'
      if '.q_proj.' in name:
        part = name.rpartition('.')[2]
        three = [
          weights[name.replace('q_proj', f'{one}_proj')] for one in 'qkv'
        ]
        state[f'{inner}attn.in_proj_{part}'] = torch.cat(three)
      elif '.k_proj.' not in name and '.v_proj.' not in name:
        rest = layer[2].replace('self_attn', 'attn')
        for ours, theirs in (
          ('layer_norm', 'ln_'),
          ('fc1', 'c_fc'),
          ('fc2', 'c_proj'),
        ):
          rest = rest.replace(ours, theirs)
        state[f'{inner}{rest}'] = weight
  return state


def sd3_names(transformer):
  """Returns the weights of Stable Diffusion 3 in the authors' names."""
  weights = transformer.state_dict()
  modules = [name for name, _ in transformer.named_modules()]
  state = {'pos_embed': weights['pos_embed.pos_embed']}
  for theirs, named in ldm_names.sd3_layers(modules).items():
    for part in ('weight', 'bias'):
      rows = [weights.get(f'{layer}.{part}') for layer in named.layers]
      if rows[0] is not None:
        state[f'{theirs}.{part}'] = torch.cat(rows)
  last = transformer.config.num_layers - 1
  for ours, theirs in (
    (
      f'transformer_blocks.{last}.norm1_context.linear',
      f'joint_blocks.{last}.context_block.adaLN_modulation.1',
    ),
    ('norm_out.linear', 'final_layer.adaLN_modulation.1'),
  ):
    for part in ('weight', 'bias'):
      # diffusers has scale before shift.
      scale, shift = weights[f'{ours}.{part}'].chunk(2)
      state[f'{theirs}.{part}'] = torch.cat([shift, scale])
  return {f'{_NETWORK}{name}': weight for name, weight in state.items()}
