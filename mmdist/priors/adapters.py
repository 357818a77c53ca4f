"""A user's own LoRAs, merged into the frozen model under the proxy.

Once they are merged they cost nothing at a step, and the proxy starts from the
model that the user has trained. Names are `adapter_keys.py`'s and
`adapter_targets.py`'s, formulas `weight_deltas.py`'s.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import functools
from typing import Any

from diffusers import utils
import peft
import safetensors
import torch
import transformers

from mmdist.core import errors
from mmdist.priors import adapter_targets
from mmdist.priors import lora_files
from mmdist.priors import prompt_encoder
from mmdist.priors import weight_deltas

NAME = 'own'  # Of the one adapter that is merged where one is trained.


@torch.no_grad()
def merge_loras(
  denoiser: Any,
  text: prompt_encoder.PromptEncoder,
  loras: Sequence[tuple[str, float]],
) -> None:
  """Adds weighted LoRAs to the weights of a model, in place.

  Each is what it would be alone: what a LoRA changes is computed from the
  frozen weights, times its factor, and all changes are added up. Of a DoRA,
  which is no sum, the whole difference is taken times the factor.

  Args:
    denoiser: its network, in float32, since other types would round a small
      change away.
    text: its text encoders, in float32 too; changed where a file has weights
      for them.
    loras: a file, or the folder that PEFT writes, and the factor on it; 0
      changes nothing.

  Raises:
    FileNotFoundError, UserError: no such file, or it is of another model.
  """
  networks = _networks_of(denoiser, text)
  files = lora_files.check_loras(loras)
  changes = [
    change
    for file, (_, scale) in zip(files, loras, strict=True)
    for change in _read(file, networks, scale)
  ]
  with contextlib.ExitStack() as stack:
    handles = {
      file.path: stack.enter_context(safetensors.safe_open(file.path, 'pt'))
      for file in files
    }
    for group in _groups(changes):
      # All differences are of the frozen weights, so none moves before the
      # last; and of few layers at a time, since they are as large as those.
      totals: dict[torch.Tensor, torch.Tensor] = {}
      for change in group:
        for parameter, delta in change.deltas(handles[change.file.path]):
          total = totals.get(parameter)
          totals[parameter] = delta if total is None else total + delta
      for parameter, total in totals.items():
        parameter.add_(total)
        if not parameter.isfinite().all():
          raise _too_strong(loras)
  text.forget()


def _networks_of(
  denoiser: Any, text: prompt_encoder.PromptEncoder
) -> list[adapter_targets.Network]:
  """Returns a model's networks, with all the names of their layers."""
  networks = [
    adapter_targets.denoiser_network(
      type(denoiser).__name__, denoiser.config, _shapes_of(denoiser), denoiser
    )
  ]
  for number, encoder in enumerate(text.modules, 1):
    name = f'text_encoder_{number}' if number > 1 else 'text_encoder'
    is_t5 = isinstance(
      encoder, transformers.T5EncoderModel | transformers.UMT5EncoderModel
    )
    shapes = _shapes_of(encoder)
    networks.append(adapter_targets.text_network(name, is_t5, shapes, encoder))
  return networks


def _shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
  """Returns the layers that have a weight, and its shape."""
  return {
    name: tuple(layer.weight.shape)
    for name, layer in module.named_modules()
    if isinstance(getattr(layer, 'weight', None), torch.Tensor)
  }


def _too_strong(loras: Sequence[tuple[str, float]]) -> errors.UserError:
  given = ', '.join(f'({path}, {scale:g})' for path, scale in loras)
  return errors.UserError(
    f'LoRAs {given} make weights that are not finite; give smaller factors.'
  )


def _groups(changes: Sequence['_Change']) -> list[list['_Change']]:
  """Returns the changes in groups that have no layer in common."""
  group_of: dict[tuple[str, str], list[_Change]] = {}
  for change in changes:
    keys = [(change.target.network.name, name) for name in change.target.layers]
    group = [change]
    for other in {id(g): g for k in keys if (g := group_of.get(k))}.values():
      group = [*other, *group]
    for member in group:
      for name in member.target.layers:
        group_of[member.target.network.name, name] = group
  return list({id(group): group for group in group_of.values()}.values())


