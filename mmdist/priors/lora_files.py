"""What can be said of a user's LoRA files without torch.

A file is named as it lies: one .safetensors, or the folder that PEFT or
diffusers writes around it. PEFT keeps its alpha beside the weights, in
adapter_config.json, and diffusers in the file's metadata.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import math
import os
import pathlib
import re
from typing import Any

from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import lora_lists
from mmdist.core import model_files
from mmdist.core import plain_numbers
from mmdist.priors import adapter_keys

_IN_FOLDERS = ('adapter_model.safetensors', 'pytorch_lora_weights.safetensors')
_CONFIG = 'adapter_config.json'
_FLOATS = ('F16', 'BF16', 'F32', 'F64')
_METADATA = 'lora_adapter_metadata'  # Where diffusers keeps PEFT's config.
_PEFT = 'base_model.model.'
# What PEFT calls the adapters that are read.
_TYPES = ('LORA', 'LOHA', 'LOKR')
# Starts that change the frozen weight too, so that the file is not all of it.
_CHANGES_BASE = ('pissa', 'olora', 'corda', 'loftq', 'lora_ga', 'mica')
# Fields of LoRAs that are more than a sum of low rank, if they are set.
_MORE = (
  'alora_invocation_tokens',
  'arrow_config',
  'kasa_config',
  'layer_replication',
  'megatron_config',
  'monteclora_config',
  'target_parameters',
  'trainable_token_indices',
  'use_bdlora',
  'use_qalora',
  'velora_config',
)


@dataclasses.dataclass(frozen=True)
class LoraFile:
  """One adapter's file.

  Attributes:
    path: of the weights.
    config_path: of adapter_config.json; None if there is none that counts.
    layers: layer, as the file calls it -> part -> the tensor's name.
    shapes: layer -> part -> shape.
    configs: PEFT's settings, by the folder of the network that they are of; ''
      where they are of all.
  """

  path: pathlib.Path
  config_path: pathlib.Path | None
  layers: adapter_keys.Layers
  shapes: Mapping[str, Mapping[str, Sequence[int]]]
  configs: Mapping[str, Mapping[str, Any]]

  def config_of(self, folders: Sequence[str]) -> Mapping[str, Any]:
    """Returns PEFT's settings for a network; empty if nobody says any."""
    for folder in (*folders, ''):
      if folder in self.configs:
        return self.configs[folder]
    return {}


def check_lora(path: str | os.PathLike) -> pathlib.Path:
  """Raises unless a file is an adapter that can be read; returns its path.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  return read_lora(path).path


def check_loras(loras: Sequence[tuple[str, float]]) -> list[LoraFile]:
  """Reads what several files declare, none of which may be there twice.

  Args:
    loras: file and factor of each.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  found: list[LoraFile] = []
  for path, _ in loras:
    file = read_lora(path)
    if any(os.path.samefile(file.path, other.path) for other in found):
      raise errors.UserError(
        f'LoRA {file.path} is given twice; give it once, with the sum of both '
        'weights.'
      )
    found.append(file)
  return found


def files_of(path: str | os.PathLike) -> dict[str, pathlib.Path]:
  """Returns the files that decide what a LoRA is.

  Returns:
    '' -> its weights, and 'config' -> the settings beside it, if there are any.
  """
  path = _find(local_paths.local(path))
  config = path.parent / _CONFIG
  return {'': path, **({'config': config} if config.is_file() else {})}


