"""What the layers of a network are called outside of diffusers.

Kohya's scripts train SDXL and Stable Diffusion 3 in the code of their authors,
so that is whose names their adapters have. A UNet's blocks are counted in one
row there; the transformer's queries, keys and values are one matrix.
"""

from collections.abc import Iterable, Mapping
import re
from typing import Any

_UNET_ENDS = {
  'time_embedding.linear_1': 'time_embed.0',
  'time_embedding.linear_2': 'time_embed.2',
  'add_embedding.linear_1': 'label_emb.0.0',
  'add_embedding.linear_2': 'label_emb.0.2',
  'conv_in': 'input_blocks.0.0',
  'conv_norm_out': 'out.0',
  'conv_out': 'out.2',
}
_RESNET = {
  'norm1': 'in_layers.0',
  'conv1': 'in_layers.2',
  'time_emb_proj': 'emb_layers.1',
  'norm2': 'out_layers.0',
  'conv2': 'out_layers.3',
  'conv_shortcut': 'skip_connection',
}
_BLOCK = re.compile(
  r'(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)'
  r'\.(\d+)(.*)'
)
_MIDDLE = re.compile(r'mid_block\.(resnets|attentions)\.(\d+)(.*)')

_SD3_ENDS = {
  'pos_embed.proj': 'x_embedder.proj',
  'time_text_embed.timestep_embedder.linear_1': 't_embedder.mlp.0',
  'time_text_embed.timestep_embedder.linear_2': 't_embedder.mlp.2',
  'time_text_embed.text_embedder.linear_1': 'y_embedder.mlp.0',
  'time_text_embed.text_embedder.linear_2': 'y_embedder.mlp.2',
  'context_embedder': 'context_embedder',
  'proj_out': 'final_layer.linear',
}
# Of a block; the three of a matrix in the order of its rows.
_SD3_BLOCK = {
  'x_block.attn.qkv': ('attn.to_q', 'attn.to_k', 'attn.to_v'),
  'context_block.attn.qkv': (
    'attn.add_q_proj',
    'attn.add_k_proj',
    'attn.add_v_proj',
  ),
  'x_block.attn2.qkv': ('attn2.to_q', 'attn2.to_k', 'attn2.to_v'),
  'x_block.attn.ln_q': ('attn.norm_q',),
  'x_block.attn.ln_k': ('attn.norm_k',),
  'x_block.attn2.ln_q': ('attn2.norm_q',),
  'x_block.attn2.ln_k': ('attn2.norm_k',),
  'context_block.attn.ln_q': ('attn.norm_added_q',),
  'context_block.attn.ln_k': ('attn.norm_added_k',),
  'x_block.attn.proj': ('attn.to_out.0',),
  'x_block.attn2.proj': ('attn2.to_out.0',),
  'context_block.attn.proj': ('attn.to_add_out',),
  'x_block.mlp.fc1': ('ff.net.0.proj',),
  'x_block.mlp.fc2': ('ff.net.2',),
  'context_block.mlp.fc1': ('ff_context.net.0.proj',),
  'context_block.mlp.fc2': ('ff_context.net.2',),
  'x_block.adaLN_modulation.1': ('norm1.linear',),
  'context_block.adaLN_modulation.1': ('norm1_context.linear',),
}


def unet_layers(
  layers: Iterable[str], config: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
  """Returns the authors' name of each layer of a UNet -> the layer.

  Args:
    layers: as diffusers calls them, 'down_blocks.0.resnets.0.conv1'.
    config: of a UNet2DConditionModel.
  """
  named: dict[str, tuple[str, ...]] = {}
  for layer in layers:
    name = _unet_name(layer, config)
    if name:
      named[name] = (layer,)
  return named


def _unet_name(layer: str, config: Mapping[str, Any]) -> str | None:
  if layer in _UNET_ENDS:
    return _UNET_ENDS[layer]
  middle = _MIDDLE.fullmatch(layer)
  if middle:
    kind, number, rest = middle[1], int(middle[2]), middle[3]
    place = 2 * number if kind == 'resnets' else 2 * number + 1
    return f'middle_block.{place}{_inside(kind, rest)}'
  block = _BLOCK.fullmatch(layer)
  if not block:
    return None
  side, number, kind, within = block[1], int(block[2]), block[3], int(block[4])
  per_block = config['layers_per_block'] + 1
  rest = _inside(kind, block[5])
  if side == 'down':
    if kind == 'downsamplers':
      return f'input_blocks.{per_block * (number + 1)}.0.op'
    place = per_block * number + within + 1
    return f'input_blocks.{place}.{int(kind == "attentions")}{rest}'
  if kind == 'upsamplers':
    # Behind the attention of the block's last layer, where it has one.
    kinds = config['up_block_types'][number]
    last = 2 if 'Attn' in kinds else 1
    return f'output_blocks.{per_block * (number + 1) - 1}.{last}.conv'
  place = per_block * number + within
  return f'output_blocks.{place}.{int(kind == "attentions")}{rest}'


def _inside(kind: str, rest: str) -> str:
  if kind != 'resnets':
    return rest
  return f'.{_RESNET.get(rest[1:], rest[1:])}'


def sd3_layers(layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
  """Returns the authors' name of each layer of Stable Diffusion 3 -> layers.

  Several, where the authors' one holds their rows. Two layers whose rows are in
  another order in diffusers, the last ones of adaLN, are left out.

  Args:
    layers: as diffusers calls them, 'transformer_blocks.0.attn.to_q'.
  """
  layers = set(layers)
  named: dict[str, tuple[str, ...]] = {
    name: (layer,) for layer, name in _SD3_ENDS.items() if layer in layers
  }
  blocks = {
    int(match[1])
    for layer in layers
    if (match := re.match(r'transformer_blocks\.(\d+)\.', layer))
  }
  for block in blocks:
    for name, inner in _SD3_BLOCK.items():
      full = tuple(f'transformer_blocks.{block}.{layer}' for layer in inner)
      is_last_context = name.startswith('context_block.adaLN') and (
        block == max(blocks)
      )
      if layers.issuperset(full) and not is_last_context:
        named[f'joint_blocks.{block}.{name}'] = full
  return named
