"""Pictures decoded as their makers meant them: whole, upright, in sRGB.

Owns what a file says besides its pixels: how the camera was held (EXIF), and
what its numbers mean as colours (an ICC profile). Which files are taken belongs
to `photos` and `picture_files`.
"""

import functools
import io
import pathlib
import re
import struct
import warnings

import numpy as np
from PIL import Image
from PIL import ImageCms

from mmdist.core import errors
from mmdist.core import model_files

_PNG_START = b'\x89PNG\r\n\x1a\n'
_PNG_DEPTH_AT = 24  # Signature, length, 'IHDR', width, height, then the depth.
_ORIENTATION = 0x0112  # The tag of EXIF.
_ORIENTATION_OF_XMP = re.compile(r'tiff:Orientation(?:="|>)([1-8])\b')
# How a picture is turned upright, by its orientation; 1 is upright.
_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
_TYPES = {1: 'B', 3: 'H', 4: 'I'}  # Of whole numbers in EXIF.
# Brands of the container that HEIC, AVIF and some RAW files are.
_BRANDS = {
  b'avif': 'AVIF',
  b'avis': 'AVIF',
  b'crx ': 'a RAW file of a camera',
  b'heic': 'HEIC',
  b'heix': 'HEIC',
  b'hevc': 'HEIC',
  b'mif1': 'HEIC',
  b'msf1': 'HEIC',
}
# Else a transform remembers its last colour, for which threads would wait.
_NO_CACHE = ImageCms.Flags.NOCACHE


def decode(
  path: pathlib.Path, formats: tuple[str, ...], expected: str, remedy: str
) -> Image.Image:
  """Decodes the only picture of a file, as it is stored.

  Args:
    path: the file.
    formats: Pillow's names of those that are taken, whatever a file is called.
      No others: some run programs, such as Ghostscript for EPS.
    expected: what a file that cannot be read should have been, for the error.
    remedy: what to do with it.

  Raises:
    UserError: it cannot be read, or holds an animation.
  """
  try:
    with Image.open(path, formats=formats) as image:
      # A JPEG may hold a second picture too: phones keep brightness there.
      count = getattr(image, 'n_frames', 1)
      if image.format in ('PNG', 'WEBP') and count > 1:
        raise errors.UserError(
          f'{path} is an animation of {count} pictures; save the one that is '
          'meant as JPEG or PNG.'
        )
      image.load()
  except errors.UserError:
    raise
  except Image.DecompressionBombError as error:
    raise errors.UserError(
      f'{path} has more pixels than any camera makes '
      f'({model_files.first_line(error)}); save it smaller.'
    ) from error
  except (
    OSError,
    SyntaxError,  # Pillow's word for a broken PNG.
    ValueError,
    EOFError,
    struct.error,
  ) as error:
    raise errors.UserError(
      f'{path} cannot be read as {expected} ({_why(path, error)}); {remedy}'
    ) from error
  return image


def to_8_bits(image: Image.Image, path: pathlib.Path) -> Image.Image:
  """Returns a picture of 8 bits a channel; of 16 bits 65535 becomes 255.

  Grey ones are rounded. Of all others Pillow has kept the upper 8 bits, so
  that a colour is less than one of 255 off.

  Args:
    image: loaded.
    path: its file.

  Raises:
    UserError: one colour of 16 bits is named as clear, which Pillow then would
      not find.
  """
  clear = image.info.get('transparency')
  if not image.mode.startswith('I;16'):
    if isinstance(clear, tuple) and is_deep(path):
      raise errors.UserError(
        f'{path} has 16 bits a channel and names one of its colours as clear; '
        'save it with an alpha channel, or with 8 bits.'
      )
    return image
  numbers = np.asarray(image)
  # In whole numbers the nearest to 255 / 65535 of each.
  nearest = (numbers.astype(np.uint32) + 128) // 257
  grey = Image.fromarray(nearest.astype(np.uint8))
  if clear is not None:
    opacity = Image.fromarray(255 * (numbers != clear).astype(np.uint8))
    grey = Image.merge('LA', (grey, opacity))
  # What it says besides its pixels still counts.
  grey.info = {k: v for k, v in image.info.items() if k != 'transparency'}
  return grey


def is_deep(path: pathlib.Path) -> bool:
  """Returns whether a file is a PNG of 16 bits a channel.

  Pillow reads one in colour as if it were of 8 bits.
  """
  with open(path, 'rb') as file:
    start = file.read(_PNG_DEPTH_AT + 1)
  return start.startswith(_PNG_START) and start[_PNG_DEPTH_AT] == 16


