"""One step of learner and proxies as named arrays, and their hashes.

Owns the names that arrays have in a checkpoint, the hashes over them, and the
fingerprint of what their last bits depend on. Files are `checkpointing`'s.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import importlib.metadata
import os
import pathlib
import platform
import re
from typing import Any

import jax
import numpy as np

from mmdist.core import cores
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import strict_json
from mmdist.core import version

_PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'torch', 'peft')


@dataclasses.dataclass(frozen=True)
class Snapshot:
  """Everything that one step has changed.

  Attributes:
    state: the learner's `TrainState`.
    proxies: by prior, of the same step.
  """

  state: Any
  proxies: Mapping[str, messages.ProxyState]

  @property
  def step(self) -> int:
    """The learner's step."""
    return int(self.state.step)


def check_complete(snapshot: Snapshot) -> None:
  """Raises UserError unless every proxy is of the learner's step."""
  fits = snapshot.step - int(snapshot.state.rejected)
  behind = {n: p.step for n, p in snapshot.proxies.items() if p.step != fits}
  if behind:
    raise errors.UserError(
      f'step {snapshot.step} has {fits} fits behind every proxy, but '
      f'{", ".join(f"{name} has {n}" for name, n in behind.items())}; a '
      'checkpoint is of one step.'
    )


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
  """Returns a sha256 over names, shapes, dtypes and bytes."""
  digest = hashlib.sha256()
  for name in sorted(arrays):
    array = np.asarray(arrays[name])
    digest.update(repr((name, array.shape, array.dtype.str)).encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()


def seal_of(arrays: Mapping[str, np.ndarray], identity: Mapping) -> str:
  """Returns one sha256 over the arrays and the run's identity."""
  known = strict_json.dumps(identity, sort_keys=True)
  return hashlib.sha256((hash_arrays(arrays) + known).encode()).hexdigest()


def flatten_tree(tree: Any, prefix: str) -> dict[str, np.ndarray]:
  """Returns a tree's leaves as 'prefix/path' -> array."""
  leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
  return {_name(path, prefix): np.asarray(leaf) for path, leaf in leaves}


def _name(path: Any, prefix: str) -> str:
  return f'{prefix}/{jax.tree_util.keystr(path, simple=True, separator="/")}'


def restore_tree(
  arrays: Mapping[str, np.ndarray], tree: Any, prefix: str, step: int
) -> Any:
  """Puts restored arrays in the structure and on the devices of `tree`.

  Args:
    arrays: name -> array, as `flatten_tree` names them.
    tree: says structure, shapes, dtypes and placement.
    prefix: that the names begin with.
    step: of the checkpoint, for the error.

  Raises:
    UserError: an array is missing, or of another shape or dtype.
  """

  def place(path: Any, leaf: jax.Array) -> jax.Array:
    name = _name(path, prefix)
    array = arrays.get(name)
    found = 'nothing' if array is None else f'{array.dtype} {array.shape}'
    if found != f'{leaf.dtype} {leaf.shape}':
      raise errors.UserError(
        f'checkpoint {step} has {found} for {name}; expected {leaf.dtype}'
        f' {leaf.shape}. Were the NeRF assets replaced? Start again in a new'
        ' --workdir.'
      )
    return jax.device_put(array, leaf.sharding)

  return jax.tree_util.tree_map_with_path(place, tree)


def flatten_proxies(
  proxies: Mapping[str, messages.ProxyState],
) -> dict[str, np.ndarray]:
  """Returns every proxy's arrays as 'proxies/NAME/...' -> array."""
  arrays = {}
  for name, proxy in proxies.items():
    # A 0-d array: Orbax saves a numpy scalar but cannot restore it.
    arrays[f'proxies/{name}/step'] = np.asarray(proxy.step)
    for key, array in proxy.arrays.items():
      arrays[f'proxies/{name}/arrays/{key}'] = np.asarray(array)
  return arrays


def proxies_from(
  arrays: Mapping[str, np.ndarray],
) -> dict[str, messages.ProxyState]:
  """Undoes `flatten_proxies`; what is not of a proxy is left out."""
  steps: dict[str, int] = {}
  contents: dict[str, dict[str, np.ndarray]] = {}
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


# By these, kernels are chosen: of the BLAS, of XLA and of torch, whose priors
# take another dtype by default where bfloat16 is not among them.
_INSTRUCTIONS = ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16', 'bf16', 'sve')


def _instructions() -> list[str]:
  """Returns which of `_INSTRUCTIONS` this processor has, as far as known."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text('utf-8', 'replace')
  except OSError:  # Another system.
    return []
  found = re.search(r'^(?:flags|Features)\s*:(.*)$', lines, re.MULTILINE)
  known = set(found[1].split()) if found else set()
  return [name for name in _INSTRUCTIONS if name in known]


def _xla_flags(platform_name: str) -> str:
  """Returns XLA's flags, without those of GPUs where there is none."""
  flags = os.environ.get('XLA_FLAGS', '').split()
  if platform_name != 'gpu':
    flags = [flag for flag in flags if not flag.startswith('--xla_gpu')]
  return ' '.join(flags)


def fingerprint() -> dict[str, str]:
  """Returns the versions and the machine that decide the last bits.

  A run resumes bit for bit where all of this is the same: the number of cores
  and devices changes the order of sums.
  """
  devices = jax.local_devices()
  known = {
    'mmdist': version.VERSION,
    'python': platform.python_version(),
    'machine': platform.machine(),
    'instructions': ' '.join(_instructions()),
    'cores': str(cores.count()),
    'threads': os.environ.get('OMP_NUM_THREADS', 'unset'),
    'xla_flags': _xla_flags(devices[0].platform),
    'devices': f'{len(devices)} x {devices[0].device_kind}',
    'processes': str(jax.process_count()),
  }
  for name in _PACKAGES:
    try:
      known[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      known[name] = 'absent'
  return known
