"""The two compiled passes of a step: the render, and its vjp.

Both cast the same rays, cut them into the same chunks and jitter them with the
same keys, so the second differentiates exactly the pictures of the first. The
vjp (vector-Jacobian product) takes dL/d image back through the render to
dL/d params. Nothing is stored between the passes here, and the second renders
again; `mmdist.learner.kept_chunks` has passes of which the first keeps what the
second needs, of all chunks or of some.
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

# Of parameters, rays, and a key or what `Draw` has made of one.
RenderChunk = Callable[
  [representation_lib.Params, arrays.Rays, Any], arrays.Renders
]
# Of a key and a number of rays; returns all random numbers of their render.
Draw = Callable[[jax.Array, int], Any]
Images = tuple[jax.Array, jax.Array, jax.Array]  # Colours, normals, opacities.
# The gradient, the norms of its leaves, and the parts of the loss.
VjpResult = tuple[
  representation_lib.Params, representation_lib.Params, dict[str, jax.Array]
]


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
) -> tuple[chunks_lib.Chunks, Any]:
  """Returns the chunks of a pass, and what jitters each of them, [K, ...].

  What jitters a chunk follows from its number. It is drawn for all at once:
  that takes many small operations, however few numbers a chunk needs.
  """
  chunks = _cast(cameras, backgrounds, resolution, chunk_size, layout, place)
  size = chunks.mask.shape[1]

  def one(index: jax.Array) -> Any:
    key_of_chunk = jax.random.fold_in(key, index)
    return key_of_chunk if draw is None else draw(key_of_chunk, size)

  return chunks, jax.vmap(one)(chunks.index)


def make_local(
  render_chunk: RenderChunk, fields: tuple[str, ...]
) -> Callable[[representation_lib.Params, Any], tuple[jax.Array, ...]]:
  """Returns the render of a device's own chunks: these fields of `Renders`."""

  def local(
    params: representation_lib.Params, sharded: Any
  ) -> tuple[jax.Array, ...]:
    def one(of_chunk: Any) -> tuple[jax.Array, ...]:
      chunk, drawn = of_chunk
      renders = render_chunk(params, chunk.rays, drawn)
      return tuple(getattr(renders, field) for field in fields)

    mapped: tuple[jax.Array, ...] = jax.lax.map(one, sharded)
    return mapped

  return local


def make_render(
  render_chunk: RenderChunk,
  config: schema.LearnerConfig,
  resolution: int,
  layout: device_mesh.Layout,
  draw: Draw | None = None,
) -> Callable[..., Images]:
  """Returns the jitted first pass.

  It maps (params, cameras, backgrounds, key) to rgb, normals and acc. Of a part
  of a step it is given its `Place` too, and so is every other pass.
  """
  size = config.chunk_size

  render_local = make_local(render_chunk, ('rgb', 'normals', 'acc'))

  @jax.jit
  def render(
    params: representation_lib.Params,
    cameras: camera_lib.Camera,
    backgrounds: arrays.Array,
    key: jax.Array,
    place: Place | None = None,
  ) -> Images:
    num_views = len(backgrounds)
    sharded = deal(
      cameras, backgrounds, key, resolution, size, layout, place, draw
    )
    images = layout.map_chunks(render_local, sums=False)(params, sharded)
    return layout.share(
      jax.tree.map(
        lambda image: chunks_lib.join(image, num_views, resolution), images
      )
    )

  return render


def make_vjp(
  render_chunk: RenderChunk,
  config: schema.LearnerConfig,
  resolution: int,
  layout: device_mesh.Layout,
  draw: Draw | None = None,
) -> Callable[..., VjpResult]:
  """Returns the jitted second pass: it renders again, and differentiates.

  It maps (params, cameras, backgrounds, key, {channel: [V, H, W, 3]}) to the
  gradient, the norm of each of its leaves, and the parts of the loss.
  """

  size = config.chunk_size
  sum_vjps = make_sum_of_vjps(render_chunk, config, layout)

  @jax.jit
  def vjp(
    params: representation_lib.Params,
    cameras: camera_lib.Camera,
    backgrounds: arrays.Array,
    key: jax.Array,
    cotangents: Mapping[str, jax.Array],
    place: Place | None = None,
  ) -> VjpResult:
    num_pixels = num_pixels_of(len(backgrounds), resolution, place)
    sharded = deal(
      cameras, backgrounds, key, resolution, size, layout, place, draw
    )
    cut = {
      name: chunks_lib.cut(value, size, layout.num_devices)
      for name, value in cotangents.items()
    }
    gradient, parts = sum_vjps(params, sharded, cut, num_pixels)
    return layout.share((gradient, norms_of(gradient), parts))

  return vjp


