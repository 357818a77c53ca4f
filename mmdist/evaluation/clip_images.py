"""What CLIP's image processor does to a picture, without torchvision.

Owns the reading of `preprocessor_config.json` and the resizing, cropping and
normalising that it asks for; the network is `mmdist.evaluation.clip`'s.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from mmdist.core import errors
from mmdist.core import shapes

# Pillow's numbers, which the file has.
_RESAMPLING = {2: 'bilinear', 3: 'bicubic'}
# What the processor takes for what the file leaves out.
_DEFAULTS = {
  'size': 224,
  'crop_size': 224,
  'resample': 3,
  'rescale_factor': 1 / 255,
  'image_mean': (0.48145466, 0.4578275, 0.40821073),
  'image_std': (0.26862954, 0.26130258, 0.27577711),
}


@dataclasses.dataclass(frozen=True)
class ImageSettings:
  """How a picture becomes the input of a CLIP network.

  Attributes:
    size: pixels of the shorter side after resizing, or (height, width).
    crop: (height, width) of the middle that is kept, or None for all.
    resample: 'bicubic' or 'bilinear', both antialiased.
    scale: what levels of 0 to 255 are multiplied by.
    mean: [3] taken from the scaled colours.
    std: [3] they are then divided by.
  """

  size: int | tuple[int, int]
  crop: tuple[int, int] | None
  resample: str
  scale: float
  mean: tuple[float, ...]
  std: tuple[float, ...]

  @property
  def output_size(self) -> tuple[int, int]:
    """Returns (height, width) of what the network gets for square pictures."""
    return self.crop or _pair(self.size)


def read_settings(config: Mapping[str, Any]) -> ImageSettings:
  """Reads the fields of a `preprocessor_config.json`.

  Raises:
    UserError: a field has a value that CLIP's processor has no meaning for.
  """
  known = {key: config.get(key, default) for key, default in _DEFAULTS.items()}
  if not config.get('do_resize', True):
    raise errors.UserError('do_resize is false; expected a size to resize to.')
  if known['resample'] not in _RESAMPLING:
    raise errors.UserError(
      f'resample is {known["resample"]}; expected 3 (bicubic) or 2 (bilinear).'
    )
  crop = config.get('do_center_crop', True)
  scaled = config.get('do_rescale', True)
  normalized = config.get('do_normalize', True)
  settings = ImageSettings(
    size=_read_size('size', known['size']),
    crop=_pair(_read_size('crop_size', known['crop_size'])) if crop else None,
    resample=_RESAMPLING[known['resample']],
    scale=float(known['rescale_factor']) if scaled else 1.0,
    mean=_read_colors(known, 'image_mean') if normalized else (0.0,) * 3,
    std=_read_colors(known, 'image_std') if normalized else (1.0,) * 3,
  )
  if settings.crop and min(_pair(settings.size)) < max(settings.crop):
    raise errors.UserError(
      f'crop_size {settings.crop} is more than size {settings.size} leaves.'
    )
  return settings


def preprocess(images: np.ndarray, settings: ImageSettings) -> torch.Tensor:
  """Turns pictures into a network's input, as CLIP's processor does.

  Colours are rounded to 8 bits before and after resizing: the networks were
  trained on such pictures, and bicubic overshoots are cut off at each pass.

  Args:
    images: [N, H, W, 3] in [0, 1].
    settings: how.

  Returns:
    [N, 3, h, w] float32.
  """
  shapes.check_shape('images', images, ('N', 'H', 'W', 3))
  levels = np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
  pixels = torch.from_numpy(levels).permute(0, 3, 1, 2)
  pixels = functional.interpolate(
    pixels,
    _resized(pixels.shape[-2:], settings.size),
    mode=settings.resample,
    align_corners=False,
    antialias=True,
  )
  if settings.crop:
    height, width = settings.crop
    top = (pixels.shape[-2] - height) // 2
    left = (pixels.shape[-1] - width) // 2
    pixels = pixels[..., top : top + height, left : left + width]
  mean, std = (
    torch.tensor(values).view(3, 1, 1)
    for values in (settings.mean, settings.std)
  )
  return (pixels.float() * settings.scale - mean) / std


def _resized(
  shape: Sequence[int], size: int | tuple[int, int]
) -> tuple[int, int]:
  if not isinstance(size, int):
    return size
  shorter = min(shape)
  height, width = (int(size * side / shorter) for side in shape)
  return height, width


def _read_size(name: str, value: Any) -> int | tuple[int, int]:
  """Reads 224, {'shortest_edge': 224} or {'height': 224, 'width': 224}."""
  sides: Any = value
  if isinstance(value, Mapping):
    keys = ('shortest_edge',) if len(value) == 1 else ('height', 'width')
    sides = tuple(value.get(key) for key in keys)
    sides = sides[0] if len(sides) == 1 else sides
  try:
    if min(_pair(sides)) > 0 and all(int(s) == s for s in _pair(sides)):
      return sides
  except TypeError:
    pass
  raise errors.UserError(
    f"{name} is {value}; expected 'shortest_edge', or 'height' and 'width', in "
    'pixels.'
  )


def _read_colors(known: Mapping[str, Any], name: str) -> tuple[float, ...]:
  try:
    colors = tuple(float(value) for value in known[name])
  except (TypeError, ValueError):
    colors = ()
  if len(colors) != 3 or (name == 'image_std' and min(colors) <= 0):
    raise errors.UserError(
      f'{name} is {known[name]}; expected a number per channel.'
    )
  return colors


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
  return (size, size) if not isinstance(size, tuple) else size
