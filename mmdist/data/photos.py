"""A folder of somebody's pictures, checked, turned upright and cut square.

Every picture is looked at before any is used, so that what is wrong is told
before a weight is loaded. Which part is the subject is told by a box, by the
picture's opacity, or guessed from what differs from its border.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
from typing import Any
import warnings

import numpy as np
from PIL import Image

from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.data import decoding
from mmdist.data import file_names
from mmdist.data import photo_texts

ENDINGS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')
_FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP')
_OF_PHONES = ('.avif', '.heic', '.heif')
_RAW = (
  *('.3fr', '.arw', '.cr2', '.cr3', '.dng', '.nef', '.nrw', '.orf', '.pef'),
  *('.raf', '.raw', '.rw2', '.srw'),
)
MIN_PICTURES = 5  # As few as the paper gets by with (MagicMirror, A.2).
MIN_SIDE = 32  # Pixels; below, there is nothing to learn from.
_MARGIN = 0.12  # Around the subject, as a share of its larger side.
_DIFFERS = 24  # Of 255, from the border's median, to be the subject.

Box = tuple[int, int, int, int]  # Left, top, right, bottom, in pixels.


@dataclasses.dataclass(frozen=True)
class Photos:
  """Square pictures of one subject.

  Attributes:
    names: N file names, sorted.
    rgba: [N, H, H, 4] uint8; opaque where a picture has no opacity.
    boxes: N squares that were cut out, in pixels of the upright pictures.
    texts: N texts, what is written beside each picture; '' if nothing is.
  """

  names: tuple[str, ...]
  rgba: np.ndarray
  boxes: tuple[Box, ...]
  texts: tuple[str, ...]


def read_photos(
  folder: str | os.PathLike,
  size: int,
  boxes: Mapping[str, Sequence[int]] | None = None,
  min_pictures: int = MIN_PICTURES,
) -> Photos:
  """Reads a folder of pictures.

  Args:
    folder: files that end in one of `ENDINGS` are read, with the text beside
      each, see `photo_texts`; others are refused.
    size: H, pixels along an axis of every square.
    boxes: file name -> the subject's [left, top, right, bottom].
    min_pictures: fewer are refused.

  Raises:
    FileNotFoundError: there is no such folder.
    UserError: too few pictures, one that cannot be used, or a box that is of
      none of them or outside; names the file.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise FileNotFoundError(
      f'{folder} is not a folder; give one with pictures of the subject.'
    )
  boxes = dict(boxes or {})
  files = sorted(
    path
    for path in folder.iterdir()
    if not path.is_dir() and not file_names.is_litter(path)
  )
  paths = [path for path in files if path.suffix != photo_texts.ENDING]
  names = tuple(path.name for path in paths)
  for path in files:
    if path.suffix == photo_texts.ENDING:
      photo_texts.check_has_picture(path, names)
  for path in paths:
    _check_ending(path)
    if not path.is_file():
      raise errors.UserError(
        f'{path} is no file, or a link to one that is not there; put the '
        'picture in its place, or remove it.'
      )
  if len(paths) < min_pictures:
    raise errors.UserError(
      f'{folder} has {len(paths)} picture(s); expected {min_pictures} or more '
      'of one subject, as different as they come.'
    )
  unknown = sorted(set(boxes) - set(names))
  if unknown:
    raise errors.UserError(
      f'there is a box for {unknown[0]}, which is not in {folder}.'
    )
  rgba = np.empty((len(paths), size, size, 4), np.uint8)
  squares: list[Box] = []
  for number, path in enumerate(paths):
    rgba[number], square = _read_square(path, boxes.get(path.name), size)
    squares.append(square)
  return Photos(names, rgba, tuple(squares), photo_texts.read(folder, names))


def _read_square(
  path: pathlib.Path, box: Sequence[int] | None, size: int
) -> tuple[np.ndarray, Box]:
  """Returns the subject's square, [size, size, 4], and where it was.

  Nothing else is kept of a picture. There may be hundreds, of 100 MB each.
  """
  picture = _open(path)
  square = _square(path, picture, box)
  small = _cut(picture, square).resize((size, size), Image.Resampling.LANCZOS)
  return np.asarray(small), square


