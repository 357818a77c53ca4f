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
  (r'joint_transformer_blocks[._]\d', 'AuraFlow'),
  (r'(double|single)_blocks[._]\d|single_transformer_blocks', 'Flux'),
  (r'transformer_blocks[._]\d+[._]ff[._]conv_(inverted|depth|point)', 'Sana'),
  (r'(^|[._])layers[._]\d+[._](attention[._]to_|adaLN_mod)', 'Z-Image'),
  (r'joint_blocks[._]\d', 'Stable Diffusion 3'),
  (r'\bblocks[._]\d+[._]cross_attn[._]|_blocks_\d+_cross_attn_', 'Wan'),
  (r'motion_modules', 'AnimateDiff'),
  (r'transformer_blocks[._]\d+[._](img|txt)_m(lp|od)[._]', 'Qwen-Image'),
)
# The width of a joint attention of images and texts tells the model where no
# name does; of two of the same width one has more blocks.
_JOINT = re.compile(r'transformer_blocks[._](\d+)[._]attn[._]to_q$')
_JOINT_WIDTHS = {
  1536: 'Stable Diffusion 3',
  2432: 'Stable Diffusion 3',
  3072: 'Flux',
}
_FLUX_BLOCKS = 19
# A UNet with several of them in one place.
_DEEP = re.compile(
  r'(attentions|(input|output)_blocks[._]\d+)[._]\d+[._]'
  r'transformer_blocks[._][1-9]'
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
  most_joint, joint_width = -1, 0
  for layer in layers:
    shape = inputs.get(layer, ())
    if len(shape) < 2:
      continue
    if _CROSS.search(layer) and shape[1] in _WIDTHS:
      return _WIDTHS[shape[1]]
    joint = _JOINT.search(layer)
    if joint:
      most_joint, joint_width = max(most_joint, int(joint[1])), shape[1]
  joint_look = _JOINT_WIDTHS.get(joint_width)
  if joint_look == 'Flux' and most_joint >= _FLUX_BLOCKS:
    joint_look = 'Qwen-Image'
  if joint_look:
    return joint_look
  if any(_is_of_sdxl(layer) for layer in layers):
    return 'Stable Diffusion XL'
  return None


def _is_of_sdxl(layer: str) -> bool:
  # A second text encoder may also be a T5, of Flux.
  is_clip = layer.startswith(_SECOND_TEXT) and 'text_model' in layer
  return is_clip or _DEEP.search(layer) is not None
