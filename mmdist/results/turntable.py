"""Moving and still pictures of an avatar: MP4, WebP and a sheet of views.

Owns layout and encoding. The pictures themselves come from
`mmdist.nerf.images.render_images`; which views a turntable has is decided by
`mmdist.cameras.orbits.turntable`.
"""

from collections.abc import Mapping, Sequence
import logging
import math
import os
import pathlib
import subprocess

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from mmdist.cameras import orbits
from mmdist.core import atomic
from mmdist.core import errors

FRAMES_PER_SECOND = 24
# A light grey, within the range of greys that the heads were trained over.
BACKGROUND = (0.85, 0.85, 0.85)
_LABEL_HEIGHT = 18
# What a sheet shows: (azimuth, elevation) in degrees.
_SHEET_ANGLES = ((0, 5), (-35, 5), (55, 5), (90, 5), (180, 5), (20, 50))
_SHEET_CLOSEUPS = ('mouth', 'eyes')


# What a folder's reader is told where there is no video.
NO_VIDEO = 'no film: imageio-ffmpeg or its program is missing'


class NoEncoderError(errors.UserError):
  """There is no ffmpeg: the package that brings one is not installed."""


def side_by_side(rgb: np.ndarray, normals: np.ndarray) -> np.ndarray:
  """Puts colour left of normals.

  Args:
    rgb: [V, H, W, 3] in [0, 1].
    normals: [V, H, W, 3] coloured (n + 1) / 2.

  Returns:
    [V, H, 2 W, 3] uint8.
  """
  return to_uint8(np.concatenate([rgb, normals], 2))


def to_uint8(images: np.ndarray) -> np.ndarray:
  """Rounds images in [0, 1] to bytes; values outside are clipped."""
  return np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)


def write_film(
  paths: Mapping[str, pathlib.Path],
  frames: np.ndarray,
  fps: int = FRAMES_PER_SECOND,
) -> dict[str, pathlib.Path]:
  """Writes frames as a video and as an animation.

  Without ffmpeg there is no video, and a line says so: what took an hour to
  optimise is not to fail for that.

  Args:
    paths: where 'video' and 'animation' are to be.
    frames: [V, H, W, 3] uint8.
    fps: frames per second.

  Returns:
    Those of `paths` that were written.
  """
  made = dict(paths)
  write_webp(paths['animation'], frames, fps)
  try:
    write_mp4(paths['video'], frames, fps)
  except NoEncoderError as error:
    logging.warning('%s', error)
    del made['video']
    # One of before would be of another avatar.
    paths['video'].unlink(missing_ok=True)
  return made


def write_mp4(
  path: str | os.PathLike, frames: np.ndarray, fps: int = FRAMES_PER_SECOND
) -> None:
  """Writes frames as H.264 video, playable in browsers.

  Args:
    path: the file to write, `*.mp4`.
    frames: [V, H, W, 3] uint8. An odd height or width gets its last row or
      column twice, because the pixel format stores colour for pairs.
    fps: frames per second.

  Raises:
    NoEncoderError: there is no imageio-ffmpeg, or no program of its.
  """
  _check_frames(frames)
  height, width = frames.shape[1:3]
  frames = np.pad(
    frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode='edge'
  )
  with atomic.replacing(path) as temporary:
    _encode_h264(temporary, frames, fps)


def _check_frames(frames: np.ndarray) -> None:
  if not len(frames):
    raise errors.UserError(
      'a turntable of 0 views; expected at least one frame '
      '(results.turntable_views).'
    )


def _encode_h264(path: os.PathLike, frames: np.ndarray, fps: int) -> None:
  """Runs ffmpeg on [V, H, W, 3] uint8 frames of even size.

  Not by `imageio_ffmpeg.write_frames`: that forks with a hook between fork and
  exec, which may deadlock beside JAX's threads.
  """
  ffmpeg = find_ffmpeg()
  size = f'{frames.shape[2]}x{frames.shape[1]}'
  raw = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', size, '-r', str(fps)]
  h264 = ['-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-crf', '18']
  finished = subprocess.run(
    [ffmpeg, '-y', '-v', 'error']
    + [*raw, '-i', '-', *h264, '-movflags', '+faststart', str(path)],
    input=np.ascontiguousarray(frames).tobytes(),
    capture_output=True,
  )
  if finished.returncode:
    reason = finished.stderr.decode(errors='replace').strip()
    raise RuntimeError(
      f'ffmpeg could not encode {len(frames)} frames of {size}: {reason}'
    )


