"""What the layers of a network are called outside of diffusers.

Most people train SDXL, Stable Diffusion 3 and Flux in the code of their
authors, so that is whose names their adapters have. A UNet's blocks are counted
in one row there; a transformer's queries, keys and values are one matrix.
"""

from collections.abc import Iterable, Mapping
import dataclasses
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
# The other way round: the authors' name -> diffusers'.
UNET_LAYERS = {name: layer for layer, name in _UNET_ENDS.items()}
RESNET_LAYERS = {name: layer for layer, name in _RESNET.items()}

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

_FLUX_ENDS = {
  'x_embedder': 'img_in',
  'context_embedder': 'txt_in',
  'time_text_embed.timestep_embedder.linear_1': 'time_in.in_layer',
  'time_text_embed.timestep_embedder.linear_2': 'time_in.out_layer',
  'time_text_embed.text_embedder.linear_1': 'vector_in.in_layer',
  'time_text_embed.text_embedder.linear_2': 'vector_in.out_layer',
  'time_text_embed.guidance_embedder.linear_1': 'guidance_in.in_layer',
  'time_text_embed.guidance_embedder.linear_2': 'guidance_in.out_layer',
  'proj_out': 'final_layer.linear',
}
_IMAGE = ('attn.to_q', 'attn.to_k', 'attn.to_v')
_TEXT = ('attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj')
# The names without attn are those of XLabs' trainer, which leaves proj_mlp out.
_FLUX_DOUBLE = {
  'img_attn.qkv': _IMAGE,
  'txt_attn.qkv': _TEXT,
  'qkv_lora1': _IMAGE,
  'qkv_lora2': _TEXT,
  'img_attn.proj': ('attn.to_out.0',),
  'txt_attn.proj': ('attn.to_add_out',),
  'proj_lora1': ('attn.to_out.0',),
  'proj_lora2': ('attn.to_add_out',),
  'img_attn.norm.query_norm': ('attn.norm_q',),
  'img_attn.norm.key_norm': ('attn.norm_k',),
  'txt_attn.norm.query_norm': ('attn.norm_added_q',),
  'txt_attn.norm.key_norm': ('attn.norm_added_k',),
  'img_mlp.0': ('ff.net.0.proj',),
  'img_mlp.2': ('ff.net.2',),
  'txt_mlp.0': ('ff_context.net.0.proj',),
  'txt_mlp.2': ('ff_context.net.2',),
  'img_mod.lin': ('norm1.linear',),
  'txt_mod.lin': ('norm1_context.linear',),
}
_FLUX_SINGLE = {
  'linear1': (*_IMAGE, 'proj_mlp'),
  'linear2': ('proj_out',),
  'qkv_lora': _IMAGE,
  'proj_lora': ('proj_out',),
  'modulation.lin': ('norm.linear',),
  'norm.query_norm': ('attn.norm_q',),
  'norm.key_norm': ('attn.norm_k',),
}
# The last layer of adaptive norms: shift and scale, which diffusers has the
# other way round.
_LAST_NORM = {'norm_out.linear': 'final_layer.adaLN_modulation.1'}


@dataclasses.dataclass(frozen=True)
class Rows:
  """What a name outside of diffusers means there.

  Attributes:
    layers: of diffusers; several, where the authors' one holds their rows one
      below the other.
    are_swapped: whether the second half of the rows is the first in diffusers.
    name: the authors' name; '' where it is diffusers' own.
  """

  layers: tuple[str, ...]
  are_swapped: bool = False
  name: str = ''


def unet_layers(
  layers: Iterable[str], config: Mapping[str, Any]
) -> dict[str, Rows]:
  """Returns the authors' name of each layer of a UNet -> the layer.

  Args:
    layers: as diffusers calls them, 'down_blocks.0.resnets.0.conv1'.
    config: of a UNet2DConditionModel.
  """
  named: dict[str, Rows] = {}
  for layer in layers:
    name = _unet_name(layer, config)
    if name:
      named[name] = Rows((layer,), name=name)
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


