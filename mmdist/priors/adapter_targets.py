"""Which layers of a model the names in an adapter's file mean.

Needs the names and shapes of the model's layers and not its weights, so that a
run can be refused before torch is imported; see `adapter_fit.py`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any

from mmdist.core import errors
from mmdist.priors import adapter_looks
from mmdist.priors import ldm_names

# Some names are of the kind of a text encoder, not of its place: T5 is the
# third of Stable Diffusion 3 and the second of Flux.
T5 = 't5'
# How a layer's name begins -> the network, None for any, and whether its dots
# were written as underscores. The first that fits counts.
_PREFIXES: tuple[tuple[str, str | None, bool], ...] = (
  ('lora_unet_', 'denoiser', True),
  ('lora_transformer_', 'denoiser', True),
  ('lora_te_', 'text_encoder', True),
  ('lora_te1_', 'text_encoder', True),
  ('lora_te2_', 'text_encoder_2', True),
  ('lora_te3_', T5, True),
  ('lycoris_', None, True),
  ('unet.', 'denoiser', False),
  ('transformer.', 'denoiser', False),
  ('diffusion_model.', 'denoiser', False),
  ('model.diffusion_model.', 'denoiser', False),
  ('text_encoder.', 'text_encoder', False),
  ('text_encoder_2.', 'text_encoder_2', False),
  ('text_encoder_3.', 'text_encoder_3', False),
  ('text_encoders.clip_l.transformer.', 'text_encoder', False),
  ('text_encoders.clip_g.transformer.', 'text_encoder_2', False),
  ('text_encoders.t5xxl.transformer.', T5, False),
)
# What wraps a network, and is in the names of its layers: PEFT, before or after
# a network's own prefix, and torch.compile. Of another one, 'module.', a name
# only begins with it.
_WRAPPERS = ('base_model.model.', '_orig_mod.')
# What diffusers' first format calls the layers of a text encoder's attention.
_OLD_TEXT = {
  'q_proj': 'to_q',
  'k_proj': 'to_k',
  'v_proj': 'to_v',
  'out_proj': 'to_out',
}


# What may be in front of the layers of a text encoder.
_FRONTS = (
  'text_model.',
  'model.language_model.',
  'language_model.',
  'model.',
)
Shapes = Mapping[str, Sequence[int]]
# What diffusers takes for granted that a config.json does not say.
_UNET_DEFAULTS = {
  'layers_per_block': 2,
  'up_block_types': ('UpBlock2D', *('CrossAttnUpBlock2D',) * 3),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
  """One network of a model.

  Attributes:
    name: 'denoiser', 'text_encoder', 'text_encoder_2' or 'text_encoder_3'.
    folders: what a file of diffusers may call it.
    layers: a name that a file may have -> the network's layers.
    shapes: layer of the network -> its weight's shape.
    kind: `T5`, or ''.
    module: the network; None where only its files were looked at.
  """

  name: str
  folders: tuple[str, ...]
  layers: Mapping[str, ldm_names.Rows]
  shapes: Shapes
  kind: str = ''
  module: Any = None

  def find(self, layer: str, is_flat: bool) -> ldm_names.Rows | None:
    """Returns the layers that a name means; None if there is none."""
    return self._flat.get(layer) if is_flat else self.layers.get(layer)

  @functools.cached_property
  def _flat(self) -> dict[str, ldm_names.Rows]:
    return {
      name.replace('.', '_'): found for name, found in self.layers.items()
    }


@dataclasses.dataclass(frozen=True)
class Target:
  """The layers that a name means.

  Attributes:
    network: whose layers.
    rows: which of them.
  """

  network: Network
  rows: ldm_names.Rows

  @property
  def layers(self) -> tuple[str, ...]:
    """Their names in the network, in the order of their rows."""
    return self.rows.layers

  @property
  def modules(self) -> list[Any]:
    """The layers themselves."""
    return [self.network.module.get_submodule(name) for name in self.layers]

  @property
  def shape(self) -> list[int]:
    """The shape of their weights, one below the other."""
    first, *others = [self.network.shapes[name] for name in self.layers]
    return [first[0] + sum(other[0] for other in others), *first[1:]]


def denoiser_network(
  class_name: str,
  config: Mapping[str, Any],
  shapes: Shapes,
  module: Any = None,
) -> Network:
  """Returns a network that predicts, with all the names of its layers.

  Args:
    class_name: as its config.json declares it.
    config: of a UNet; others need none.
    shapes: layer, as diffusers calls it -> its weight's shape.
    module: the network, if it is there.
  """
  layers = {name: ldm_names.Rows((name,)) for name in shapes}
  # What diffusers' first format calls it.
  layers |= {
    name.removesuffix('.0'): ldm_names.Rows((name,))
    for name in shapes
    if name.endswith('.to_out.0')
  }
  folder, named = 'transformer', {}
  if class_name == 'UNet2DConditionModel':
    folder = 'unet'
    named = ldm_names.unet_layers(shapes, {**_UNET_DEFAULTS, **config})
  elif class_name == 'SD3Transformer2DModel':
    named = ldm_names.sd3_layers(shapes)
  elif class_name == 'FluxTransformer2DModel':
    named = ldm_names.flux_layers(shapes)
  return Network('denoiser', (folder,), named | layers, shapes, module=module)


def text_network(
  component: str, is_t5: bool, shapes: Shapes, module: Any = None
) -> Network:
  """Returns a text encoder, with all the names of its layers, old ones too.

  transformers has dropped and added `text_model.` in front of them, and a
  language model has other names in front of them with its head than without.

  Args:
    component: its folder, 'text_encoder_2'.
    is_t5: whether it is one.
    shapes: layer, as transformers calls it -> its weight's shape.
    module: the network, if it is there.
  """
  layers: dict[str, ldm_names.Rows] = {}
  for name in shapes:
    plain = name
    for front in _FRONTS:
      plain = plain.removeprefix(front)
    parent, _, last = plain.rpartition('.')
    for one in (plain, f'{parent}.{_OLD_TEXT.get(last, last)}'):
      for front in ('', *_FRONTS):
        layers[f'{front}{one}'] = ldm_names.Rows((name,))
  kind = T5 if is_t5 else ''
  return Network(component, (component,), layers, shapes, kind, module)


def find_targets(
  path: object,
  layers: Mapping[str, Mapping[str, Sequence[int]]],
  networks: Sequence[Network],
  prior: str = '',
) -> dict[str, Target]:
  """Returns what each layer's name in a file means.

  Args:
    path: of the file, for the error.
    layers: its layers, as it calls them -> part -> its shape.
    networks: of the model.
    prior: what the model is, in words, for the error; '' says nothing.

  Raises:
    UserError: in one line; a layer that the model does not have, or several.
  """
  targets: dict[str, Target] = {}
  guesses: dict[str, list[Target]] = {}
  for layer in layers:
    network, rest, is_flat = _split(layer)
    found = [
      Target(one, inner)
      for one in networks
      if network in (None, one.name, one.kind or None)
      and (inner := one.find(rest, is_flat)) is not None
    ]
    if not found:
      raise errors.UserError(
        f'LoRA {path} is of another model: there is no layer {layer}'
        f'{hint(layers, networks, prior)}.'
      )
    if len(found) == 1:
      targets[layer] = found[0]
    else:
      guesses[layer] = found
  if guesses:
    sure = {target.network.name for target in targets.values()}
    targets |= _choose(path, guesses, layers, sure)
  _check_once(path, targets)
  return targets


def hint(
  layers: Mapping[str, Mapping[str, Sequence[int]]],
  networks: Sequence[Network],
  prior: str = '',
) -> str:
  """Returns which other model a file looks like one of; '' if none.

  Args:
    layers: of the file -> part -> its shape.
    networks: of the model.
    prior: as of `find_targets`; it is said too.
  """
  theirs = look_of(layers)
  ours = adapter_looks.looks_like(networks[0].shapes, networks[0].shapes)
  parts = [prior] if prior else []
  if theirs not in (None, ours):
    parts.insert(0, f'it looks like one of {theirs}')
  return f'; {", and ".join(parts)}' if parts else ''


def look_of(layers: Mapping[str, Mapping[str, Sequence[int]]]) -> str | None:
  """Returns which model a file's layers look like those of; see `hint`."""
  inputs = {
    layer: parts.get('down', parts.get('diff', ()))
    for layer, parts in layers.items()
  }
  return adapter_looks.looks_like(layers, inputs)


