"""A network of Flux in its authors' names: whether it is one, and its figures.

Told from headers alone, as all of `checkpoint_looks.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmdist.core import errors

Shapes = Mapping[str, Sequence[int]]
# Before the names of its tensors: as ComfyUI saves it, and as its authors do.
PREFIXES = ('model.diffusion_model.', '')
# What every one has beside its other blocks -> how many dimensions.
_PARTS = {
  'img_in.weight': 2,
  'txt_in.weight': 2,
  'vector_in.in_layer.weight': 2,
  'double_blocks.0.img_attn.qkv.weight': 2,
  'double_blocks.0.img_attn.norm.query_norm.scale': 1,
  'final_layer.linear.weight': 2,
}
# How names begin that only its relatives have: Chroma, Flux 2.
_RELATIVES = ('distilled_guidance_layer.', 'double_stream_modulation_')
# Of one head of attention, and the places along each axis in it.
_HEAD = 128
_PLACES = [16, 56, 56]


def shapes_of(header: Mapping[str, Mapping[str, Any]]) -> Shapes:
  """Returns the shapes of a network of Flux, by its authors' names.

  Args:
    header: of a file; see `model_files.read_header`.

  Returns:
    Empty if there is no such network.
  """
  for prefix in PREFIXES:
    shapes = {
      name.removeprefix(prefix): tensor['shape']
      for name, tensor in header.items()
      if name.startswith(prefix) and name != '__metadata__'
    }
    has_all = all(len(shapes.get(n, ())) == ndim for n, ndim in _PARTS.items())
    if has_all and not any(name.startswith(_RELATIVES) for name in shapes):
      return shapes
  return {}


def check(path: object, shapes: Shapes) -> None:
  """Raises UserError if a network takes more than noisy latents and a text."""
  takes = shapes['img_in.weight'][1]
  gives = shapes['final_layer.linear.weight'][0]
  if takes != gives:
    raise errors.UserError(
      f'{path} looks like a Flux that is given an image (Fill, Canny, Depth or '
      f'another), whose network takes {takes} channels; expected {gives} of '
      'noisy latents, so it is no prior.'
    )


def config_of(path: object, shapes: Shapes) -> dict[str, Any]:
  """Returns the config of a network; sizes differ, and all of it is shapes.

  Raises:
    UserError: its heads are not those of the published models, and no shape
      says how they are told places.
  """
  width, channels = shapes['img_in.weight']
  (head,) = shapes['double_blocks.0.img_attn.norm.query_norm.scale']
  if head != _HEAD:
    raise errors.UserError(
      f'{path} is a Flux whose heads have {head} numbers, where those of its '
      f'authors have {_HEAD}; give its transformer/config.json in a directory '
      'by --config.priors.NAME.base=DIR.'
    )
  return {
    '_class_name': 'FluxTransformer2DModel',
    'attention_head_dim': head,
    'axes_dims_rope': list(_PLACES),
    'joint_attention_dim': shapes['txt_in.weight'][1],
    'num_attention_heads': width // head,
    'out_channels': None,
    'patch_size': 1,
    'pooled_projection_dim': shapes['vector_in.in_layer.weight'][1],
    **_figures(shapes),
  }


def check_base(path: object, shapes: Shapes, base: object, config: Any) -> None:
  """Raises UserError if the config of a base is of another Flux.

  People have the directory of one and the file of another, whose noise levels
  differ too.

  Args:
    path: of the file.
    shapes: of its network.
    base: where the config lies.
    config: of a transformer.
  """
  defaults = {'guidance_embeds': False, 'in_channels': 64}
  defaults |= {'num_layers': 19, 'num_single_layers': 38}
  for name, figure in _figures(shapes).items():
    given = config.get(name, defaults[name])
    if given != figure:
      raise errors.UserError(
        f'{path} is a Flux with {name} {figure}, and {base} has {given}; give '
        'the base of the same model (dev has guidance_embeds, schnell has not).'
      )


def _figures(shapes: Shapes) -> dict[str, Any]:
  """Returns what tells one Flux from another."""
  numbers = {
    blocks: len({n.split('.')[1] for n in shapes if n.startswith(f'{blocks}.')})
    for blocks in ('double_blocks', 'single_blocks')
  }
  return {
    'guidance_embeds': 'guidance_in.in_layer.weight' in shapes,
    'in_channels': shapes['img_in.weight'][1],
    'num_layers': numbers['double_blocks'],
    'num_single_layers': numbers['single_blocks'],
  }