@dataclasses.dataclass(frozen=True, eq=False)
class _Change:
  """What one file does to one layer, or to several that it has as one.

  Attributes:
    file: that says it.
    layer: as the file calls it.
    target: which layers are meant.
    scaling: how strong it is.
    scale: the user's factor.
    hint: says what the file looks like, for the error.
  """

  file: lora_files.LoraFile
  layer: str
  target: adapter_targets.Target
  scaling: weight_deltas.Scaling
  scale: float
  hint: Callable[[], str]

  def deltas(self, tensors: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Returns each parameter that moves, and by how much.

    Args:
      tensors: the opened file.
    """
    modules, rows = self.target.modules, self.target.rows
    parts = {
      part: tensors.get_tensor(name)
      for part, name in self.file.layers[self.layer].items()
    }
    try:
      pairs = _rows(
        [module.weight for module in modules],
        rows.are_swapped,
        lambda weight: weight_deltas.weight_delta(parts, weight, self.scaling),
      )
      bias = weight_deltas.bias_delta(parts, self.scaling)
      if bias is not None:
        if any(module.bias is None for module in modules):
          raise weight_deltas.Misfit('it moves a bias that there is not')
        pairs += _rows(
          [module.bias for module in modules],
          rows.are_swapped,
          lambda _: _as_bias(bias, modules),
        )
    except weight_deltas.Misfit as error:
      raise errors.UserError(
        f'LoRA {self.file.path} does not fit the model: {error}, in layer '
        f'{self.layer}{self.hint()}.'
      ) from error
    return [(parameter, self.scale * delta) for parameter, delta in pairs]


def _as_bias(bias: torch.Tensor, modules: Sequence[Any]) -> torch.Tensor:
  rows = sum(len(module.bias) for module in modules)
  if bias.numel() != rows or not bias.isfinite().all():
    raise weight_deltas.Misfit(
      f'the layer has a bias of [{rows}], and its change is '
      f'{list(bias.shape)} or not finite'
    )
  return bias.flatten()


def _rows(
  parameters: Sequence[torch.Tensor], are_swapped: bool, delta_of: Any
) -> list[tuple[torch.Tensor, torch.Tensor]]:
  """Returns each parameter with its rows of the change of all of them.

  Args:
    parameters: of the layers, in the order of their rows in the file.
    are_swapped: whether the file has the second half of the rows first.
    delta_of: the change of what the file sees as one weight.
  """
  whole = parameters[0] if len(parameters) == 1 else torch.cat(list(parameters))
  delta = delta_of(_swap(whole.float()) if are_swapped else whole.float())
  if delta is None:
    return []
  if are_swapped:
    delta = _swap(delta)
  sizes = [len(parameter) for parameter in parameters]
  return list(zip(parameters, delta.split(sizes), strict=True))


def _swap(rows: torch.Tensor) -> torch.Tensor:
  """Returns rows with their second half first."""
  return torch.cat(rows.chunk(2)[::-1])


def _read(
  file: lora_files.LoraFile,
  networks: Sequence[adapter_targets.Network],
  scale: float,
) -> list[_Change]:
  """Returns what a file does to a model, one change per layer of the file."""
  targets = adapter_targets.find_targets(file.path, file.shapes, networks)
  hint = functools.partial(adapter_targets.hint, file.shapes, networks)
  changes = []
  for layer, target in targets.items():
    config = file.config_of(target.network.folders)
    # Its patterns are of the names that were trained.
    name = target.rows.name or target.layers[0]
    strength = lora_files.strength_of(config, name)
    _check_rank(file, layer, strength)
    scaling = weight_deltas.Scaling(
      strength.alpha, strength.rank, strength.rank_stabilised
    )
    changes.append(_Change(file, layer, target, scaling, scale, hint))
  _check_all_there(file, targets)
  return changes


def _check_rank(
  file: lora_files.LoraFile, layer: str, strength: lora_files.Strength
) -> None:
  """Raises UserError if a config is of another file than the weights."""
  down = file.shapes[layer].get('down')
  if down and strength.rank is not None and down[0] != strength.rank:
    raise errors.UserError(
      f'LoRA {file.path} has rank {down[0]} in layer {layer}, and its config '
      f'({file.config_path or "in its metadata"}) says {strength.rank}.'
    )


def _check_all_there(
  file: lora_files.LoraFile, targets: Mapping[str, adapter_targets.Target]
) -> None:
  """Raises UserError if a config names layers that the file does not have."""
  # A config of the authors' names says nothing of diffusers' layers.
  others = {id(t.network) for t in targets.values() if t.rows.name}
  networks = {
    id(t.network): t.network
    for t in targets.values()
    if id(t.network) not in others
  }
  for network in networks.values():
    config = file.config_of(network.folders)
    there = {
      name
      for target in targets.values()
      if target.network is network
      for name in target.layers
    }
    missing = sorted(
      name
      for name, module in network.module.named_modules()
      if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
      and lora_files.is_target(config, name)
      and name not in there
    )
    if missing:
      raise errors.UserError(
        f'LoRA {file.path} is half of one: it lacks {len(missing)} layers that '
        f'its config ({file.config_path or "in its metadata"}) names, '
        f'{missing[0]} among them.'
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
