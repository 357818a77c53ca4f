"""Cuts the pixels of V views into equal chunks of rays, and back.

Small chunks keep the activations of one chunk in the cache; their number is
padded to a multiple of the devices. A chunk is known by its global number, so
it is jittered alike on any number of devices, and pictures are the same bits,
except where a device has one chunk only: XLA compiles a loop of one turn
otherwise, and normals may differ by 3e-6. So they may in chunks that are kept
(`learner.num_kept_chunks`), which are rendered one by one. Gradients are never
the same bits: devices add their sums in another order.
"""

from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from mmdist.cameras import camera as camera_lib
from mmdist.core import arrays


@struct.dataclass
class Chunks:
  """All rays of a step, or of a part of its views.

  Attributes:
    index: [K] number of the chunk in its step.
    rays: [K, N, ...]; padding repeats the last ray.
    mask: [K, N] 1 for a pixel, 0 for padding.
  """

  index: jax.Array
  rays: arrays.Rays
  mask: jax.Array


def cast(
  cameras: camera_lib.Camera,
  backgrounds: arrays.Array,
  resolution: int,
  chunk_size: int,
  num_devices: int,
  first_chunk: arrays.Array | None = None,
) -> Chunks:
  """Casts the rays of [V] cameras over [V, 3] backgrounds, in chunks.

  Args:
    cameras, backgrounds: of the views.
    resolution: H = W.
    chunk_size: N.
    num_devices: of which K is a multiple.
    first_chunk: number of the first chunk; None: 0.
  """

  def one_view(
    camera: camera_lib.Camera, background: arrays.Array
  ) -> arrays.Rays:
    return camera_lib.camera_rays(camera, resolution, background)

  rays = jax.vmap(one_view)(cameras, backgrounds)
  mask = jnp.ones(rays.near.shape[:-1])
  rays = jax.tree.map(
    lambda leaf: cut(leaf, chunk_size, num_devices, mode='edge'), rays
  )
  mask = cut(mask, chunk_size, num_devices)
  index = jnp.arange(len(mask))
  if first_chunk is not None:
    index += first_chunk
  return Chunks(index, rays, mask)


def first_chunk_of(
  first_view: int, num_views: int, resolution: int, chunk_size: int
) -> int:
  """Returns the number of the first chunk of a part of a step.

  Where the part begins with a chunk of the whole step, its chunks have the
  numbers that they have there, so that its pictures are the same. Where it
  begins within a chunk, there is no such number: its chunks are then counted
  from a place behind those of the whole step, with room for the chunks of each
  view. So no two chunks of a step have one number. Chunks of padding alone may,
  which nobody sees.

  Args:
    first_view: of the part, from 0.
    num_views: of the whole step.
    resolution: H = W.
    chunk_size: rays of a chunk.
  """
  size = resolution**2
  start = first_view * size
  if start % chunk_size == 0:
    return start // chunk_size
  behind = -(-num_views * size // chunk_size)
  return behind + first_view * -(-size // chunk_size)


def cut(
  pixels: jax.Array,
  chunk_size: int,
  num_devices: int,
  mode: str = 'constant',
) -> jax.Array:
  """Reshapes [V, H, W, ...] to [K, N, ...]; `mode` is `jnp.pad`'s."""
  flat = pixels.reshape((-1,) + pixels.shape[3:])
  rounds = -(-len(flat) // (chunk_size * num_devices))
  num_chunks = rounds * num_devices
  missing = num_chunks * chunk_size - len(flat)
  padding = [(0, missing)] + [(0, 0)] * (flat.ndim - 1)
  flat = jnp.pad(flat, padding, mode=mode)
  return flat.reshape((num_chunks, chunk_size) + flat.shape[1:])


def join(chunks: jax.Array, num_views: int, resolution: int) -> jax.Array:
  """Undoes `cut`: [K, N, ...] to [V, H, W, ...]."""
  shape = (num_views, resolution, resolution)
  flat = chunks.reshape((-1,) + chunks.shape[2:])
  return flat[: np.prod(shape)].reshape(shape + chunks.shape[2:])
