"""A pretrained conditional NeRF as a directory.

`config.json` holds the NerfConfig; `params.safetensors` the networks, under
their paths in the pytree joined by '/', and `codes`, one row per training
subject.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any

from flax import traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import arrays
from mmdist.core import asset_paths
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import strict_json

CONFIG_NAME = 'config.json'
PARAMS_NAME = 'params.safetensors'
_CODES = 'codes'


def save(
  directory: str | os.PathLike,
  config: schema.NerfConfig,
  params: Mapping[str, Any],
  codes: arrays.Array,
) -> None:
  """Writes a directory that `load` reads; each file whole or not at all.

  Args:
    directory: made if need be.
    config: the networks' shape.
    params: the representation's parameters; a 'code' among them is left out.
    codes: [num_subjects, C].
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  weights = {name: params[name] for name in params if name != 'code'}
  tensors = {
    name: np.ascontiguousarray(value)
    for name, value in traverse_util.flatten_dict(weights, sep='/').items()
  }
  tensors[_CODES] = np.ascontiguousarray(codes)
  atomic.write_bytes(directory / PARAMS_NAME, safetensors.numpy.save(tensors))
  text = strict_json.dumps(dataclasses.asdict(config), indent=2) + '\n'
  atomic.write_text(directory / CONFIG_NAME, text)


def load(
  directory_or_name: str | os.PathLike,
) -> tuple[schema.NerfConfig, dict[str, Any], np.ndarray]:
  """Reads a pretrained conditional NeRF.

  Args:
    directory_or_name: a directory, or the name of an embedded one ('nerf').

  Returns:
    Its config, its parameters without 'code', and codes [num_subjects, C].

  Raises:
    FileNotFoundError: the directory or one of its files is not there.
    UserError: a file is damaged, or is not what `save` writes.
  """
  directory = pathlib.Path(asset_paths.resolve(os.fspath(directory_or_name)))
  for name in (CONFIG_NAME, PARAMS_NAME):
    if not (directory / name).is_file():
      raise FileNotFoundError(
        f'{directory} has no {name}, so it is no pretrained NeRF; '
        '`mmdist pretrain` makes one.'
      )
  config = _read_config(directory / CONFIG_NAME)
  tensors = _read_tensors(directory / PARAMS_NAME)
  codes = tensors.pop(_CODES, np.zeros((0, 0), np.float32))
  if codes.ndim != 2 or codes.shape[1] != config.code_size or not len(codes):
    raise errors.UserError(
      f'{directory} has codes of shape {codes.shape}; its {CONFIG_NAME} says '
      f'[num_subjects, {config.code_size}]. Do the two files belong together?'
    )
  return config, traverse_util.unflatten_dict(tensors, sep='/'), codes


def check_fits(
  directory_or_name: str | os.PathLike,
  config: schema.NerfConfig,
  params: Mapping[str, Any],
) -> None:
  """Raises UserError if parameters are not of the network of a config.

  Apart from `load`, since it takes JAX.

  Args:
    directory_or_name: where they are from.
    config: the network.
    params: without 'code', as `load` returns them.
  """
  # Here, so that files are read without JAX.
  import jax

  from mmdist.nerf import field

  network = jax.eval_shape(
    lambda: field.conditional_nerf(config).init(jax.random.key(0))
  )
  wanted, found = (
    {
      name: tuple(value.shape)
      for name, value in traverse_util.flatten_dict(tree, sep='/').items()
      if name != 'code'
    }
    for tree in (network, params)
  )
  for name in sorted(wanted.keys() | found.keys()):
    if wanted.get(name) != found.get(name):
      raise errors.UserError(
        f'{directory_or_name}: {name} is {_shown(found.get(name))} in '
        f'{PARAMS_NAME}, and {_shown(wanted.get(name))} in a network of its '
        f'{CONFIG_NAME}. Do the two files belong together?'
      )


def _shown(shape: tuple[int, ...] | None) -> str:
  return 'missing' if shape is None else f'of shape {list(shape)}'


# Fields that were added later, with what all weights before were trained with.
_OF_OLDER_WEIGHTS = {'icosahedron_subdivisions': 1}


def _read_config(path: pathlib.Path) -> schema.NerfConfig:
  try:
    data = json.loads(path.read_text('utf-8'))
    if isinstance(data, dict):
      data = _OF_OLDER_WEIGHTS | data
    config = serialization.from_dict(data, schema.NerfConfig)
  except ValueError as error:  # Bad JSON is a ValueError too.
    raise errors.UserError(f'{path} describes no NeRF: {error}') from error
  # A field that is missing must not get a default: defaults may change, and
  # then these weights would be read as another network.
  missing = dataclasses.asdict(config).keys() - data.keys()
  if missing:
    raise errors.UserError(
      f'{path} does not say {", ".join(sorted(missing))}; add what the weights '
      'were trained with.'
    )
  return config


def _read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    return safetensors.numpy.load_file(path)
  except safetensors.SafetensorError as error:
    raise errors.UserError(
      f'{path} is damaged ({error}); copy or make it again.'
    ) from error
