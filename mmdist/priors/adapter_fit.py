"""Whether a user's adapters are of a prior's model, told before anything loads.

Compares names and shapes of layers, of which the headers of weight files say
all, and needs neither torch nor diffusers. What only numbers tell (NaN, ranks
of a config) is told where adapters are merged: `adapters.py`.
"""

from collections.abc import Mapping, Sequence
import math
import pathlib
from typing import Any

from mmdist.core import errors
from mmdist.core import model_files
from mmdist.priors import adapter_keys
from mmdist.priors import adapter_targets
from mmdist.priors import checkpoint_looks
from mmdist.priors import directory as files
from mmdist.priors import ldm_shapes
from mmdist.priors import lora_files
from mmdist.priors import single_file

_DENOISERS = ('unet', 'transformer')
# Class of a network -> what people call the model.
_MODELS = {
  'SD3Transformer2DModel': checkpoint_looks.SPOKEN['sd3'],
  'FluxTransformer2DModel': 'Flux',
  'PixArtTransformer2DModel': 'PixArt',
  'AuraFlowTransformer2DModel': 'AuraFlow',
  'SanaTransformer2DModel': 'Sana',
  'ZImageTransformer2DModel': 'Z-Image',
  'QwenImageTransformer2DModel': 'Qwen-Image',
}
# How wide the texts are that a UNet sees -> the model.
_WIDTHS = {
  768: checkpoint_looks.SPOKEN['sd1'],
  1024: checkpoint_looks.SPOKEN['sd2'],
}
_UNET_LAYERS = 2  # Of a block, where config.json does not say how many.


def check_fit(
  directory: pathlib.Path,
  components: Sequence[str],
  loras: Sequence[lora_files.LoraFile],
) -> None:
  """Checks that every layer of adapters is one of a model, and as large.

  Args:
    directory: of the model, whose files are all there.
    components: its folders that hold weights.
    loras: to be merged into it.

  Raises:
    UserError: in one line; an adapter of another model, what that looks like
      and what the prior is.
  """
  if not loras:
    return
  networks = [
    _network(directory, component)
    for component in components
    if component != 'vae'
  ]
  prior = f'the prior {_model_of(directory, components)}'
  for file in loras:
    try:
      targets = adapter_targets.find_targets(
        file.path, file.shapes, networks, prior
      )
      for layer, target in targets.items():
        size = change_size(file.shapes[layer])
        wanted = target.shape[0], math.prod(target.shape)
        if size is not None and size != wanted:
          hint = adapter_targets.hint(file.shapes, networks, prior)
          raise _misfit(file, layer, target.shape, size, hint)
    except errors.UserError as error:
      raise errors.UserError(f'{error}'[:-1] + _others(file, loras)) from error


def _others(
  misfit: lora_files.LoraFile, loras: Sequence[lora_files.LoraFile]
) -> str:
  """Returns which other adapter of a list is of yet another model."""
  look = adapter_targets.look_of(misfit.shapes)
  for file in loras:
    other = adapter_targets.look_of(file.shapes)
    if look and other and other != look:
      return (
        f'; LoRA {file.path} of the same list looks like one of {other}, and '
        'all of a list have to be of the model of their prior.'
      )
  return '.'


def _misfit(
  file: lora_files.LoraFile,
  layer: str,
  shape: Sequence[int],
  size: Sequence[int],
  hint: str,
) -> errors.UserError:
  """Says that a change is not as large as the weight it is of."""
  weight, change = (
    f'{rows} x {numbers // max(rows, 1)}'
    for rows, numbers in ((shape[0], math.prod(shape)), size)
  )
  return errors.UserError(
    f'LoRA {file.path} does not fit the model: the layer has a weight of '
    f'{weight}, and its change is {change}, in layer {layer}{hint}.'
  )


def change_size(
  parts: Mapping[str, Sequence[int]],
) -> tuple[int, int] | None:
  """Returns the rows and numbers of what an adapter changes in a layer.

  Args:
    parts: of a layer, by their names in `adapter_keys` -> shape.

  Returns:
    None where the weight stays as it is, or where parts do not go together,
    which is told when they are multiplied.
  """
  kinds = adapter_keys.kinds_of(parts)
  try:
    return _SIZES[kinds[0]](parts) if kinds else None
  except (IndexError, KeyError):
    return None


Parts = Mapping[str, Sequence[int]]