def read_boxes(path: str | os.PathLike) -> dict[str, list[int]]:
  """Reads boxes from JSON: {"a.jpg": [left, top, right, bottom], ...}.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise FileNotFoundError(f'{path} is not a file; expected boxes in JSON.')
  try:
    boxes = strict_json.read(path)
  except ValueError as error:
    raise errors.UserError(f'{path} {error}.') from error
  if not isinstance(boxes, dict) or not all(map(_is_box, boxes.values())):
    raise errors.UserError(
      f'{path} holds no boxes; expected '
      '{"a.jpg": [left, top, right, bottom], ...} in pixels.'
    )
  return boxes


def _is_box(value: Any) -> bool:
  return (
    isinstance(value, list)
    and len(value) == 4
    and all(isinstance(number, int) for number in value)
  )


def _check_ending(path: pathlib.Path) -> None:
  ending = path.suffix.lower()
  kind = ending[1:].upper().replace('HEIF', 'HEIC')
  if ending in _RAW:
    kind = f'a RAW file of a camera ({ending})'
  if ending in _RAW or ending in _OF_PHONES:
    raise errors.UserError(
      f'{path} is {kind}, which is not read here; export it as JPEG or PNG.'
    )
  if ending not in ENDINGS:
    raise errors.UserError(
      f'{path} is no picture that is read here; expected {", ".join(ENDINGS)}, '
      'so export it as JPEG or PNG, or move it away.'
    )


def _open(path: pathlib.Path) -> Image.Image:
  """Opens a picture as RGBA of sRGB, upright as its camera was held."""
  with warnings.catch_warnings():
    # What else EXIF says is not used, and often broken.
    warnings.filterwarnings('ignore', module=r'PIL\.TiffImagePlugin')
    picture = decoding.decode(
      path, _FORMATS, 'a picture', 'remove it, or save it again.'
    )
  picture = decoding.to_8_bits(picture, path)
  if min(picture.size) < MIN_SIDE:
    raise errors.UserError(
      f'{path} is {picture.width} x {picture.height} pixels; expected '
      f'{MIN_SIDE} or more along each side.'
    )
  orientation = decoding.read_orientation(picture)
  picture = decoding.to_srgb(picture, path)
  return decoding.turn_upright(picture.convert('RGBA'), orientation)


def _square(
  path: pathlib.Path, picture: Image.Image, box: Sequence[int] | None
) -> Box:
  """Returns the square to cut: around the box, or around what was found."""
  width, height = picture.size
  if box is not None:
    left, top, right, bottom = box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
      raise errors.UserError(
        f'the box {list(box)} of {path.name} is not inside its {width} x '
        f'{height} pixels (left, top, right, bottom).'
      )
    return _squared(box, picture.size, margin=0.0)
  found = find_subject(np.asarray(picture))
  return _squared(found, picture.size, _MARGIN)


def find_subject(rgba: np.ndarray) -> Box:
  """Returns a box around what is opaque, or else unlike the border.

  Where nothing stands out, as on a cluttered background, it is the whole
  picture.

  Args:
    rgba: [H, W, 4] uint8.
  """
  height, width = rgba.shape[:2]
  if (rgba[..., 3] < 128).mean() > 0.01:
    inside = rgba[..., 3] >= 128
  else:
    rim = max(1, min(height, width) // 50)
    border = np.concatenate(
      [
        rgba[:rim, :, :3].reshape(-1, 3),
        rgba[:, :rim, :3].reshape(-1, 3),
        rgba[:, -rim:, :3].reshape(-1, 3),
      ]
    )
    ground = np.median(border, axis=0)
    # Channel by channel: differences of a whole photo would take a gigabyte.
    inside = np.zeros((height, width), bool)
    for channel, middle in enumerate(ground):
      inside |= rgba[..., channel] > middle + _DIFFERS
      inside |= rgba[..., channel] < middle - _DIFFERS
    # Where the border is not of one colour, the background is cluttered, and
    # the subject cannot be told from it: take the whole picture.
    if (np.abs(border - ground).max(-1) > _DIFFERS).mean() > 0.25:
      inside = np.ones((height, width), bool)
  rows, columns = (np.flatnonzero(inside.mean(axis) > 0.01) for axis in (1, 0))
  if not len(rows) or not len(columns):
    return 0, 0, width, height
  return (
    int(columns[0]),
    int(rows[0]),
    int(columns[-1]) + 1,
    int(rows[-1]) + 1,
  )


def _squared(box: Sequence[int], size: tuple[int, int], margin: float) -> Box:
  """Returns the square around a box, moved inside where it fits.

  A square larger than the picture's shorter side sticks out of it; `_cut` fills
  what is missing.
  """
  left, top, right, bottom = box
  side = round(max(right - left, bottom - top) * (1 + 2 * margin))
  side = min(side, max(size))
  corner = []
  for low, high, whole in ((left, right, size[0]), (top, bottom, size[1])):
    start = round((low + high - side) / 2)
    if side <= whole:
      start = min(max(start, 0), whole - side)
    else:
      start = (whole - side) // 2
    corner.append(start)
  return corner[0], corner[1], corner[0] + side, corner[1] + side


def _cut(picture: Image.Image, square: Box) -> Image.Image:
  """Cuts a square; what it lacks repeats the picture's edge."""
  left, top, right, bottom = square
  pads = (
    (max(0, -top), max(0, bottom - picture.height)),
    (max(0, -left), max(0, right - picture.width)),
    (0, 0),
  )
  if not any(map(any, pads)):
    return picture.crop(square)
  padded = np.pad(np.asarray(picture), pads, mode='edge')
  left, top = left + pads[1][0], top + pads[0][0]
  side = right - square[0]
  return Image.fromarray(padded).crop((left, top, left + side, top + side))