def _split(layer: str) -> tuple[str | None, str, bool]:
  """Returns a layer's network, its name there, and whether that is flat."""
  for wrapper in _WRAPPERS:
    layer = layer.replace(wrapper, '')
  layer = layer.removeprefix('module.')
  for prefix, network, is_flat in _PREFIXES:
    if layer.startswith(prefix):
      return network, layer.removeprefix(prefix), is_flat
  return None, layer, False


def _choose(
  path: object,
  guesses: Mapping[str, list[Target]],
  layers: Mapping[str, Mapping[str, Sequence[int]]],
  sure: set[str],
) -> dict[str, Target]:
  """Returns the one network whose layers have the shapes of a file's.

  Files of PEFT say no network, and the two text encoders of SDXL have layers of
  the same names.
  """
  names = {t.network.name for found in guesses.values() for t in found}
  fitting = [
    name
    for name in sorted(names)
    if all(
      any(t.network.name == name and _fits(t, layers[layer]) for t in found)
      for layer, found in guesses.items()
    )
  ]
  # Or that other layers of the file are of.
  fitting = [name for name in fitting if name in sure] or fitting
  if len(fitting) != 1:
    layer = next(iter(guesses))
    raise errors.UserError(
      f'LoRA {path} does not say which network {layer} is of, and '
      f'{" and ".join(fitting or sorted(names))} have one of that name; write '
      "the network's name before it, such as text_encoder_2."
    )
  return {
    layer: next(t for t in found if t.network.name == fitting[0])
    for layer, found in guesses.items()
  }


def _fits(target: Target, shapes: Mapping[str, Sequence[int]]) -> bool:
  down, up = shapes.get('down'), shapes.get('up')
  if down is None or up is None:
    return True
  rows, columns = target.shape[:2]
  return list(up[:1]) == [rows] and list(down[1:2]) == [columns]


def _check_once(path: object, targets: Mapping[str, Target]) -> None:
  """Raises UserError if two names of a file mean the same layer."""
  seen: dict[tuple[str, str], str] = {}
  for layer, target in targets.items():
    for name in target.layers:
      key = target.network.name, name
      if key in seen:
        raise errors.UserError(
          f'LoRA {path} changes one layer twice: {seen[key]} and {layer} are '
          f'{name} of the {target.network.name}.'
        )
      seen[key] = layer