def find_ffmpeg() -> str:
  """Returns the path of the program that encodes videos.

  Raises:
    NoEncoderError: there is no imageio-ffmpeg, or no program of its.
  """
  try:
    # Here, because all else works without it.
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
  # The second where the package was installed without its program.
  except (ModuleNotFoundError, RuntimeError) as error:
    raise NoEncoderError(
      f'{NO_VIDEO}; pip install imageio-ffmpeg, and make the results again.'
    ) from error


def can_write_video() -> bool:
  """Returns whether there is a program that encodes videos."""
  try:
    return bool(find_ffmpeg())
  except NoEncoderError:
    return False


def write_webp(
  path: str | os.PathLike, frames: np.ndarray, fps: int = FRAMES_PER_SECOND
) -> None:
  """Writes [V, H, W, 3] uint8 frames as an endlessly repeating WebP."""
  _check_frames(frames)
  first, *rest = (Image.fromarray(frame) for frame in frames)
  with atomic.replacing(path) as temporary:
    first.save(
      temporary,
      save_all=True,
      append_images=rest,
      duration=round(1000 / fps),
      loop=0,
      quality=80,
    )


def sheet_views() -> orbits.Views:
  """Returns the views of a contact sheet: all around, then close-ups."""
  azimuth, elevation = np.radians(_SHEET_ANGLES).T
  kinds = [kind for kind in orbits.ORBIT_KINDS if kind.word in _SHEET_CLOSEUPS]
  num_whole, num_close = len(azimuth), len(kinds)
  return orbits.make_views(
    np.concatenate([azimuth, np.zeros(num_close)]),
    np.concatenate([elevation, np.zeros(num_close)]),
    orbits.CAMERA_DISTANCE,
    [orbits.HEAD_TARGET] * num_whole + [kind.target for kind in kinds],
    [orbits.HEAD_HALF_HEIGHT] * num_whole + [k.half_height for k in kinds],
  )


def contact_sheet(
  rgb: np.ndarray,
  normals: np.ndarray,
  labels: Sequence[str],
  num_columns: int | None = None,
) -> Image.Image:
  """Lays out views in a table, colour above normals, each with its name.

  Args:
    rgb: [V, H, W, 3] in [0, 1].
    normals: [V, H, W, 3] coloured (n + 1) / 2.
    labels: V names.
    num_columns: views in a row of the table; all in one row by default.

  Returns:
    A picture of num_columns * W by rows * (2 H + the label's height).
  """
  if not len(rgb) == len(normals) == len(labels):
    raise errors.UserError(
      f'a sheet of {len(rgb)} colour pictures needs as many normals and '
      f'labels; got {len(normals)} and {len(labels)}.'
    )
  height, width = rgb.shape[1:3]
  num_columns = num_columns or len(rgb)
  cell_height = 2 * height + _LABEL_HEIGHT
  num_rows = math.ceil(len(rgb) / num_columns)
  sheet = Image.new(
    'RGB', (num_columns * width, num_rows * cell_height), 'white'
  )
  draw = ImageDraw.Draw(sheet)
  # A narrow picture has a small label: it must not reach into the next one's.
  font = ImageFont.load_default(min(12, max(6, width // 5)))
  stacks = to_uint8(np.concatenate([rgb, normals], 1))
  for index, (stack, label) in enumerate(zip(stacks, labels)):
    row, column = divmod(index, num_columns)
    left, top = column * width, row * cell_height
    draw.text((left + 4, top + 2), label, fill='black', font=font)
    sheet.paste(Image.fromarray(stack), (left, top + _LABEL_HEIGHT))
  return sheet


def write_sheet(
  path: str | os.PathLike,
  rgb: np.ndarray,
  normals: np.ndarray,
  labels: Sequence[str],
  num_columns: int | None = None,
) -> None:
  """Writes `contact_sheet` of the same arguments as a PNG."""
  with atomic.replacing(path) as temporary:
    contact_sheet(rgb, normals, labels, num_columns).save(temporary)
