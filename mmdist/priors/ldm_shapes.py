"""The layers of a checkpoint in one file, in the names of diffusers.

Names and shapes alone, so that an adapter can be compared with such a file
before torch is imported. Weights are `checkpoint_weights.py`'s.
"""

from collections.abc import Mapping, Sequence
import re
from typing import Any

from mmdist.priors import ldm_names

Shapes = dict[str, list[int]]
_SIDE = re.compile(r'(input|output)_blocks\.(\d+)\.(\d+)(?:\.(.+))?')
_MIDDLE = re.compile(r'middle_block\.([012])\.(.+)')
_MIDDLE_PARTS = ('resnets.0', 'attentions.0', 'resnets.1')
_RESBLOCK = re.compile(r'transformer\.resblocks\.(\d+)\.(.+)')
# OpenCLIP's names in a block -> transformers'.
_IN_RESBLOCK = {
  'ln_1': 'layer_norm1',
  'ln_2': 'layer_norm2',
  'mlp.c_fc': 'mlp.fc1',
  'mlp.c_proj': 'mlp.fc2',
  'attn.out_proj': 'self_attn.out_proj',
}
_OPEN_CLIP_ENDS = {
  'token_embedding': 'embeddings.token_embedding',
  'ln_final': 'final_layer_norm',
}


def weights_of(shapes: Mapping[str, Sequence[int]]) -> Shapes:
  """Returns layer -> its weight's shape, of tensors by their names.

  The norms of Flux have a scale there.
  """
  return {
    name.rpartition('.')[0]: list(shape)
    for name, shape in shapes.items()
    if name.endswith(('.weight', '.scale'))
  }


def unet_shapes(
  tensors: Mapping[str, Sequence[int]], config: Mapping[str, Any]
) -> Shapes:
  """Returns diffusers' layers of a UNet in the authors' names.

  Args:
    tensors: name, 'input_blocks.0.0.weight' -> shape.
    config: of a UNet2DConditionModel.
  """
  found = {}
  for name, shape in weights_of(tensors).items():
    layer = _unet_layer(name, config['layers_per_block'])
    if layer is not None:
      found[layer] = shape
  return found


def _unet_layer(name: str, per_block: int) -> str | None:
  """Returns the layer that `ldm_names.unet_layers` gives this name."""
  if name in ldm_names.UNET_LAYERS:
    return ldm_names.UNET_LAYERS[name]
  middle = _MIDDLE.fullmatch(name)
  if middle:
    part = _MIDDLE_PARTS[int(middle[1])]
    return f'mid_block.{part}.{_inside(part, middle[2])}'
  side = _SIDE.fullmatch(name)
  if not side or side[4] is None:
    return None
  number, kind, rest = int(side[2]), int(side[3]), side[4]
  ours, samplers = 'up', 'upsamplers'
  if side[1] == 'input':
    ours, samplers = 'down', 'downsamplers'
    number -= 1  # The first is the convolution before all blocks.
  block, place = divmod(number, per_block + 1)
  if rest in ('op', 'conv'):
    return f'{ours}_blocks.{block}.{samplers}.0.conv'
  part = 'attentions' if kind else 'resnets'
  return f'{ours}_blocks.{block}.{part}.{place}.{_inside(part, rest)}'


def _inside(part: str, rest: str) -> str:
  if not part.startswith('resnets'):
    return rest
  return ldm_names.RESNET_LAYERS.get(rest, rest)


def transformer_shapes(
  tensors: Mapping[str, Sequence[int]], family: str
) -> Shapes:
  """Returns diffusers' layers of a transformer in the authors' names.

  Args:
    tensors: name, 'joint_blocks.0.x_block.attn.qkv.weight' -> shape.
    family: 'sd3' or 'flux'.
  """
  found = {}
  for name, (rows, *columns) in weights_of(tensors).items():
    layers = ldm_names.transformer_layers(name, family)
    # Queries, keys and values; an MLP below them is the rest.
    each = columns[0] if len(layers) > 3 else rows // max(len(layers), 1)
    for layer in layers[:3]:
      found[layer] = [each, *columns]
    for layer in layers[3:]:
      found[layer] = [rows - 3 * each, *columns]
  return found


def open_clip_shapes(tensors: Mapping[str, Sequence[int]]) -> Shapes:
  """Returns transformers' layers of a text encoder in OpenCLIP's names.

  Args:
    tensors: name, 'transformer.resblocks.0.ln_1.weight' -> shape.
  """
  found: Shapes = {}
  for name, shape in tensors.items():
    block = _RESBLOCK.fullmatch(name)
    if block and block[2] == 'attn.in_proj_weight':
      for one in 'qkv':
        layer = f'encoder.layers.{block[1]}.self_attn.{one}_proj'
        found[layer] = [shape[0] // 3, *shape[1:]]
    elif block and block[2].endswith('.weight'):
      layer = block[2].removesuffix('.weight')
      inner = _IN_RESBLOCK.get(layer, layer)
      found[f'encoder.layers.{block[1]}.{inner}'] = list(shape)
    elif name == 'positional_embedding':
      found['embeddings.position_embedding'] = list(shape)
    elif name == 'text_projection':
      found['text_projection'] = list(reversed(shape))
    elif name.removesuffix('.weight') in _OPEN_CLIP_ENDS:
      found[_OPEN_CLIP_ENDS[name.removesuffix('.weight')]] = list(shape)
  return found
