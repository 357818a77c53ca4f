"""Normals as pictures of clay, so that the judge sees shape and no colour."""

import numpy as np

from mmdist.evaluation import agreement
from mmdist.heads import rendering as head_rendering

COLOR = np.float32([0.80, 0.57, 0.42])
LIGHT = np.float32(head_rendering.LIGHT)  # As the training pictures are lit.


def light(normals: np.ndarray) -> np.ndarray:
  """Turns coloured normals into pictures of clay, lit from the upper left.

  Args:
    normals: [N, H, W, 3] in [0, 1]; mid-grey is background.

  Returns:
    [N, H, W, 3] in [0, 1].
  """
  directions = 2 * np.asarray(normals, np.float32) - 1
  length = np.linalg.norm(directions, axis=-1, keepdims=True)
  # Between the background, of no length, and a surface, of length 1.
  surface = np.clip(2 * length - 0.5, 0, 1)
  lit = 0.35 + 0.65 * np.clip(directions @ LIGHT, 0, 1)[..., None]
  return surface * lit * COLOR + (1 - surface) * agreement.BACKGROUND
