"""Where arrays live: one dataclass owns all sharding.

Learner and pictures are data-parallel over chunks of rays: parameters are on
every device, chunks are dealt out. Everything that is sharded goes through
`Layout.map_chunks`; no other file names a mesh axis.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from mmdist.core import errors

AXIS = 'chunks'

_Tree = TypeVar('_Tree')  # Any pytree of arrays.


@dataclasses.dataclass(frozen=True)
class Layout:
  """A one-axis mesh of the local devices.

  Attributes:
    mesh: its only axis deals out chunks of rays.
  """

  mesh: Mesh

  @property
  def num_devices(self) -> int:
    return self.mesh.size

  @property
  def platform(self) -> str:
    """'cpu', 'gpu' or 'tpu'."""
    device: jax.Device = self.mesh.devices.flat[0]
    return device.platform

  def replicate(self, tree: _Tree) -> _Tree:
    """Puts a copy of every leaf on every device."""
    return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

  def compute_alike(self, tree: _Tree) -> _Tree:
    """Has every device compute all of a tree, under `jax.jit`.

    Else each would compute its own part of it. XLA compiles a part otherwise
    than the whole, and the last bits would follow from the number of devices.
    """
    everywhere = NamedSharding(self.mesh, PartitionSpec())
    return jax.lax.with_sharding_constraint(tree, everywhere)

  def vary(self, tree: _Tree) -> _Tree:
    """Marks replicated values as each device's own, inside `map_chunks`."""
    return jax.lax.pcast(tree, AXIS, to='varying')

  def map_chunks(self, function: Callable, *, sums: bool) -> Callable:
    """Runs `function(replicated, chunks)` on every device's own chunks.

    Args:
      function: takes a replicated pytree and a pytree of [num_chunks, ...].
      sums: whether its results are summed over the devices and replicated;
        otherwise they keep the leading axis and are joined along it.

    Returns:
      A function of the same arguments, to be called under `jax.jit`; the
      number of chunks must be a multiple of `num_devices`.
    """

    def local(replicated: Any, chunks: Any) -> Any:
      # Marked as varying once, here: a gradient with respect to an unvarying
      # value is summed over devices wherever it is used, i.e. in every chunk.
      result = function(self.vary(replicated), chunks)
      return jax.lax.psum(result, AXIS) if sums else result

    return jax.shard_map(
      local,
      mesh=self.mesh,
      in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
      out_specs=PartitionSpec() if sums else PartitionSpec(AXIS),
    )


def local_layout(num_devices: int = 0) -> Layout:
  """Returns the layout over the first `num_devices` local devices; 0 is all.

  Raises:
    UserError: fewer devices are there.
  """
  devices = jax.local_devices()
  if not 0 <= num_devices <= len(devices):
    raise errors.UserError(
      f'learner.num_devices={num_devices}, but this process has'
      f' {len(devices)} {devices[0].platform} device(s); give 0 for all.'
    )
  devices = devices[: num_devices or len(devices)]
  # `make_mesh` has explicit axes by default, and these reject `lax.map` over a
  # sharded axis.
  mesh = jax.make_mesh(
    (len(devices),), (AXIS,), devices=devices, axis_types=(AxisType.Auto,)
  )
  return Layout(mesh)
