"""The weights of a checkpoint in one file, in the names of diffusers.

diffusers' own conversions rename them. What they would leave out in silence is
found by counting.
"""

from collections.abc import Mapping
from typing import Any

from diffusers.loaders import single_file_utils as conversions
import safetensors
import torch

from mmdist.core import errors
from mmdist.core import model_files
from mmdist.priors import ldm_names
from mmdist.priors import single_file
from mmdist.priors import text_encoders

State = dict[str, torch.Tensor]
_OPEN_CLIP = 'model.'  # The end of its prefix.


def load(
  cls: Any,
  config: Mapping[str, Any],
  component: str,
  origin: single_file.Origin,
  dtype: torch.dtype,
) -> torch.nn.Module:
  """Builds one network of a checkpoint, frozen and in eval mode.

  Args:
    cls: its diffusers or transformers class.
    config: its config.json.
    component: its folder.
    origin: of its weights.
    dtype: of the network.

  Raises:
    UserError: in one line; the file and the figures do not fit.
  """
  prefix = origin.prefixes[component]
  with safetensors.safe_open(origin.file, 'pt') as file:
    names = origin.names_of(component, file.keys())
    state = {name: file.get_tensor(name) for name in names}
  # Shapes first: the weights take their places afterwards.
  with torch.device('meta'):
    module = _build(cls, config)
  try:
    renamed = _rename(component, state, module, config, prefix)
    _fill(module, renamed, dtype)
  except errors.UserError as error:
    raise errors.UserError(f'{origin.file}: {component} {error}') from error
  # Of names that a conversion expects, or of shapes.
  except (RuntimeError, KeyError, IndexError, AttributeError) as error:
    raise errors.UserError(
      f'{origin.file} does not fit {cls.__name__} as {component}/config.json '
      f'has it: {model_files.first_line(error)}; is base of another model?'
    ) from error
  return module.requires_grad_(False).eval()


def _build(cls: Any, config: Mapping[str, Any]) -> torch.nn.Module:
  own = {k: v for k, v in config.items() if not k.startswith('_diff')}
  if hasattr(cls, 'from_config'):
    return cls.from_config(own)
  return cls(cls.config_class(**own))


def _rename(
  component: str,
  state: State,
  module: Any,
  config: Mapping[str, Any],
  prefix: str,
) -> State:
  """Returns the weights in diffusers' or transformers' names."""
  if component == 'unet':
    return _counted(
      state, conversions.convert_ldm_unet_checkpoint(state, dict(module.config))
    )
  if component == 'vae':
    return _counted(
      state, conversions.convert_ldm_vae_checkpoint(state, dict(config))
    )
  if component == 'transformer' and type(module).__name__.startswith('Flux'):
    return _flux(state, module, prefix)
  if component == 'transformer':
    total = _count(state)
    # It takes what it has renamed out of what it is given.
    renamed = conversions.convert_sd3_transformer_checkpoint_to_diffusers(
      dict(state)
    )
    return _check_count(total, renamed)
  if prefix.endswith(f'.{_OPEN_CLIP}'):
    renamed = _open_clip(state, module, prefix)
  else:
    renamed = {k.removeprefix(prefix): v for k, v in state.items()}
  return _text(renamed, module, prefix)


def _flux(state: State, module: Any, prefix: str) -> State:
  """Returns Flux's weights; diffusers' own conversion knows one width only."""
  wanted = module.state_dict()
  renamed: State = {}
  for name, tensor in state.items():
    layer, _, part = name.removeprefix(prefix).rpartition('.')
    part = 'weight' if part == 'scale' else part  # Of norms.
    layers = ldm_names.transformer_layers(layer, 'flux') or (layer,)
    if layers[0] == 'norm_out.linear':  # Its authors have shift before scale.
      tensor = torch.cat(tensor.chunk(2)[::-1])
    names = [f'{one}.{part}' for one in layers]
    if wanted.keys() >= set(names) and len(names) > 1:
      sizes = [len(wanted[one]) for one in names]
      renamed |= zip(names, tensor.split(sizes), strict=True)
    else:
      renamed[names[0]] = tensor
  return renamed


