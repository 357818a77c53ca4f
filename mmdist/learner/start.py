"""Where an optimisation starts: the pretrained weights and a latent code."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import asset_paths
from mmdist.core import errors
from mmdist.core import seeds
from mmdist.nerf import field
from mmdist.nerf import pretrained

# Prefixes of the fields of `NerfConfig` that may differ from those of the
# pretrained network: they say how it is sampled. All others are its shape.
_SAMPLING_FIELDS = ('num_',)


def load_params(run: schema.RunConfig) -> dict:
  """Returns the parameters that a run begins from.

  Raises:
    FileNotFoundError, UserError: no such assets, or of another shape.
  """
  weights, code = _read(run)
  pretrained.check_fits(run.nerf_assets, run.nerf, weights)
  return {**weights, 'code': jnp.asarray(code)}


def check(run: schema.RunConfig) -> None:
  """Checks, without starting JAX, what `load_params` reads.

  Raises:
    FileNotFoundError, UserError: as `load_params`.
  """
  _read(run)


def _read(run: schema.RunConfig) -> tuple[Mapping, np.ndarray]:
  """Returns the pretrained weights and the code of the start head."""
  directory = _find_assets(run)
  trained, weights, codes = pretrained.load(directory)
  changed = [
    line
    for line in serialization.differences(trained, run.nerf)
    if not line.startswith(_SAMPLING_FIELDS)
  ]
  if changed:
    raise errors.UserError(
      f'the weights in {directory} are of another network than config.nerf'
      f' ({"; ".join(changed)}); give the first values as --config.nerf.FIELD.'
    )
  return weights, choose_code(codes, run.learner.start_code, run.seed)


def _find_assets(run: schema.RunConfig) -> str:
  """Returns the directory of the pretrained weights.

  Raises:
    FileNotFoundError: it is not there; says how such weights are made.
  """
  try:
    return asset_paths.resolve(run.nerf_assets)
  except FileNotFoundError as error:
    sizes = [name for name, nerf in field.PRESETS.items() if nerf == run.nerf]
    preset = sizes[0] if sizes else 'PRESET'
    raise FileNotFoundError(
      f'nerf_assets: {error} A run starts from a pretrained NeRF: give '
      '--config.nerf_assets=DIR, or make one with: mmdist pretrain '
      f'--config=pretrain:{preset} --data=FOLDER --out=DIR'
    ) from error


def choose_code(codes: np.ndarray, start_code: str, seed: int) -> np.ndarray:
  """Returns the code [C] of a start head.

  Args:
    codes: [num_subjects, C] of the training subjects.
    start_code: 'mean', a subject's number, or 'random': a draw from the normal
      distribution, per dimension, of the subjects' codes.
    seed: the run's; decides 'random'.

  Raises:
    UserError: there is no such subject.
  """
  codes = np.asarray(codes, np.float32)
  mean = codes.mean(0)
  if start_code == 'mean':
    return mean
  if start_code == 'random':
    normal = seeds.generator(seed, 0, 'start code').standard_normal(mean.shape)
    return (mean + codes.std(0) * normal).astype(np.float32)
  if start_code.isdecimal() and int(start_code) < len(codes):
    return codes[int(start_code)]
  raise errors.UserError(
    f"learner.start_code is '{start_code}'; expected 'mean', 'random', or a"
    f' subject from 0 to {len(codes) - 1}.'
  )