def _lora(parts: Parts) -> tuple[int, int]:
  rows, inner = parts['up'][0], math.prod(parts['down'][1:])
  if 'mid' in parts:
    inner = parts['down'][1] * math.prod(parts['mid'][2:])
  return rows, rows * inner


def _embedding(parts: Parts) -> tuple[int, int]:
  rows = parts['embedding_down'][1]
  return rows, rows * parts['embedding_up'][0]


def _loha(parts: Parts) -> tuple[int, int]:
  return _pair(parts, 'hada_w1', 'hada_t1')


def _lokr(parts: Parts) -> tuple[int, int]:
  rows = numbers = 1
  for one in '12':
    name = f'lokr_w{one}'
    if name in parts:
      found = parts[name][0], math.prod(parts[name])
    else:
      found = _pair(parts, name, f'lokr_t{one}')
    rows, numbers = rows * found[0], numbers * found[1]
  return rows, numbers


def _pair(parts: Parts, name: str, core: str) -> tuple[int, int]:
  left, right = parts[f'{name}_a'], parts[f'{name}_b']
  if core not in parts:
    return left[0], left[0] * right[1]
  return left[1], left[1] * right[1] * math.prod(parts[core][2:])


def _difference(parts: Parts) -> tuple[int, int]:
  return parts['diff'][0], math.prod(parts['diff'])


_SIZES = {
  'LoRA': _lora,
  'LoRA of an embedding': _embedding,
  'LoHa': _loha,
  'LoKr': _lokr,
  'a full difference': _difference,
}


def _network(
  directory: pathlib.Path, component: str
) -> adapter_targets.Network:
  config = files.read_json(directory / component / 'config.json')
  shapes = _shapes(directory, component, config)
  if component in _DENOISERS:
    name = str(config.get('_class_name'))
    return adapter_targets.denoiser_network(name, config, shapes)
  is_t5 = 'shared' in shapes or 'encoder.embed_tokens' in shapes
  if is_t5:  # One matrix, and files have either name.
    embedding = shapes.get('shared') or shapes['encoder.embed_tokens']
    shapes |= {'shared': embedding, 'encoder.embed_tokens': embedding}
  return adapter_targets.text_network(component, is_t5, shapes)


def _shapes(
  directory: pathlib.Path, component: str, config: Mapping[str, Any]
) -> ldm_shapes.Shapes:
  """Returns layer, as diffusers or transformers calls it -> its shape."""
  tensors = {}
  for path in files.weight_files(directory, component)[0]:
    header = model_files.read_header(path)
    for name in single_file.names_of(directory, component, header):
      if name != '__metadata__':
        tensors[name] = header[name]['shape']
  origin = single_file.read_origin(directory)
  if origin is None or component not in origin.prefixes:
    return ldm_shapes.weights_of(tensors)
  prefix = origin.prefixes[component]
  plain = {name.removeprefix(prefix): tensors[name] for name in tensors}
  if component == 'unet':
    config = {'layers_per_block': _UNET_LAYERS, **config}
    return ldm_shapes.unet_shapes(plain, config)
  if component == 'transformer':
    return ldm_shapes.transformer_shapes(plain, origin.family)
  if any(name.startswith('transformer.resblocks.') for name in plain):
    return ldm_shapes.open_clip_shapes(plain)
  return ldm_shapes.weights_of(plain)


def _model_of(directory: pathlib.Path, components: Sequence[str]) -> str:
  """Returns which prior it is, and what people call its model."""
  origin = single_file.read_origin(directory)
  if origin is not None:  # The directory lies in a cache.
    return f'{origin.file} is {checkpoint_looks.SPOKEN[origin.family]}'
  return f'{directory} is {_declared_model(directory, components)}'


def _declared_model(directory: pathlib.Path, components: Sequence[str]) -> str:
  (denoiser,) = [name for name in components if name in _DENOISERS]
  config = files.read_json(directory / denoiser / 'config.json')
  name = str(config.get('_class_name'))
  if name in _MODELS:
    return _MODELS[name]
  if config.get('addition_embed_type') == 'text_time':
    return checkpoint_looks.SPOKEN['sdxl']
  if config.get('encoder_hid_dim_type') == 'text_proj':
    return 'DeepFloyd IF'
  width = config.get('cross_attention_dim', 1280)
  for known, model in _WIDTHS.items():
    if width == known:
      return model
  return f'a {name} that sees texts of {width} numbers'
