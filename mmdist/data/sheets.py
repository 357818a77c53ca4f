"""Many small pictures as one."""

import math
import os

import numpy as np
from PIL import Image

from mmdist.core import atomic


def grid(pictures: np.ndarray, columns: int = 8) -> np.ndarray:
  """Lays pictures out in rows; missing cells are white.

  Args:
    pictures: [N, H, W, 3] in [0, 1].
    columns: pictures per row.

  Returns:
    [rows * H, columns * W, 3].
  """
  pictures = np.asarray(pictures)
  count, height, width, channels = pictures.shape
  rows = math.ceil(count / columns)
  cells = np.ones((rows * columns, height, width, channels), pictures.dtype)
  cells[:count] = pictures
  cells = cells.reshape(rows, columns, height, width, channels)
  return cells.transpose(0, 2, 1, 3, 4).reshape(
    rows * height, columns * width, channels
  )


def save_grid(
  path: str | os.PathLike, pictures: np.ndarray, columns: int = 8, zoom: int = 1
) -> None:
  """Writes [N, H, W, 3] pictures in [0, 1] as one PNG.

  Args:
    path: of the PNG.
    pictures: all of one size.
    columns: pictures per row.
    zoom: whole factor by which each pixel grows.
  """
  image = (np.clip(grid(pictures, columns), 0, 1) * 255 + 0.5).astype(np.uint8)
  image = image.repeat(zoom, 0).repeat(zoom, 1)
  with atomic.replacing(path) as temporary:
    Image.fromarray(image).save(temporary, format='PNG')