def _counted(state: State, renamed: State) -> State:
  return _check_count(_count(state), renamed)


def _count(state: State) -> int:
  return sum(tensor.numel() for tensor in state.values())


def _check_count(total: int, renamed: State) -> State:
  """Raises UserError if a conversion has left some numbers out."""
  found = _count(renamed)
  if found != total:
    raise errors.UserError(
      f'has {total} numbers, of which the figures in its config.json have '
      f'{found}; is base of another model?'
    )
  return renamed


def _open_clip(state: State, module: Any, prefix: str) -> State:
  """Returns OpenCLIP's weights; of Stable Diffusion 2 without the last layer.

  Its network reads the layer before it, so diffusers' encoder ends there.
  """
  layers = module.config.num_hidden_layers
  last = f'{prefix}transformer.resblocks.{layers}.'
  kept = {k: v for k, v in state.items() if not k.startswith(last)}
  if not hasattr(module, 'text_projection'):
    kept.pop(f'{prefix}text_projection', None)
  # The conversion cuts queries, keys and values by the projection's size.
  if (
    module.config.hidden_size
    != kept.get(
      f'{prefix}text_projection', torch.empty(module.config.hidden_size)
    ).shape[0]
  ):
    raise errors.UserError(
      'has a projection of another size than its width; is base of another '
      'model?'
    )
  return conversions.convert_open_clip_checkpoint(module, kept, prefix=prefix)


def _text(renamed: State, module: Any, prefix: str) -> State:
  """Names layers as this transformers does, with `text_model.` or without."""
  wrapped = hasattr(module, 'text_model')
  fixed = {}
  for name, tensor in renamed.items():
    if name.startswith(('embeddings.', 'encoder.layers.', 'final_layer_norm.')):
      name = f'text_model.{name}'
    fixed[name if wrapped else name.removeprefix('text_model.')] = tensor
  wanted = module.state_dict()
  projection = 'text_projection.weight'
  if projection in wanted and projection not in fixed:
    # The smaller CLIP of Stable Diffusion 3 is read without its projection.
    fixed[projection] = torch.eye(*wanted[projection].shape)
  if projection not in wanted:
    fixed.pop(projection, None)
  if 'encoder.embed_tokens.weight' in wanted:  # One matrix, named twice.
    fixed.setdefault('encoder.embed_tokens.weight', fixed['shared.weight'])
  return fixed


def _fill(module: Any, state: State, dtype: torch.dtype) -> None:
  """Puts weights into a network that has only shapes."""
  wanted = module.state_dict()
  missing, unknown = wanted.keys() - state.keys(), state.keys() - wanted.keys()
  if missing:
    raise errors.UserError(
      f'lacks {len(missing)} weights that its config.json has, {min(missing)} '
      'among them; is base of another model?'
    )
  if unknown:
    raise errors.UserError(
      f'has {len(unknown)} weights that its config.json has not, '
      f'{min(unknown)} among them; is base of another model?'
    )
  for name, tensor in state.items():
    if tensor.shape != wanted[name].shape:
      raise errors.UserError(
        f'has {name} of {list(tensor.shape)}, and its config.json has '
        f'{list(wanted[name].shape)}; is base of another model?'
      )
  module.load_state_dict(
    # A copy, since the file's tensors are mapped from it.
    {
      name: tensor.to(
        text_encoders.dtype_of(module, name, dtype), copy=True
      ).contiguous()
      for name, tensor in state.items()
    },
    assign=True,
  )
  if hasattr(module, 'tie_weights'):
    module.tie_weights()
  for name, buffer in list(module.named_buffers()):
    if buffer.is_meta:
      # Not a weight, and in no file: the places of tokens.
      owner, _, last = name.rpartition('.')
      places = torch.arange(buffer.shape[-1]).expand(buffer.shape)
      module.get_submodule(owner).register_buffer(
        last, places.clone(), persistent=False
      )
