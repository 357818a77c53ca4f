"""What the names in an adapter's file say: which layer, and which part of it.

Reads the names that diffusers, PEFT, Kohya's scripts and LyCORIS write, without
torch, so that what cannot be merged is named before any network is built. What
the parts mean is `weight_deltas.py`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
import re

from mmdist.core import errors
from mmdist.priors import checkpoint_looks

# What PEFT calls an adapter in a network that may have several, or nothing.
_NAME = r'(?:\.[\w-]+)?'
# The end of a name -> the part that it is. The first that fits counts.
_PARTS: tuple[tuple[str, str], ...] = (
  (rf'\.lora_(?:A|down){_NAME}\.weight', 'down'),
  (rf'\.lora_(?:B|up){_NAME}\.weight', 'up'),
  (rf'\.lora_B{_NAME}\.bias', 'up_bias'),
  (r'\.lora(?:_linear_layer)?\.down\.weight', 'down'),
  (r'\.lora(?:_linear_layer)?\.up\.weight', 'up'),
  # XLabs' trainer of Flux: the layer's own name ends in _lora, _lora1, _lora2.
  (r'(?:(?<=_lora)|(?<=_lora[12]))\.down\.weight', 'down'),
  (r'(?:(?<=_lora)|(?<=_lora[12]))\.up\.weight', 'up'),
  (r'\.lora_mid\.weight', 'mid'),
  (rf'\.lora_embedding_A{_NAME}', 'embedding_down'),
  (rf'\.lora_embedding_B{_NAME}', 'embedding_up'),
  (rf'\.lora_magnitude_vector{_NAME}(?:\.weight)?', 'magnitude'),
  (r'\.dora_scale', 'dora_scale'),
  (r'\.alpha', 'alpha'),
  (rf'\.(hada_(?:w[12]_[ab]|t[12])){_NAME}', r'\2'),
  (rf'\.(lokr_(?:w[12](?:_[ab])?|t2)){_NAME}', r'\2'),
  (r'\.(diff(?:_b)?)', r'\2'),
  (r'\.w_norm', 'diff'),
  (r'\.b_norm', 'diff_b'),
)
_PATTERNS = tuple((re.compile(rf'(.+){end}'), part) for end, part in _PARTS)
# The first format of diffusers: layers of attention processors, whose names end
# in to_q_lora; in a text encoder q_proj is meant.
_PROCESSOR = re.compile(
  r'(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora\.'
  r'(?:(down|up)\.weight|(alpha))'
)
_SPARE = ('.processor',)  # In the middle of a name, and means nothing.

# A part of a name -> what such a file is, which is no sum of low rank or no
# change of weights at all.
_STRANGERS = {
  'emb_params': 'textual inversion',
  'string_to_param': 'textual inversion',
  'bundle_emb': 'textual inversion beside a LoRA',
  'oft_blocks': 'OFT',
  'oft_diag': 'OFT',
  'oft_R': 'OFT',
  'oft_r': 'OFT',
  'boft_': 'BOFT',
  '.a1.weight': 'GLoRA',
  '.on_input': 'IA3',
  'ia3_l': 'IA3',
  'vera_lambda': 'VeRA',
  'lora_E': 'AdaLoRA',
  'image_proj.': 'an IP-Adapter',
  'ip_adapter': 'an IP-Adapter',
  '_norm.scale': (
    'a LoRA that comes with whole norms, as those of control images, or a '
    'whole model of Flux'
  ),
  'control_model.': 'a ControlNet',
  'lllite_': 'a ControlNet-LLLite',
  'motion_modules.': 'a motion module of AnimateDiff',
  'model.diffusion_model.': 'a whole checkpoint, which is a prior of its own',
  'cond_stage_model.': 'a whole checkpoint, which is a prior of its own',
  'modules_to_save': 'whole layers beside a LoRA (modules_to_save)',
  '.base_layer.weight': (
    'a whole network that was saved with its adapter; save the adapter alone '
    '(save_lora_weights of diffusers, save_pretrained of PEFT)'
  ),
}
Layers = dict[str, dict[str, str]]

# The parts that a layer has at least, if it has the one before.
_NEEDED = {
  'down': ('up',),
  'up': ('down',),
  'mid': ('down', 'up'),
  'up_bias': ('down', 'up'),
  'embedding_down': ('embedding_up',),
  'embedding_up': ('embedding_down',),
  'hada_t1': ('hada_t2',),
  'hada_t2': ('hada_t1',),
  'lokr_w1_a': ('lokr_w1_b',),
  'lokr_w1_b': ('lokr_w1_a',),
  'lokr_w2_a': ('lokr_w2_b',),
  'lokr_w2_b': ('lokr_w2_a',),
  'lokr_t2': ('lokr_w2_a', 'lokr_w2_b'),
}
_HADA = ('hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b')
# As they are written, for the error.
_SPOKEN = {
  'down': 'lora_down (lora_A)',
  'up': 'lora_up (lora_B)',
  'mid': 'lora_mid',
  'up_bias': 'lora_B.bias',
  'embedding_down': 'lora_embedding_A',
  'embedding_up': 'lora_embedding_B',
}


def parse(path: object, names: Iterable[str]) -> Layers:
  """Sorts the names in an adapter's file by their layers.

  Args:
    path: of the file, for the error.
    names: of its tensors.

  Returns:
    Layer, as the file calls it -> part -> the tensor's name.

  Raises:
    UserError: in one line; the file is something else than an adapter that can
      be merged, or half of a layer is missing.
  """
  layers: Layers = {}
  split = {name: _split(name) for name in sorted(names)}
  unknown = [name for name, found in split.items() if found is None]
  if unknown:
    raise _stranger(path, unknown)
  for name, found in split.items():
    layer, part = found or ('', '')
    parts = layers.setdefault(layer, {})
    if part in parts:
      raise errors.UserError(
        f'LoRA {path} has {part} of {layer} twice: {parts[part]} and {name}.'
      )
    parts[part] = name
  if not layers:
    raise errors.UserError(f'LoRA {path} has no tensors.')
  for layer, parts in layers.items():
    _check_whole(path, layer, parts)
  return layers


def _split(name: str) -> tuple[str, str] | None:
  """Returns a tensor's layer and part; None if it is no part of an adapter."""
  # PEFT calls the rest of a layer so, and a wrapped one has it in its name.
  plain = name.replace('.base_layer.', '.')
  old = _PROCESSOR.fullmatch(plain)
  if old:
    return f'{old[1]}.to_{old[2]}', old[3] or old[4]
  for pattern, part in _PATTERNS:
    match = pattern.fullmatch(plain)
    if match:
      layer = match[1]
      for spare in _SPARE:
        layer = layer.replace(spare, '')
      return layer, match.expand(part)
  return None


