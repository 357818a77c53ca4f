"""Arithmetic of arrays of vectors."""

import numpy as np


def unit(vectors: np.ndarray, smallest: float = 1e-12) -> np.ndarray:
  """Returns vectors of length 1.

  Args:
    vectors: [..., 3].
    smallest: what a shorter one is divided by, so that zero stays zero.
  """
  length = np.linalg.norm(vectors, axis=-1, keepdims=True)
  unit_vectors: np.ndarray = vectors / np.maximum(length, smallest)
  return unit_vectors
