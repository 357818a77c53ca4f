"""Where arrays live: one dataclass owns all sharding.

Learner and pictures are data-parallel over chunks of rays, which are dealt out
over all devices. Parameters and what the optimiser keeps of them are on every
device, or split over the devices of the axis 'model' and put together for each
pass. The mesh may span several processes, the hosts of a learner. Everything
that is sharded goes through `Layout`; no other file names a mesh axis.
"""

import collections
from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any, TypeVar

import jax
from jax import flatten_util
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from mmdist.core import errors

AXES = ('data', 'model')

_Tree = TypeVar('_Tree')  # Any pytree of arrays.


@dataclasses.dataclass(frozen=True)
class Layout:
  """A mesh of devices.

  Attributes:
    mesh: of the axes 'data' and 'model'. Chunks of rays are dealt out over
      both, parameters are split over 'model'.
  """

  mesh: Mesh

  @property
  def num_devices(self) -> int:
    return self.mesh.size

  @property
  def num_shards(self) -> int:
    """In how many parts parameters are split; 1 leaves them whole."""
    return int(self.mesh.shape['model'])

  @property
  def num_hosts(self) -> int:
    """How many processes have devices of it."""
    return len({device.process_index for device in self.mesh.devices.flat})

  @property
  def platform(self) -> str:
    """'cpu', 'gpu' or 'tpu'."""
    device: jax.Device = self.mesh.devices.flat[0]
    return device.platform

  def replicate(self, tree: _Tree) -> _Tree:
    """Puts a copy of every leaf on every device.

    Args:
      tree: of arrays that every process of the mesh has alike.
    """
    return self._put(tree, lambda leaf: PartitionSpec())

  def split(self, tree: _Tree) -> _Tree:
    """Puts every leaf where `keep_split` has it.

    Args:
      tree: of arrays that every process of the mesh has alike.
    """
    return self._put(tree, self._spec)

  def keep_split(self, tree: _Tree) -> _Tree:
    """Has a tree come out of `jax.jit` in parts, where parameters are split.

    A leaf is split along its longest axis that the parts divide; one that has
    none, such as a count, is whole on every device.
    """
    if self.num_shards == 1:
      return tree
    return jax.tree.map(
      lambda leaf: jax.lax.with_sharding_constraint(
        leaf, NamedSharding(self.mesh, self._spec(leaf))
      ),
      tree,
    )

  def join(self, tree: _Tree) -> _Tree:
    """Puts what was split together again, on every device.

    All processes of the mesh have to call it.
    """
    if self.num_shards == 1:
      return tree
    return _join(self, tree)

  def local(self, tree: _Tree) -> _Tree:
    """Returns this process's copy of whole leaves, as it reads them alone.

    Of one process that is the tree itself; of several, the copy on its first
    device.
    """
    if self.num_hosts == 1:
      return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)

  def compute_alike(self, tree: _Tree) -> _Tree:
    """Has every device compute all of a tree, under `jax.jit`.

    Else each would compute its own part of it. XLA compiles a part otherwise
    than the whole, and the last bits would follow from the number of devices.
    """
    everywhere = NamedSharding(self.mesh, PartitionSpec())
    return jax.lax.with_sharding_constraint(tree, everywhere)

  def share(self, tree: _Tree) -> _Tree:
    """Gives every process of the mesh all of a result, under `jax.jit`.

    Within one process any sharding can be read, so nothing is moved there.
    """
    return tree if self.num_hosts == 1 else self.compute_alike(tree)

  def vary(self, tree: _Tree) -> _Tree:
    """Marks replicated values as each device's own, inside `map_chunks`."""
    return jax.lax.pcast(tree, AXES, to='varying')

  def map_chunks(self, function: Callable, *, sums: bool) -> Callable:
    """Runs `function(replicated, chunks)` on every device's own chunks.

    Args:
      function: takes a replicated pytree and a pytree of [num_chunks, ...].
      sums: whether its results are summed over the devices and replicated;
        otherwise they keep the leading axis and are joined along it.

    Returns:
      A function of the same arguments, to be called under `jax.jit`; the
      number of chunks must be a multiple of `num_devices`. What is replicated
      may come in parts, which are put together first.
    """

    def local(replicated: Any, chunks: Any) -> Any:
      # Marked as varying once, here: a gradient with respect to an unvarying
      # value is summed over devices wherever it is used, i.e. in every chunk.
      result = function(self.vary(replicated), chunks)
      return self._sum(result) if sums else result

    return jax.shard_map(
      local,
      mesh=self.mesh,
      in_specs=(PartitionSpec(), PartitionSpec(AXES)),
      out_specs=PartitionSpec() if sums else PartitionSpec(AXES),
    )

  def _sum(self, tree: Any) -> Any:
    """Sums a tree over the devices, inside `map_chunks`."""
    if self.num_hosts == 1:
      return jax.lax.psum(tree, AXES)
    # One message between hosts, not one for each leaf.
    flat, unravel = flatten_util.ravel_pytree(tree)
    return unravel(jax.lax.psum(flat, AXES))

  def _spec(self, leaf: Any) -> PartitionSpec:
    """Returns along which axis a leaf is split."""
    parts = self.num_shards
    fitting = [
      axis for axis, size in enumerate(leaf.shape) if size and size % parts == 0
    ]
    if parts == 1 or not fitting:
      return PartitionSpec()
    longest = max(fitting, key=lambda axis: leaf.shape[axis])
    return PartitionSpec(*[None] * longest, 'model')

  def _put(self, tree: _Tree, spec_of: Callable[[Any], PartitionSpec]) -> _Tree:
    def put(leaf: Any) -> jax.Array:
      sharding = NamedSharding(self.mesh, spec_of(leaf))
      if self.num_hosts == 1:
        return jax.device_put(leaf, sharding)
      # `device_put` would first compare the values of all processes.
      values = np.asarray(leaf)
      return jax.make_array_from_callback(
        values.shape, sharding, lambda index: values[index]
      )

    return jax.tree.map(put, tree)


