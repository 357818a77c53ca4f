"""Where an optimisation starts: the pretrained weights and a latent code."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from mmdist.core import seeds


def start_params(
  weights: Mapping, codes: np.ndarray, start_code: str, seed: int
) -> dict:
  """Joins pretrained weights with the code of a start head (method.md N9).

  Args:
    weights: the representation's parameters without 'code'.
    codes: [num_subjects, C] of the training subjects.
    start_code: 'mean', a subject's number, or 'random': a draw from the normal
      distribution, per dimension, of the subjects' codes.
    seed: the run's; decides 'random'.

  Raises:
    ValueError: there is no such subject.
  """
  return {**weights, 'code': jnp.asarray(_code(codes, start_code, seed))}


def _code(codes: np.ndarray, start_code: str, seed: int) -> np.ndarray:
  codes = np.asarray(codes, np.float32)
  mean = codes.mean(0)
  if start_code == 'mean':
    return mean
  if start_code == 'random':
    normal = seeds.generator(seed, 0, 'start code').standard_normal(mean.shape)
    return np.float32(mean + codes.std(0) * normal)
  if start_code.isdecimal() and int(start_code) < len(codes):
    return codes[int(start_code)]
  raise ValueError(
    f"learner.start_code is '{start_code}'; expected 'mean', 'random', or a"
    f' subject from 0 to {len(codes) - 1}.'
  )
