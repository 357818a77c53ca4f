"""A user's own LoRA, merged into the frozen model under the proxy.

The file may be what diffusers or PEFT saves, or Kohya's: diffusers reads all of
them. Once it is merged it costs nothing at a step, and the proxy starts from
the model that the user has trained.
"""

from collections.abc import Mapping
import os
import pathlib
import re
from typing import Any

import diffusers
from diffusers import loaders
from diffusers import utils
import peft
import torch

from mmdist.core import errors
from mmdist.core import model_files
from mmdist.priors import lora_files
from mmdist.priors import prompt_encoder

NAME = 'own'  # Of the one adapter that is merged.


def merge_lora(
  denoiser: Any,
  text: prompt_encoder.PromptEncoder,
  path: str | os.PathLike,
  scale: float = 1.0,
) -> None:
  """Adds `scale` times a LoRA to the weights of a model, in place.

  Args:
    denoiser: its network, in float32, since other types would round a small
      change away.
    text: its text encoders; changed too, where the file has weights for them.
    path: a safetensors file.
    scale: 0 changes nothing.

  Raises:
    FileNotFoundError, UserError: no such file, or it is of another model.
  """
  path = lora_files.check_lora(path)
  mixin, prefix = _loader(denoiser, text)
  try:
    state, metadata = _read(mixin, path, denoiser)
    targets = {prefix: denoiser}
    for number, encoder in enumerate(text.modules, 1):
      targets[f'text_encoder_{number}' if number > 1 else 'text_encoder'] = (
        encoder
      )
    state = _in_todays_names(state, targets)
    _check_known(path, state, targets)
    merged = 0
    for name, module in targets.items():
      part = {k: v for k, v in state.items() if k.startswith(f'{name}.')}
      if part:
        _load(mixin, module, part, metadata, name)
        merged += merge(module, scale)
  except errors.UserError:
    raise
  # ValueError: PEFT found NaN in the file, or no layer that it fits.
  except (RuntimeError, KeyError, TypeError, ValueError) as error:
    raise errors.UserError(
      f'LoRA {path} does not fit the model: {model_files.first_line(error)}'
    ) from error
  if not merged:
    raise errors.UserError(
      f'LoRA {path} changes no layer of the model; is it of another family?'
    )
  text.forget()


def _loader(
  denoiser: torch.nn.Module, text: prompt_encoder.PromptEncoder
) -> tuple[Any, str]:
  """Returns the diffusers mixin that reads this family's files."""
  if not isinstance(denoiser, diffusers.UNet2DConditionModel):
    return loaders.SD3LoraLoaderMixin, 'transformer'
  if len(text.readers) > 1:
    return loaders.StableDiffusionXLLoraLoaderMixin, 'unet'
  return loaders.StableDiffusionLoraLoaderMixin, 'unet'


def _read(
  mixin: Any, path: pathlib.Path, denoiser: Any
) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
  """Returns the state dict in diffusers' naming, and its metadata."""
  more = (
    {'unet_config': denoiser.config}
    if mixin is loaders.StableDiffusionXLLoraLoaderMixin
    else {}
  )
  read = mixin.lora_state_dict(
    str(path.parent),
    weight_name=path.name,
    use_safetensors=True,
    local_files_only=True,
    return_lora_metadata=True,
    **more,
  )
  state, *alphas, metadata = read
  _fold_alphas(state, alphas[0] if alphas else None)
  return state, metadata


def _fold_alphas(
  state: dict[str, torch.Tensor], alphas: Mapping[str, float] | None
) -> None:
  """Multiplies Kohya's alphas into the weights, in place.

  diffusers would lose those of text encoders that differ from the rest.
  """
  for key, down in list(state.items()):
    alpha = (alphas or {}).get(f'{key.split(".lora.")[0]}.alpha')
    if alpha is not None and '.down.' in key:
      up = key.replace('.down.', '.up.')
      state[up] = state[up] * (alpha / down.shape[0])


def _in_todays_names(
  state: Mapping[str, torch.Tensor], targets: Mapping[str, torch.nn.Module]
) -> dict[str, torch.Tensor]:
  """Names a text encoder's layers as this transformers does.

  Files in the wild have `text_model.` before them, and diffusers' first
  format, into which it turns Kohya's, has names of its own for attention.
  """
  renamed = {}
  for key, weight in state.items():
    name, _, layer = key.partition('.')
    if name.startswith('text_encoder') and name in targets:
      if 'text_model' not in dict(targets[name].named_children()):
        layer = layer.removeprefix('text_model.')
      layer = re.sub(
        r'\.to_(q|k|v|out)_lora\.', r'.\1_proj.lora_linear_layer.', layer
      )
    renamed[f'{name}.{layer}'] = weight
  return renamed


def _check_known(
  path: pathlib.Path,
  state: Mapping[str, torch.Tensor],
  targets: Mapping[str, torch.nn.Module],
) -> None:
  """Raises UserError for a layer that no network has.

  Without this check, diffusers would skip that layer and say nothing.
  """
  for key in sorted(state):
    name, _, rest = key.partition('.')
    layer = rest.partition('.lora')[0]
    module = targets.get(name)
    known = dict(module.named_modules()) if module is not None else {}
    if layer not in known and not _is_old_attention(layer):
      raise errors.UserError(
        f'LoRA {path} is of another model: there is no layer {name}.{layer}.'
      )


def _is_old_attention(layer: str) -> bool:
  """Returns whether a layer is named as in diffusers' first format.

  It named the layers of attention processors. diffusers maps them itself.
  """
  return '.processor' in layer


def _load(
  mixin: Any,
  module: Any,
  state: dict[str, torch.Tensor],
  metadata: Mapping[str, Any] | None,
  prefix: str,
) -> None:
  # Metadata of another network alone would be read as empty metadata of this.
  own = {k: v for k, v in (metadata or {}).items() if k.startswith(prefix)}
  settings = {'network_alphas': None, 'metadata': own or None}
  if prefix.startswith('text_encoder'):
    mixin.load_lora_into_text_encoder(
      state, text_encoder=module, prefix=prefix, adapter_name=NAME, **settings
    )
  else:
    module.load_lora_adapter(
      state, prefix=prefix, adapter_name=NAME, **settings
    )


@torch.no_grad()
def merge(module: torch.nn.Module, scale: float) -> int:
  """Folds a network's adapter `NAME` into its weights, and removes it.

  Args:
    module: the network; it is frozen afterwards.
    scale: factor on the adapter.

  Returns:
    How many layers it moved.
  """
  layers: list[Any] = [
    layer
    for layer in module.modules()
    if isinstance(layer, peft.tuners.tuners_utils.BaseTunerLayer)
  ]
  for layer in layers:
    layer.set_scale(NAME, scale)
    layer.merge(safe_merge=True, adapter_names=[NAME])
  utils.recurse_remove_peft_layers(module)
  for name in ('peft_config', '_hf_peft_config_loaded'):
    if hasattr(module, name):
      delattr(module, name)
  module.requires_grad_(False)
  return len(layers)
