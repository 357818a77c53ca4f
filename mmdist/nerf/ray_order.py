"""Rays in another order: those that are wanted first, dealt out evenly.

Compiled passes have a fixed number of chunks. Where the rays that are wanted
fill the first of them, a loop can end early, and the work is the smaller by all
others. A ray keeps its random numbers wherever it lies.
"""

from collections.abc import Callable
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp


@struct.dataclass
class Order:
  """Where rays lie that come in K chunks of N, on D devices.

  Attributes:
    rays: [K * N] int32 number of the ray in each slot.
    slots: [K * N] int32 slot of each ray.
    num_rounds: [] int32 how many chunks of each device hold all wanted rays.
  """

  rays: jax.Array
  slots: jax.Array
  num_rounds: jax.Array


def put_first(wanted: jax.Array, num_devices: int) -> Order:
  """Returns the order in which the wanted rays come first.

  Each device has a row of chunks. The wanted rays fill the first chunk of every
  device, then the second of every device; they, and the others behind them,
  are in their old order otherwise.

  Args:
    wanted: [K, N] bool; K is a multiple of D.
    num_devices: D.
  """
  num_chunks, chunk_size = wanted.shape
  wanted = wanted.reshape(-1)
  num_wanted = jnp.sum(wanted)
  first = jnp.cumsum(wanted) - 1
  rank = jnp.where(wanted, first, num_wanted + jnp.cumsum(~wanted) - 1)
  chunk, within = jnp.divmod(rank, chunk_size)
  round_, device = jnp.divmod(chunk, num_devices)
  row = device * (num_chunks // num_devices) + round_
  slots = (row * chunk_size + within).astype(jnp.int32)
  numbers = jnp.arange(len(wanted), dtype=jnp.int32)
  rays = jnp.zeros_like(slots).at[slots].set(numbers, unique_indices=True)
  num_rounds = -(-num_wanted // (chunk_size * num_devices))
  return Order(rays, slots, num_rounds.astype(jnp.int32))


def apply(order: Order, tree: Any) -> Any:
  """Puts the rays of a tree of [K, N, ...] into that order."""
  return _take(order.rays, tree)


def undo(order: Order, tree: Any) -> Any:
  """Puts what `apply` has ordered, [K, N, ...], where it was before."""
  return _take(order.slots, tree)


def _take(numbers: jax.Array, tree: Any) -> Any:
  def take(leaf: jax.Array) -> jax.Array:
    flat = leaf.reshape((-1,) + leaf.shape[2:])
    return flat[numbers].reshape(leaf.shape)

  return jax.tree.map(take, tree)


def only(wanted: jax.Array, tree: Any, otherwise: Any) -> Any:
  """Returns a tree of [K, N, ...] where rays are wanted, else the other.

  Others than the wanted fill the last chunks. How many follows from the number
  of devices, and a result must not.

  Args:
    wanted: [K, N] bool.
    tree, otherwise: alike.
  """

  def choose(leaf: jax.Array, other: jax.Array) -> jax.Array:
    here = wanted.reshape(wanted.shape + (1,) * (leaf.ndim - 2))
    return jnp.where(here, leaf, other)

  return jax.tree.map(choose, tree, otherwise)


def map_some(
  function: Callable[[Any], Any],
  chunks: Any,
  first: int | jax.Array,
  last: int | jax.Array,
  otherwise: Any,
) -> Any:
  """Maps some chunks, one after the other; how many need not be known.

  Args:
    function: of one chunk.
    chunks: a tree of [K, ...].
    first: of them that is mapped.
    last: the first behind those that are mapped.
    otherwise: [K, ...] results of all that are not.

  Returns:
    A tree as `otherwise`.
  """

  def turn(index: jax.Array, results: Any) -> Any:
    return jax.tree.map(
      lambda every, one: jax.lax.dynamic_update_index_in_dim(
        every, one, index, 0
      ),
      results,
      function(chunk_at(chunks, index)),
    )

  return jax.lax.fori_loop(first, last, turn, otherwise)


def chunk_at(chunks: Any, index: int | jax.Array) -> Any:
  """Returns one chunk of a tree of [K, ...]."""
  return jax.tree.map(
    lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False),
    chunks,
  )
