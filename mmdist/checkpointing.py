"""Checkpoints of a run: all of a step, or all of an older one.

One checkpoint is the learner's state, every proxy with its optimiser, and the
run's identity. Orbax writes a step completely or not at all, but restores a
flipped bit without a word; so a hash over all arrays is kept beside them, and
a step that does not answer to it is moved aside for the one before.
"""

from collections.abc import Mapping
import hashlib
import importlib.metadata
import logging
import os
import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

import mmdist
from mmdist.core import config as config_lib
from mmdist.core import config_io
from mmdist.core import messages

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'torch', 'peft')


class CheckpointStore:
  """The checkpoints of one run, in `workdir/checkpoints`; a context manager.

  Args:
    workdir: the run's folder, claimed.
    run: its configuration.
  """

  def __init__(self, workdir: str | os.PathLike, run: config_lib.RunConfig):
    self._run = run
    self._directory = pathlib.Path(workdir).resolve() / 'checkpoints'
    keep = checkpoint_managers.LatestN(run.checkpoints.keep)
    self._manager = ocp.CheckpointManager(
      self._directory,
      # Named here, or Orbax warns of each before it has met them.
      item_handlers={
        'arrays': ocp.StandardCheckpointHandler(),
        'identity': ocp.JsonCheckpointHandler(),
      },
      options=ocp.CheckpointManagerOptions(preservation_policy=keep),
    )

  def __enter__(self) -> 'CheckpointStore':
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Waits until the last save is on the disk."""
    self._manager.close()

  def restore_or_init(self, state, executor):
    """Returns the newest sound checkpoint's state, or `state` if none is.

    The executor's proxies are set to the same step. A checkpoint that is not
    sound is moved to `workdir/checkpoints.damaged/`.

    Args:
      state: the state at step 0; says structure, shapes and placement.
      executor: has `restore_proxies`.

    Raises:
      ValueError: the checkpoint is sound but of other parameters.
    """
    for step, arrays in self._newest_first():
      if arrays is None:
        self._move_aside(step)
        continue
      executor.restore_proxies(_proxies_from(arrays))
      return _restore_tree(arrays, state, 'learner', step)
    return state

  def read_params(self, params) -> tuple[int, Any]:
    """Returns the newest sound step and its parameters; changes nothing.

    Args:
      params: says the structure and the shapes.

    Raises:
      FileNotFoundError: there is no sound checkpoint.
      ValueError: it is of other parameters.
    """
    for step, arrays in self._newest_first():
      if arrays is not None:
        return step, _restore_tree(arrays, params, 'learner/params', step)
    raise FileNotFoundError(
      f'{self._directory} holds no checkpoint that can be read.'
    )

  def maybe_save(self, state, executor) -> bool:
    """Saves every `checkpoints.every` steps and at the end of the run.

    Writing goes on in the background. Returns whether it saved.
    """
    step, every = int(state.step), self._run.checkpoints.every
    if step != self._run.num_steps and (not every or step % every):
      return False
    arrays = _flatten_state(state) | _flatten_proxies(executor.save_proxies())
    saved = self._manager.save(
      step,
      args=ocp.args.Composite(
        arrays=ocp.args.StandardSave(arrays),
        identity=ocp.args.JsonSave(_identity(self._run)),
      ),
      custom_metadata={'sha256': hash_arrays(arrays)},
    )
    if not saved:  # Orbax says no more than False.
      raise RuntimeError(
        f'step {step} was not saved in {self._directory}, which holds'
        f' {sorted(self._manager.all_steps())}; was another run started there?'
      )
    return True

  def _newest_first(self):
    """Yields (step, arrays), or (step, None) for a damaged checkpoint."""
    for step in sorted(self._manager.all_steps(), reverse=True):
      yield step, self._read(step)

  def _read(self, step: int) -> dict[str, np.ndarray] | None:
    """Returns the arrays of a step, or None if they are damaged."""
    args = ocp.args.Composite(
      arrays=ocp.args.StandardRestore(), identity=ocp.args.JsonRestore()
    )
    try:
      expected = self._manager.metadata(step).custom_metadata['sha256']
      restored = self._manager.restore(step, args=args)
    # What a damaged file raises depends on which file and where.
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
      reason = str(error).strip().splitlines()[:1]
      logging.warning('checkpoint %d cannot be read: %s', step, *reason)
      return None
    if hash_arrays(restored.arrays) != expected:
      logging.warning('checkpoint %d does not answer to its hash', step)
      return None
    _warn_of_versions(restored.identity)
    return restored.arrays

  def _move_aside(self, step: int) -> None:
    damaged = self._directory.with_name('checkpoints.damaged')
    damaged.mkdir(exist_ok=True)
    name = str(step)
    while (damaged / name).exists():
      name += '+'
    # Else Orbax would count it as newer than what the run saves next.
    os.rename(self._directory / str(step), damaged / name)
    self._manager.reload()


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
  """Returns a sha256 over names, shapes, dtypes and bytes."""
  digest = hashlib.sha256()
  for name in sorted(arrays):
    array = np.asarray(arrays[name])
    digest.update(repr((name, array.shape, array.dtype.str)).encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()


def _flatten_state(state) -> dict[str, np.ndarray]:
  leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
  return {_name(path, 'learner'): np.asarray(leaf) for path, leaf in leaves}


def _name(path, prefix: str) -> str:
  return f'{prefix}/{jax.tree_util.keystr(path, simple=True, separator="/")}'


def _restore_tree(arrays, tree, prefix: str, step: int):
  """Puts restored arrays in the structure and on the devices of `tree`."""

  def place(path, leaf):
    name = _name(path, prefix)
    array = arrays.get(name)
    found = 'nothing' if array is None else f'{array.dtype} {array.shape}'
    if found != f'{leaf.dtype} {leaf.shape}':
      raise ValueError(
        f'checkpoint {step} has {found} for {name}; expected {leaf.dtype}'
        f' {leaf.shape}. Were the NeRF assets replaced? Start again in a new'
        ' --workdir.'
      )
    return jax.device_put(array, leaf.sharding)

  return jax.tree_util.tree_map_with_path(place, tree)


def _flatten_proxies(
  proxies: Mapping[str, messages.ProxyState],
) -> dict[str, np.ndarray]:
  arrays = {}
  for name, proxy in proxies.items():
    # A 0-d array: Orbax saves a numpy scalar but cannot restore it.
    arrays[f'proxies/{name}/step'] = np.asarray(proxy.step)
    for key, array in proxy.arrays.items():
      arrays[f'proxies/{name}/arrays/{key}'] = np.asarray(array)
  return arrays


def _proxies_from(
  arrays: Mapping[str, np.ndarray],
) -> dict[str, messages.ProxyState]:
  steps, contents = {}, {}
  for path, array in arrays.items():
    room, name, *rest = path.split('/', 3)
    if room == 'proxies' and rest[0] == 'step':
      steps[name] = int(array)
    elif room == 'proxies':
      contents.setdefault(name, {})[rest[1]] = array
  return {
    name: messages.ProxyState(step, contents.get(name, {}))
    for name, step in steps.items()
  }


def _identity(run: config_lib.RunConfig) -> dict:
  return {'config': config_io.to_dict(run), 'versions': _versions()}


def _versions() -> dict[str, str]:
  """Returns the versions of what decides the bits."""
  versions = {'mmdist': mmdist.__version__}
  for name in _PACKAGES:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      versions[name] = 'absent'
  return versions


def _warn_of_versions(identity: Mapping) -> None:
  """Says which versions changed: then the last bits may, too."""
  now = config_io.differences(identity['versions'], _versions())
  if now:
    logging.warning(
      'resuming with other versions, so not bit for bit: %s', '; '.join(now)
    )
