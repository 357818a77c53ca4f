"""Picture files of photographed subjects: read, or refused in one line."""

import pathlib

import numpy as np
from PIL import Image

from mmdist.core import errors
from mmdist.data import decoding

MIN_SIDE = 4
_FORMATS = ('PNG', 'JPEG')
_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P')
_MASK_MODES = ('1', 'L', 'RGB')


def read_picture(path: pathlib.Path) -> np.ndarray:
  """Reads a PNG or JPEG file as [H, W, 4] uint8, colour and opacity.

  Colours are those of sRGB, also where a profile says that the file's are not.
  A picture without opacity is opaque; a grey one has three equal colours. Of 16
  bits a channel, 65535 becomes 255.

  Raises:
    UserError: it cannot be read, is of another mode, has a side below 4 pixels
      or is turned by EXIF.
  """
  image = decoding.to_srgb(_open(path), path)
  if image.mode not in _MODES:
    raise errors.UserError(
      f"{path} has mode '{image.mode}'; expected RGB or RGBA, so convert it."
    )
  if min(image.size) < MIN_SIDE:
    raise errors.UserError(
      f'{path} has {image.width} x {image.height} pixels; expected at least '
      f'{MIN_SIDE} a side.'
    )
  return np.asarray(image.convert('RGBA'))


def read_mask(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray:
  """Reads a mask, white where the subject is, as [H, W] uint8 opacity.

  Args:
    path: a PNG or JPEG file of one channel, or of three equal ones.
    shape: H and W of the picture it belongs to.

  Raises:
    UserError: it cannot be read, has another size, or is white nowhere.
  """
  image = _open(path)
  if image.mode not in _MASK_MODES:
    raise errors.UserError(
      f"{path} has mode '{image.mode}'; expected a mask of one channel, white "
      'where the subject is.'
    )
  mask = np.asarray(image.convert('L'))
  if mask.shape != shape:
    raise errors.UserError(
      f'{path} has {mask.shape[1]} x {mask.shape[0]} pixels, but its picture '
      f'{shape[1]} x {shape[0]}; expected a mask of the same size.'
    )
  if mask.max() < 128:
    raise errors.UserError(
      f'{path} is white nowhere (its highest value is {mask.max()}); expected '
      '255 where the subject is. Mend it, or take its picture out of frames.'
    )
  return mask


def _open(path: pathlib.Path) -> Image.Image:
  """Opens and decodes a file; EXIF may say nothing of a turn."""
  image = decoding.decode(
    path, _FORMATS, ' or '.join(_FORMATS), 'convert or copy it again.'
  )
  orientation = decoding.read_orientation(image)
  if orientation != 1:
    # Nobody can tell whether the pose was measured before or after the turn.
    raise errors.UserError(
      f'{path} is to be turned by its EXIF orientation {orientation}; save it '
      'as its poses see it, without that tag.'
    )
  return decoding.to_8_bits(image, path)
