"""Which model an adapter was trained on, told from its layers.

People keep adapters of many models in one folder, so a refusal says which one
it looks like. A guess: nothing but words depends on it.
"""

from collections.abc import Iterable, Mapping, Sequence
import re

# A pattern in the name of a layer -> what has such layers. The first that fits
# counts.
_NAMES = (
  (r'lora_prior_', 'Stable Cascade or Kandinsky'),
  (r'double_stream_modulation', 'Flux 2'),
  (r'(double|single)_blocks[._]\d|single_transformer_blocks', 'Flux'),
  (r'joint_blocks[._]\d', 'Stable Diffusion 3'),
  (r'\bblocks[._]\d+[._]cross_attn[._]|_blocks_\d+_cross_attn_', 'Wan'),
  (r'motion_modules', 'AnimateDiff'),
)
_CROSS = re.compile(r'attn2[._]to_[kv]$')
_SECOND_TEXT = ('lora_te2_', 'text_encoder_2.')
# How wide the texts are that a UNet sees.
_WIDTHS = {
  768: 'Stable Diffusion 1',
  1024: 'Stable Diffusion 2',
  2048: 'Stable Diffusion XL',
}


def looks_like(
  layers: Iterable[str], inputs: Mapping[str, Sequence[int]]
) -> str | None:
  """Returns what has such layers, as people call it; None if nobody can say.

  Args:
    layers: their names, of a file or of a network.
    inputs: layer -> the shape of a matrix whose second axis is its input.
  """
  layers = list(layers)
  for pattern, what in _NAMES:
    if any(re.search(pattern, layer) for layer in layers):
      return what
  for layer in layers:
    shape = inputs.get(layer, ())
    if len(shape) > 1 and _CROSS.search(layer) and shape[1] in _WIDTHS:
      return _WIDTHS[shape[1]]
  if any(layer.startswith(_SECOND_TEXT) for layer in layers):
    return 'Stable Diffusion XL'
  return None