def make_sum_of_vjps(
  render_chunk: RenderChunk,
  config: schema.LearnerConfig,
  layout: device_mesh.Layout,
) -> Callable[..., tuple[representation_lib.Params, dict[str, jax.Array]]]:
  """Returns the vjp of chunks that are rendered again.

  It maps (params, what `deal` returns, {channel: [K, N, 3]}, the number of
  pixels over which the loss is a mean) to the gradient and the parts of the
  loss, and is to be called under `jax.jit`. Given another number, it leaves out
  the first so many chunks of each device.
  """

  def chunk_loss(
    params: representation_lib.Params,
    chunk: chunks_lib.Chunks,
    drawn: Any,
    cotangents: Mapping[str, jax.Array],
    num_pixels: int,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    renders = render_chunk(params, chunk.rays, drawn)
    images = {'rgb': renders.rgb, 'normal': renders.normals}
    opacity = jnp.sum(chunk.mask * renders.acc) / num_pixels
    regularizer = jnp.sum(chunk.mask * renders.regularizer) / num_pixels
    # A cotangent is dL/d pixel already. The gradient of its inner product with
    # the render is the vjp; the value of that product means nothing.
    loss = sum(jnp.vdot(cotangents[name], images[name]) for name in cotangents)
    loss += config.opacity_weight * opacity  # l1, as acc >= 0.
    loss += config.regularizer_weight * regularizer
    return loss, {'opacity': opacity, 'regularizer': regularizer}

  def sum_vjps(
    params: representation_lib.Params,
    dealt: tuple[chunks_lib.Chunks, Any],
    cut: Mapping[str, jax.Array],
    num_pixels: int,
    first: int | None = None,
  ) -> tuple[representation_lib.Params, dict[str, jax.Array]]:
    def loss(
      params: representation_lib.Params, one: Any
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
      chunk, drawn, of_chunk = one
      return chunk_loss(params, chunk, drawn, of_chunk, num_pixels)

    def local(replicated: Any, sharded: Any) -> Any:
      params, first = replicated
      return _sum_gradients(loss, params, sharded, layout, first)

    summed: tuple[representation_lib.Params, dict[str, jax.Array]] = (
      layout.map_chunks(local, sums=True)((params, first), (*dealt, cut))
    )
    return summed

  return sum_vjps


def norms_of(gradient: representation_lib.Params) -> representation_lib.Params:
  """Returns the norm of each leaf."""
  return jax.tree.map(lambda leaf: jnp.linalg.norm(leaf.ravel()), gradient)


def _sum_gradients(
  loss: Callable[..., Any],
  params: representation_lib.Params,
  sharded: Any,
  layout: device_mesh.Layout,
  first: jax.Array | None,
) -> Any:
  """Sums the chunks' gradients; only one chunk's activations are in memory.

  The same numbers as `jax.checkpoint` around a mapped render, which would
  render every chunk once more for a value that nobody reads.
  """
  gradient = jax.grad(loss, has_aux=True)

  def step(total: Any, one: Any) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, total, gradient(params, one)), None

  one = chunk_at(sharded, 0)
  zeros = jax.tree.map(
    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
    jax.eval_shape(gradient, params, one),
  )
  zeros = layout.vary(zeros)
  if first is None:
    return jax.lax.scan(step, zeros, sharded)[0]

  def turn(index: jax.Array, total: Any) -> Any:
    return step(total, chunk_at(sharded, index))[0]

  return jax.lax.fori_loop(first, len(sharded[0].mask), turn, zeros)


def chunk_at(sharded: Any, index: int | jax.Array) -> Any:
  """Returns one chunk of a tree of [K, ...]."""
  return jax.tree.map(
    lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False),
    sharded,
  )