def read_lora(path: str | os.PathLike) -> LoraFile:
  """Reads what an adapter's file declares.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  path = _find(local_paths.local(path))
  if path.suffix.lower() in model_files.PICKLES:
    raise errors.UserError(
      f'LoRA {path} is not .safetensors; a pickled file could run code, so '
      'convert it (safetensors.torch.save_file).'
    )
  if path.suffix.lower() != '.safetensors':
    model_files.check_is_itself(path)
    raise errors.UserError(
      f'LoRA {path} is not .safetensors; expected one such file.'
    )
  model_files.check_safetensors(path)
  header = model_files.read_header(path)
  metadata = header.pop('__metadata__', {})
  layers = adapter_keys.parse(path, header)
  _check_numbers(path, header, layers)
  shapes = {
    layer: {part: header[name]['shape'] for part, name in parts.items()}
    for layer, parts in layers.items()
  }
  config_path = path.parent / _CONFIG
  is_peft = any(_PEFT in layer for layer in layers)
  if is_peft or path.name == _IN_FOLDERS[0]:
    # Where every layer says its alpha itself, nothing else is lacking.
    is_needed = is_peft and not all('alpha' in one for one in layers.values())
    config = _read_config(path, config_path, is_needed)
    configs = {'': config} if config else {}
    used = config_path if config else None
  else:
    configs, used = _read_metadata(path, metadata), None
  return LoraFile(path, used, layers, shapes, configs)


def _check_numbers(
  path: pathlib.Path,
  header: Mapping[str, Mapping[str, Any]],
  layers: adapter_keys.Layers,
) -> None:
  """Raises UserError if tensors have no numbers, or of a strange type."""
  for parts in layers.values():
    for part, name in parts.items():
      dtype, shape = str(header[name]['dtype']), header[name]['shape']
      if part == 'alpha':
        if math.prod(shape) != 1:
          raise errors.UserError(
            f'LoRA {path} has {math.prod(shape)} numbers in {name}; expected '
            'one.'
          )
      elif dtype not in _FLOATS:
        raise errors.UserError(
          f'LoRA {path} has numbers of the type {dtype} in {name}; expected '
          'float16, bfloat16, float32 or float64.'
        )
      if 0 in shape:
        raise errors.UserError(
          f'LoRA {path} is without numbers in {name}, of the shape {shape}: '
          'its rank is 0, or a training on several GPUs saved it without '
          'gathering its weights; save it again.'
        )


def _find(path: pathlib.Path) -> pathlib.Path:
  """Returns the file in a folder that PEFT or diffusers wrote."""
  if not path.is_dir():
    if not path.is_file():
      raise FileNotFoundError(
        f'LoRA {path} is not a file; expected one .safetensors file, or in '
        f'loras a list {lora_lists.EXAMPLE}.'
      )
    return path
  for name in _IN_FOLDERS:
    if (path / name).is_file():
      return path / name
  found = sorted(path.glob('*.safetensors'))
  if len(found) == 1:
    return found[0]
  pickled = model_files.find_pickles(path)
  if pickled and not found:
    raise errors.UserError(
      f'LoRA {pickled[0]} is not .safetensors; a pickled file could run code, '
      'so convert it (safetensors.torch.save_file).'
    )
  if (path / 'model_index.json').is_file():
    raise errors.UserError(
      f'LoRA {path} is a diffusers directory, which is a prior of its own '
      '(--config.priors.NAME.directory); expected a LoRA.'
    )
  raise FileNotFoundError(
    f'LoRA {path} is a folder with {len(found)} .safetensors files; expected '
    f'one file, or a folder with {" or ".join(_IN_FOLDERS)}.'
  )


def _read_config(
  path: pathlib.Path, config_path: pathlib.Path, is_needed: bool
) -> dict[str, Any]:
  """Reads PEFT's adapter_config.json; empty if there is none."""
  if not config_path.is_file():
    if not is_needed:
      return {}
    raise FileNotFoundError(
      f'LoRA {path} is one of PEFT, and {config_path} is missing, which says '
      'how strong it is (lora_alpha); put both files into one folder.'
    )
  config = model_files.read_json(config_path, '')
  kind = str(config.get('peft_type'))
  if kind not in _TYPES:
    raise errors.UserError(
      f'{config_path} declares {kind}; expected one of {", ".join(_TYPES)}.'
    )
  _check_config(config_path, config)
  return config