@functools.partial(jax.jit, static_argnums=0)
def _join(layout: Layout, tree: _Tree) -> _Tree:
  return layout.compute_alike(tree)


def local_layout(num_devices: int = 0) -> Layout:
  """Returns the layout over the first `num_devices` local devices; 0 is all.

  Raises:
    UserError: fewer devices are there.
  """
  return layout_of(_first_local(jax.local_devices(), num_devices, ''), 1)


def learner_layout(
  num_devices: int = 0, num_hosts: int = 1, num_shards: int = 1
) -> Layout:
  """Returns the layout of a learner.

  Args:
    num_devices: on each host, the first so many; 0 is all.
    num_hosts: processes that have joined; 1 takes this process alone, though
      others may have joined it.
    num_shards: in how many parts the parameters are split.

  Raises:
    UserError: there are fewer hosts or devices, or parts and devices do not
      go together.
  """
  if num_hosts == 1:
    devices = _first_local(jax.local_devices(), num_devices, '')
  else:
    devices = []
    for host in range(num_hosts):
      there = [d for d in jax.devices() if d.process_index == host]
      if not there:
        raise errors.UserError(
          f'learner.num_hosts={num_hosts}, but {jax.process_count()} have '
          'joined; start as many processes, or give that number.'
        )
      devices += _first_local(there, num_devices, f' of host {host}')
    if len(devices) != num_hosts * jax.local_device_count() and not num_devices:
      counts = collections.Counter(d.process_index for d in devices)
      raise errors.UserError(
        'the hosts of the learner have '
        f'{", ".join(str(counts[host]) for host in range(num_hosts))} devices; '
        'expected as many on each.'
      )
  if num_shards < 1 or len(devices) % num_shards:
    divisors = [n for n in range(1, len(devices) + 1) if len(devices) % n == 0]
    raise errors.UserError(
      f'learner.num_shards={num_shards} does not divide the '
      f'{len(devices)} device(s) of the learner; expected one of '
      f'{", ".join(map(str, divisors))}.'
    )
  return layout_of(devices, num_shards)


def _first_local(
  devices: Sequence[jax.Device], num_devices: int, whose: str
) -> list[jax.Device]:
  """Returns the first so many devices of one process; 0 is all."""
  if not 0 <= num_devices <= len(devices):
    raise errors.UserError(
      f'learner.num_devices={num_devices}, but this process{whose} has'
      f' {len(devices)} {devices[0].platform} device(s); give 0 for all.'
    )
  return list(devices[: num_devices or len(devices)])


def layout_of(devices: Sequence[jax.Device], num_shards: int = 1) -> Layout:
  """Returns the layout over devices, in their order."""
  # `make_mesh` has explicit axes by default, and these reject `lax.map` over a
  # sharded axis. It may also put devices in another order, which `Mesh` keeps:
  # pictures of a host would then be those of another.
  grid = np.array(devices).reshape(-1, num_shards)
  return Layout(Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES)))
