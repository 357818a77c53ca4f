"""Normals as pictures of clay, so that the judge sees shape and no colour."""

import numpy as np

from mmdist.evaluation import agreement

COLOR = np.array([0.80, 0.57, 0.42], np.float32)
_TOWARDS_LIGHT = np.array([0.45, 0.65, 0.62])
LIGHT = (_TOWARDS_LIGHT / np.linalg.norm(_TOWARDS_LIGHT)).astype(np.float32)


def light(normals: np.ndarray) -> np.ndarray:
  """Turns coloured normals into pictures of clay, lit from above, +x and +z.

  Args:
    normals: [N, H, W, 3] in [0, 1]; mid-grey is background.

  Returns:
    [N, H, W, 3] in [0, 1].
  """
  directions = 2 * np.asarray(normals, np.float32) - 1
  length = np.linalg.norm(directions, axis=-1, keepdims=True)
  # Normals have length 1 on a surface and 0 in the background; what lies
  # between is an edge, and is blended.
  surface = np.clip(2 * length - 0.5, 0, 1)
  lit = 0.35 + 0.65 * np.clip(directions @ LIGHT, 0, 1)[..., None]
  return surface * lit * COLOR + (1 - surface) * agreement.BACKGROUND