def _check_config(source: object, config: Mapping[str, Any]) -> None:
  start = str(config.get('init_lora_weights'))
  if start.startswith(_CHANGES_BASE):
    raise errors.UserError(
      f"{source} has init_lora_weights='{start}', which changes the frozen "
      'weights too; save the adapter as a plain LoRA '
      '(path_initial_model_for_weight_conversion).'
    )
  for field in _MORE:
    if config.get(field):
      raise errors.UserError(
        f'{source} has {field}, which is more than a LoRA; expected an adapter '
        'without it.'
      )
  numbers = [config.get('r'), _alpha(config)]
  patterns: list[str] = []
  for field in ('rank_pattern', 'alpha_pattern'):
    by_pattern = config.get(field) or {}
    if not isinstance(by_pattern, dict):
      raise errors.UserError(
        f'{source} has {str(by_pattern)[:60]!r} as {field}; expected an object '
        'of numbers by names of layers.'
      )
    patterns += by_pattern
    numbers += by_pattern.values()
  for number in numbers:
    if not plain_numbers.is_finite(number):
      raise errors.UserError(
        f'{source} has {str(number)[:60]!r} as a rank or an alpha; expected '
        'numbers in r, lora_alpha, rank_pattern and alpha_pattern.'
      )
  targets = config.get('target_modules')
  for pattern in [*patterns, *([targets] if isinstance(targets, str) else [])]:
    try:
      re.compile(pattern)
    except re.error as error:
      raise errors.UserError(
        f'{source} has {pattern[:60]!r}, which is no regular expression '
        f'({error}); expected one in rank_pattern, alpha_pattern and '
        'target_modules.'
      ) from error


def _alpha(config: Mapping[str, Any]) -> Any:
  """Returns alpha, which LoHa and LoKr call by another name than LoRA."""
  return config.get('lora_alpha', config.get('alpha'))


def _read_metadata(
  path: pathlib.Path, metadata: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
  """Reads what diffusers keeps of PEFT's config, by networks."""
  if _METADATA not in metadata:
    return {}
  try:
    fields = json.loads(metadata[_METADATA])
  except (ValueError, RecursionError) as error:
    raise errors.UserError(
      f'LoRA {path} has metadata that are corrupt: {error}.'
    ) from error
  if not isinstance(fields, dict):
    raise errors.UserError(
      f'LoRA {path} has metadata that are corrupt: {_METADATA} is no object.'
    )
  configs: dict[str, dict[str, Any]] = {}
  for field, value in fields.items():
    folder, _, name = field.rpartition('.')
    configs.setdefault(folder, {})[name] = value
  for config in configs.values():
    _check_config(path, config)
  return configs


@dataclasses.dataclass(frozen=True)
class Strength:
  """How strong PEFT's config makes a layer.

  Attributes:
    alpha, rank: of the layer; None where there is no config.
    rank_stabilised: whether alpha is divided by the rank's root.
  """

  alpha: float | None = None
  rank: int | None = None
  rank_stabilised: bool = False


def strength_of(config: Mapping[str, Any], layer: str) -> Strength:
  """Returns what a config says of a layer, by its name in the network."""
  if not config:
    return Strength()
  return Strength(
    alpha=_by_pattern(config.get('alpha_pattern'), layer, _alpha(config)),
    rank=_by_pattern(config.get('rank_pattern'), layer, config['r']),
    rank_stabilised=bool(config.get('use_rslora')),
  )


def _by_pattern(
  patterns: Mapping[str, Any] | None, layer: str, default: Any
) -> Any:
  """Returns the number of the first pattern that fits, as PEFT does."""
  for pattern, number in (patterns or {}).items():
    if re.fullmatch(rf'(.*\.)?({pattern})', layer):
      return number
  return default


def is_target(config: Mapping[str, Any], layer: str) -> bool:
  """Returns whether a config surely names a layer as one that it changes.

  False where layers are also told in another way than by their names.
  """
  targets = config.get('target_modules')
  if any(
    config.get(field)
    for field in ('exclude_modules', 'layers_to_transform', 'layers_pattern')
  ):
    return False
  if isinstance(targets, list):
    return any(layer == one or layer.endswith(f'.{one}') for one in targets)
  if isinstance(targets, str) and targets != 'all-linear':
    return bool(re.fullmatch(targets, layer))
  return False
