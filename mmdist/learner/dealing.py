"""The rays of a pass, dealt out over the devices, wanted ones first.

Rays that meet nothing are not computed (`learner.empty_opacity`): the first
pass of a step leaves out those that cannot meet anything by `nerf.occupancy`,
the second those of which the first has seen that they do not. What is computed
keeps its random numbers, so that its pixels are the same as among all rays.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp

from mmdist.cameras import camera as camera_lib
from mmdist.config import schema
from mmdist.core import arrays
from mmdist.core import device_mesh
from mmdist.core import representation as representation_lib
from mmdist.learner import chunks as chunks_lib
from mmdist.nerf import occupancy
from mmdist.nerf import ray_order

# Of a key and a number of rays; returns all random numbers of their render.
Draw = Callable[[jax.Array, int], Any]
# Of flat rays [K * N]; returns [K * N] bool, which of them are to be computed.
Wanted = Callable[[arrays.Rays], jax.Array]
Images = tuple[jax.Array, jax.Array, jax.Array]  # Colours, normals, opacities.
IMAGES = ('rgb', 'normals', 'acc')  # Of `Renders`.
# Points of the occupancy grid at a time, per ray of a chunk: about the samples
# of a ray, so that they take the memory of a chunk.
_POINTS_PER_RAY = 32


@struct.dataclass
class Place:
  """Where the views of a pass are in their step, if they are a part of it.

  The loss is a mean over the views of the step. So the parts' gradients and
  numbers add up to those of the whole.

  Attributes:
    first_chunk: [] int32 number of the first chunk.
    num_views: of the whole step.
  """

  first_chunk: arrays.Array
  num_views: int = struct.field(pytree_node=False)


@struct.dataclass
class Dealt:
  """The rays of a pass, as its devices compute them.

  Attributes:
    chunks: [K, N] rays; only those are seen whose mask is 1.
    drawn: what jitters them: [K, ...] by chunk or [K, N, ...] by ray.
    order: in which the rays are; None: as they were cast.
  """

  chunks: chunks_lib.Chunks
  drawn: Any
  order: ray_order.Order | None = None

  def count(self, num_devices: int) -> int | jax.Array:
    """Returns how many chunks of each device are computed."""
    if self.order is not None:
      return self.order.num_rounds
    return len(self.chunks.mask) // num_devices

  def cut_cotangents(
    self, cotangents: Mapping[str, jax.Array], num_devices: int
  ) -> dict[str, jax.Array]:
    """Returns cotangents [V, H, W, 3] of the rays, [K, N, 3]."""
    size = self.chunks.mask.shape[1]
    cut = {
      name: chunks_lib.cut(value, size, num_devices)
      for name, value in cotangents.items()
    }
    if self.order is None:
      return cut
    ordered = ray_order.apply(self.order, cut)
    nothing = jax.tree.map(jnp.zeros_like, ordered)
    chosen: dict[str, jax.Array] = ray_order.only(
      self.chunks.mask > 0, ordered, nothing
    )
    return chosen

  def join(self, images: Images, num_views: int, resolution: int) -> Images:
    """Returns images [V, H, W, ...] from those of the rays, [K, N, ...]."""
    if self.order is not None:
      seen = ray_order.only(
        self.chunks.mask > 0, images, empty_images(self.chunks)
      )
      images = ray_order.undo(self.order, seen)
    joined: Images = jax.tree.map(
      lambda image: chunks_lib.join(image, num_views, resolution), images
    )
    return joined


def empty_images(chunks: chunks_lib.Chunks) -> Images:
  """Returns what is seen of chunks where nothing is."""
  empty = occupancy.empty_renders(chunks.rays)
  rgb, normals, acc = (empty[name] for name in IMAGES)
  return rgb, normals, acc


def num_pixels_of(num_views: int, resolution: int, place: Place | None) -> int:
  """Returns over how many pixels the loss is a mean."""
  return (place.num_views if place else num_views) * resolution**2


def _cast(
  cameras: camera_lib.Camera,
  backgrounds: arrays.Array,
  resolution: int,
  chunk_size: int,
  layout: device_mesh.Layout,
  place: Place | None,
) -> chunks_lib.Chunks:
  """Casts the rays of a pass, the same bits on any number of devices.

  Rays are few numbers beside what a render computes, so each device casts all
  of them. If each cast its own, pictures would differ by 1e-5.
  """
  chunks = chunks_lib.cast(
    cameras,
    backgrounds,
    resolution,
    chunk_size,
    layout.num_devices,
    place.first_chunk if place else None,
  )
  return layout.compute_alike(chunks)


def deal(
  cameras: camera_lib.Camera,
  backgrounds: arrays.Array,
  key: jax.Array,
  resolution: int,
  chunk_size: int,
  layout: device_mesh.Layout,
  place: Place | None,
  draw: Draw | None,
  wanted: Wanted | None = None,
) -> Dealt:
  """Returns the chunks of a pass, and what jitters each of them, [K, ...].

  What jitters a chunk follows from its number. It is drawn for all at once:
  that takes many small operations, however few numbers a chunk needs.

  Args:
    cameras, backgrounds, key: of the pass.
    resolution: H = W.
    chunk_size: N.
    layout: over which the chunks are dealt out.
    place: see `Place`.
    draw: draws for each ray; has to be there if `wanted` is.
    wanted: which rays come first; None leaves them in their order.
  """
  chunks = _cast(cameras, backgrounds, resolution, chunk_size, layout, place)
  size = chunks.mask.shape[1]

  def one(index: jax.Array) -> Any:
    key_of_chunk = jax.random.fold_in(key, index)
    return key_of_chunk if draw is None else draw(key_of_chunk, size)

  drawn = jax.vmap(one)(chunks.index)
  if wanted is None:
    return Dealt(chunks, drawn)
  flat = jax.tree.map(
    lambda leaf: leaf.reshape(-1, leaf.shape[-1]), chunks.rays
  )
  mask = wanted(flat).reshape(chunks.mask.shape) * chunks.mask
  order = layout.compute_alike(
    ray_order.put_first(mask > 0, layout.num_devices)
  )
  rays, mask, drawn = ray_order.apply(order, (chunks.rays, mask, drawn))
  return Dealt(chunks_lib.Chunks(chunks.index, rays, mask), drawn, order)


def make_wanted(
  density: occupancy.BlurredDensity | None,
  config: schema.LearnerConfig,
  layout: device_mesh.Layout,
) -> Callable[[representation_lib.Params], Wanted | None]:
  """Returns what says of some parameters which rays may meet anything.

  Args:
    density: of the representation; None wants every ray, and so does
      `learner.empty_opacity=0`.
    config: says how little is nothing.
    layout: computes the grid.
  """
  if density is None or not config.empty_opacity:
    return lambda params: None

  def wanted_of(params: representation_lib.Params) -> Wanted:
    at_once = _POINTS_PER_RAY * config.chunk_size
    grid = occupancy.make_grid(density, params, layout, at_once)
    return lambda rays: occupancy.may_show(
      occupancy.most_opacity(grid, rays), config.empty_opacity
    )

  return wanted_of


def wanted_by(
  acc: jax.Array | None,
  config: schema.LearnerConfig,
  layout: device_mesh.Layout,
) -> Wanted | None:
  """Returns what wants the rays that a first pass has seen something of.

  Args:
    acc: [V, H, W] its opacities; None wants every ray.
    config, layout: as of the pass.
  """
  if acc is None:
    return None
  cut = chunks_lib.cut(acc, config.chunk_size, layout.num_devices)
  is_seen = occupancy.may_show(cut.reshape(-1), config.empty_opacity)
  return lambda rays: is_seen
