"""A pretraining in one file: state, data stream and configuration.

One file is replaced as one, so that a training that is killed at any moment
goes on from its last checkpoint.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from mmdist.config import serialization
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import strict_json

# Fields that say where a training runs. Batches are the same on any number of
# devices and wherever pictures lie, and their gradients differ in their last
# bits.
_WHERE = ('num_devices', 'num_hosts', 'pixels')


def save(
  path: pathlib.Path, state: Any, stream_state: Mapping[str, Any], config: Any
) -> None:
  """Writes a checkpoint over the last one.

  Args:
    path: the file.
    state: a pytree of arrays.
    stream_state: what JSON can hold: where the data stream is.
    config: a dataclass; `load` insists on an equal one, but for where it runs.
  """
  leaves, _ = jax.tree.flatten_with_path(jax.device_get(state))
  tensors = {
    jax.tree_util.keystr(where): np.array(leaf) for where, leaf in leaves
  }
  metadata = {
    'stream': strict_json.dumps(stream_state),
    'config': strict_json.dumps(serialization.to_dict(config)),
  }
  atomic.write_bytes(path, safetensors.numpy.save(tensors, metadata))


def load(
  path: pathlib.Path, like: Any, config: Any
) -> tuple[Any, dict[str, Any]]:
  """Reads a checkpoint.

  Args:
    path: the file.
    like: a state of the same structure, e.g. the initial one.
    config: what this training is to be.

  Returns:
    The state, and the data stream's state.

  Raises:
    UserError: the file is damaged, or another configuration wrote it.
  """
  try:
    with safetensors.safe_open(path, 'numpy') as file:
      metadata = file.metadata()
      tensors = {name: file.get_tensor(name) for name in file.keys()}
  except safetensors.SafetensorError as error:
    raise errors.UserError(
      f'{path} is damaged ({error}); remove it to start anew.'
    ) from error
  _check_config(path, json.loads(metadata['config']), config)
  leaves, structure = jax.tree.flatten_with_path(like)
  names = [jax.tree_util.keystr(where) for where, _ in leaves]
  shapes = {n: leaf.shape for n, (_, leaf) in zip(names, leaves)}
  if shapes != {name: tensor.shape for name, tensor in tensors.items()}:
    raise errors.UserError(
      f'{path} holds arrays of other shapes than this training has (another '
      'number of subjects?); give another --out.'
    )
  state = jax.tree.unflatten(structure, [tensors[name] for name in names])
  return state, json.loads(metadata['stream'])


def _check_config(
  path: pathlib.Path, stored: Mapping[str, Any], config: Any
) -> None:
  wanted = json.loads(strict_json.dumps(serialization.to_dict(config)))
  # A field that came later than the file: there was nothing but its default.
  later = serialization.to_dict(type(config)())
  changed = sorted(
    name
    for name in wanted
    if name not in _WHERE and wanted[name] != stored.get(name, later[name])
  )
  if changed:
    raise errors.UserError(
      f'{path} was trained with another {", ".join(changed)}; give the same '
      'configuration, or another --out.'
    )
