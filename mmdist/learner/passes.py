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

import jax
import jax.numpy as jnp

from mmdist.cameras import camera as camera_lib
from mmdist.config import schema
from mmdist.core import arrays
from mmdist.core import device_mesh
from mmdist.core import representation as representation_lib
from mmdist.learner import chunks as chunks_lib
from mmdist.learner import dealing
from mmdist.nerf import occupancy
from mmdist.nerf import ray_order

# Of parameters, rays, and a key or what `dealing.Draw` has made of one.
RenderChunk = Callable[
  [representation_lib.Params, arrays.Rays, Any], arrays.Renders
]
# The gradient, the norms of its leaves, and the parts of the loss.
VjpResult = tuple[
  representation_lib.Params, representation_lib.Params, dict[str, jax.Array]
]


def make_local_of_some(
  render_chunk: RenderChunk,
) -> Callable[[Any, Any], dealing.Images]:
  """Returns the render of some of a device's own chunks.

  It maps (parameters, the first chunk, the first behind the last) and (chunks,
  what jitters them) to `dealing.IMAGES`, empty where nothing was rendered.
  """

  def local(
    replicated: tuple[representation_lib.Params, Any, Any], sharded: Any
  ) -> dealing.Images:
    params, first, last = replicated

    def one(of_chunk: Any) -> dealing.Images:
      chunk, drawn = of_chunk
      renders = render_chunk(params, chunk.rays, drawn)
      return tuple(getattr(renders, field) for field in dealing.IMAGES)

    empty = dealing.empty_images(sharded[0])
    rendered: dealing.Images = ray_order.map_some(
      one, sharded, first, last, empty
    )
    return rendered

  return local


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
  draw: dealing.Draw | None = None,
  density: occupancy.BlurredDensity | None = None,
) -> Callable[..., dealing.Images]:
  """Returns the jitted first pass.

  It maps (params, cameras, backgrounds, key) to rgb, normals and acc. Of a part
  of a step it is given its `Place` too, and so is every other pass.
  """
  size = config.chunk_size
  wanted_of = dealing.make_wanted(density, config, layout)
  render_all = make_local(render_chunk, dealing.IMAGES)
  render_first = make_local_of_some(render_chunk)

  @jax.jit
  def render(
    params: representation_lib.Params,
    cameras: camera_lib.Camera,
    backgrounds: arrays.Array,
    key: jax.Array,
    place: dealing.Place | None = None,
  ) -> dealing.Images:
    num_views = len(backgrounds)
    wanted = wanted_of(params)
    dealt = dealing.deal(
      cameras, backgrounds, key, resolution, size, layout, place, draw, wanted
    )
    sharded = (dealt.chunks, dealt.drawn)
    if wanted is None:
      images = layout.map_chunks(render_all, sums=False)(params, sharded)
    else:
      some = layout.map_chunks(render_first, sums=False)
      last = dealt.count(layout.num_devices)
      images = some((params, 0, last), sharded)
    return layout.share(dealt.join(images, num_views, resolution))

  return render


def make_vjp(
  render_chunk: RenderChunk,
  config: schema.LearnerConfig,
  resolution: int,
  layout: device_mesh.Layout,
  draw: dealing.Draw | None = None,
) -> Callable[..., VjpResult]:
  """Returns the jitted second pass: it renders again, and differentiates.

  It maps (params, cameras, backgrounds, key, {channel: [V, H, W, 3]}) to the
  gradient, the norm of each of its leaves, and the parts of the loss. Given the
  opacities [V, H, W] of the first pass too, it leaves out rays that have less
  than `learner.empty_opacity`.
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
    place: dealing.Place | None = None,
    acc: jax.Array | None = None,
  ) -> VjpResult:
    num_pixels = dealing.num_pixels_of(len(backgrounds), resolution, place)
    wanted = dealing.wanted_by(acc, config, layout)
    dealt = dealing.deal(
      cameras, backgrounds, key, resolution, size, layout, place, draw, wanted
    )
    of_rays = dealt.cut_cotangents(cotangents, layout.num_devices)
    gradient, parts = sum_vjps(params, dealt, of_rays, num_pixels)
    return layout.share((gradient, norms_of(gradient), parts))

  return vjp


def make_sum_of_vjps(
  render_chunk: RenderChunk,
  config: schema.LearnerConfig,
  layout: device_mesh.Layout,
) -> Callable[..., tuple[representation_lib.Params, dict[str, jax.Array]]]:
  """Returns the vjp of chunks that are rendered again.

  It maps (params, the rays of a pass, {channel: [K, N, 3]} in the order of its
  rays, the number of pixels over which the loss is a mean) to the gradient and
  the parts of the loss, and is to be called under `jax.jit`. Given another
  number, it leaves out the first so many chunks of each device.
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
    dealt: dealing.Dealt,
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
      params, first, last = replicated
      return _sum_gradients(loss, params, sharded, layout, first, last)

    if dealt.order is not None and first is None:
      first = 0
    last = dealt.count(layout.num_devices)
    summed: tuple[representation_lib.Params, dict[str, jax.Array]] = (
      layout.map_chunks(local, sums=True)(
        (params, first, last), (dealt.chunks, dealt.drawn, cut)
      )
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
  last: jax.Array,
) -> Any:
  """Sums the chunks' gradients; only one chunk's activations are in memory.

  The same numbers as `jax.checkpoint` around a mapped render, which would
  render every chunk once more for a value that nobody reads.
  """
  gradient = jax.grad(loss, has_aux=True)

  def step(total: Any, one: Any) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, total, gradient(params, one)), None

  one = ray_order.chunk_at(sharded, 0)
  zeros = jax.tree.map(
    lambda leaf: jnp.zeros(leaf.shape, leaf.dtype),
    jax.eval_shape(gradient, params, one),
  )
  zeros = layout.vary(zeros)
  if first is None:
    return jax.lax.scan(step, zeros, sharded)[0]

  def turn(index: jax.Array, total: Any) -> Any:
    return step(total, ray_order.chunk_at(sharded, index))[0]

  return jax.lax.fori_loop(first, last, turn, zeros)