def _stranger(path: object, names: Sequence[str]) -> errors.UserError:
  """Returns what is said of a file that has more than adapters.

  Args:
    path: of the file.
    names: of its tensors that are no part of an adapter.
  """
  expected = 'expected a LoRA, DoRA, LoHa, LoKr or full difference'
  for mark, what in _STRANGERS.items():
    for name in names:
      if mark in name:
        return errors.UserError(f'LoRA {path} is {what} ({name}); {expected}.')
  name = names[0]
  look = checkpoint_looks.looks_like(names)
  if look:
    return errors.UserError(
      f'LoRA {path} looks like {look} ({name}); {expected}.'
    )
  if '.' not in name:
    return errors.UserError(
      f'LoRA {path} is of another model or a textual inversion, which is not '
      f'read: {name} is no part of a layer; {expected}.'
    )
  return errors.UserError(
    f'LoRA {path} has {name}, which is no part of an adapter; expected names '
    'of LoRA, DoRA, LoHa, LoKr or of full differences.'
  )


def _check_whole(path: object, layer: str, parts: Mapping[str, str]) -> None:
  """Raises UserError if a layer lacks a part without which others are vain."""
  for part in parts:
    for other in _NEEDED.get(part, ()):
      if other not in parts:
        raise errors.UserError(
          f'LoRA {path} is half of one: {layer} has {_SPOKEN.get(part, part)} '
          f'and no {_SPOKEN.get(other, other)}.'
        )
  kinds = kinds_of(parts)
  if 'LoHa' in kinds:
    for other in _HADA:
      if other not in parts:
        raise errors.UserError(
          f'LoRA {path} is half of one: {layer} has parts of LoHa and no '
          f'{other}.'
        )
  if 'LoKr' in kinds:
    for number in '12':
      if not {f'lokr_w{number}', f'lokr_w{number}_a'} & set(parts):
        raise errors.UserError(
          f'LoRA {path} is half of one: {layer} has parts of LoKr and no '
          f'lokr_w{number}.'
        )
  if len(kinds) > 1:
    raise errors.UserError(
      f'LoRA {path} has {" and ".join(kinds)} for {layer}; expected one of '
      'them.'
    )
  if not kinds and 'diff_b' not in parts:
    raise errors.UserError(
      f'LoRA {path} is half of one: {layer} has nothing but {", ".join(parts)}.'
    )


def kinds_of(parts: Iterable[str]) -> list[str]:
  """Returns what changes a layer's weight; nothing if only its bias changes.

  Args:
    parts: as `parse` names them.
  """
  marks = {
    'down': 'LoRA',
    'up': 'LoRA',
    'mid': 'LoRA',
    'embedding_down': 'LoRA of an embedding',
    'embedding_up': 'LoRA of an embedding',
    'hada': 'LoHa',
    'lokr': 'LoKr',
    'diff': 'a full difference',
  }
  found = {
    kind
    for part in parts
    for mark, kind in marks.items()
    if part == mark or part.startswith((f'{mark}_w', f'{mark}_t'))
  }
  return sorted(found)