def sd3_layers(layers: Iterable[str]) -> dict[str, Rows]:
  """Returns the authors' name of each layer of Stable Diffusion 3 -> layers.

  Args:
    layers: as diffusers calls them, 'transformer_blocks.0.attn.to_q'.
  """
  layers = set(layers)
  named = _named(layers, _SD3_ENDS)
  named |= _blocks(layers, 'transformer_blocks', 'joint_blocks', _SD3_BLOCK)
  # The texts' part ends in such a norm, that of the last block.
  last = max(_numbers(layers, 'transformer_blocks'), default=0)
  name = f'joint_blocks.{last}.context_block.adaLN_modulation.1'
  if name in named:
    named[name] = dataclasses.replace(named[name], are_swapped=True)
  return named


def flux_layers(layers: Iterable[str]) -> dict[str, Rows]:
  """Returns the authors' name of each layer of Flux -> layers.

  Args:
    layers: as diffusers calls them, 'single_transformer_blocks.0.proj_mlp'.
  """
  layers = set(layers)
  return (
    _named(layers, _FLUX_ENDS)
    | _blocks(layers, 'transformer_blocks', 'double_blocks', _FLUX_DOUBLE)
    | _blocks(
      layers, 'single_transformer_blocks', 'single_blocks', _FLUX_SINGLE
    )
  )


_NUMBERED = re.compile(r'(\w+)\.(\d+)\.(.+)')
# Family -> what is outside of blocks, and the authors' blocks -> diffusers'.
_TRANSFORMERS: Mapping[
  str,
  tuple[
    Mapping[str, str],
    Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]],
  ],
] = {
  'sd3': (_SD3_ENDS, {'joint_blocks': ('transformer_blocks', _SD3_BLOCK)}),
  'flux': (
    _FLUX_ENDS,
    {
      'double_blocks': ('transformer_blocks', _FLUX_DOUBLE),
      'single_blocks': ('single_transformer_blocks', _FLUX_SINGLE),
    },
  ),
}


def transformer_layers(name: str, family: str) -> tuple[str, ...]:
  """Returns the layers of diffusers that an authors' name means.

  Args:
    name: of a layer of a whole network, 'double_blocks.0.img_attn.qkv'.
    family: 'sd3' or 'flux'.

  Returns:
    In the order of their rows; none if there is no such name.
  """
  ends, blocks = _TRANSFORMERS[family]
  for layer, theirs in {**ends, **_LAST_NORM}.items():
    if theirs == name:
      return (layer,)
  match = _NUMBERED.fullmatch(name)
  if not match or match[1] not in blocks:
    return ()
  ours, block = blocks[match[1]]
  return tuple(
    f'{ours}.{match[2]}.{layer}' for layer in block.get(match[3], ())
  )


def _named(layers: set[str], names: Mapping[str, str]) -> dict[str, Rows]:
  """Returns what is outside of blocks, with the last norm."""
  named = {
    name: Rows((layer,), name=name)
    for layer, name in names.items()
    if layer in layers
  }
  for layer, name in _LAST_NORM.items():
    if layer in layers:
      named[name] = Rows((layer,), are_swapped=True, name=name)
  return named


def _blocks(
  layers: set[str],
  ours: str,
  theirs: str,
  block: Mapping[str, tuple[str, ...]],
) -> dict[str, Rows]:
  """Returns what is in numbered blocks.

  Args:
    layers: of the network.
    ours, theirs: what diffusers and the authors call the blocks.
    block: the authors' names in a block -> layers there.
  """
  named = {}
  for number in _numbers(layers, ours):
    for end, inner in block.items():
      name = f'{theirs}.{number}.{end}'
      full = tuple(f'{ours}.{number}.{layer}' for layer in inner)
      if layers.issuperset(full):
        named[name] = Rows(full, name=name)
  return named


def _numbers(layers: Iterable[str], blocks: str) -> set[int]:
  return {
    int(match[1])
    for layer in layers
    if (match := re.match(rf'{blocks}\.(\d+)\.', layer))
  }