def _why(path: pathlib.Path, error: Exception) -> str:
  try:
    with open(path, 'rb') as file:
      start = file.read(12)
  except OSError:
    return model_files.first_line(error)
  if not start:
    return 'it is empty, of 0 bytes'
  if start == b'version http':
    return 'it is a pointer of Git LFS, so fetch what it stands for'
  if start[4:8] == b'ftyp' and start[8:] in _BRANDS:
    return f'it is {_BRANDS[start[8:]]}, whatever it is called'
  return model_files.first_line(error)


def read_orientation(image: Image.Image) -> int:
  """Returns how a picture has to be turned, 1 (not at all) to 8, as EXIF says.

  What is no such number is taken as 1, as viewers do. Only this tag is read:
  the others are often broken, and Pillow fails at some of them.

  Args:
    image: loaded.
  """
  found = _orientation_of_exif(_exif_of(image))
  if found is None:
    xmp = image.info.get('xmp') or image.info.get('XML:com.adobe.xmp') or ''
    text = xmp.decode('utf-8', 'replace') if isinstance(xmp, bytes) else xmp
    match = _ORIENTATION_OF_XMP.search(str(text))
    found = int(match[1]) if match else None
  return found if found in _TURNS else 1


def _exif_of(image: Image.Image) -> bytes:
  data = image.info.get('exif')
  hexadecimal = image.info.get('Raw profile type exif')  # Of ImageMagick.
  if not data and isinstance(hexadecimal, str):
    try:
      data = bytes.fromhex(''.join(hexadecimal.split('\n')[3:]))
    except ValueError:
      data = b''
  return data.removeprefix(b'Exif\0\0') if isinstance(data, bytes) else b''


def _orientation_of_exif(data: bytes) -> int | None:
  """Returns the number in the first directory of TIFF; None if there is none.

  Source: TIFF 6.0, section 2.
  """
  order = {b'II': '<', b'MM': '>'}.get(data[:2])
  if order is None:
    return None
  try:
    (start,) = struct.unpack_from(f'{order}I', data, 4)
    (count,) = struct.unpack_from(f'{order}H', data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
      tag, kind, number = struct.unpack_from(f'{order}HHI', data, at)
      if tag == _ORIENTATION and kind in _TYPES and number:
        return struct.unpack_from(f'{order}{_TYPES[kind]}', data, at + 8)[0]
  except struct.error:  # It is cut off.
    pass
  return None


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
  """Returns a picture as its camera was held; see `read_orientation`."""
  if orientation not in _TURNS:
    return image
  return image.transpose(_TURNS[orientation])


def to_srgb(image: Image.Image, path: pathlib.Path) -> Image.Image:
  """Returns a picture whose numbers are colours of sRGB.

  Phones photograph in Display P3 and cameras in Adobe RGB. Without a profile
  numbers are taken for sRGB, as browsers do; so they are, with a warning, where
  the profile is broken or of other colours than the picture.

  Args:
    image: of 8 bits a channel, loaded.
    path: its file, for the warning.
  """
  data = image.info.get('icc_profile')
  if not data:
    return image
  transform, space = _transform(data)
  colours = _in_space(image, space)
  if transform is None or colours is None:
    why = 'cannot be read'
    if transform is not None:
      why = f'is of {space} and not of its mode {image.mode}'
    warnings.warn(
      f'the colour profile of {path} {why}; its colours are taken as if it had '
      'none.',
      stacklevel=2,
    )
    return image
  converted = ImageCms.applyTransform(colours, transform)
  if converted is None:  # Only in place.
    return image
  if image.has_transparency_data:
    converted.putalpha(image.convert('RGBA').getchannel('A'))
  return converted


def _in_space(image: Image.Image, space: str) -> Image.Image | None:
  """Returns a picture in the mode of a profile's colours, without opacity."""
  if space == 'CMYK':
    return image if image.mode == 'CMYK' else None
  if space == 'GRAY':
    return image.convert('L') if image.mode in ('1', 'L', 'LA') else None
  if space != 'RGB' or image.mode == 'CMYK':
    return None
  # A palette's opacity is lost on the way, without a warning.
  image = image.convert('RGBA') if image.mode == 'P' else image
  return image.convert('RGB')


# The pictures of a camera have the same profile.
@functools.lru_cache(maxsize=16)
def _transform(data: bytes) -> tuple[ImageCms.ImageCmsTransform | None, str]:
  """Returns what turns a profile's colours into sRGB, and which they are."""
  try:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    space = profile.profile.xcolor_space.strip()
    mode = 'L' if space == 'GRAY' else space
    if mode not in ('L', 'RGB', 'CMYK'):
      return None, space
    transform = ImageCms.buildTransform(
      profile, ImageCms.createProfile('sRGB'), mode, 'RGB', flags=_NO_CACHE
    )
  # The last: a Pillow that was built without LittleCMS.
  except (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError):
    return None, ''
  return transform, space
