"""Passes of a step whose first keeps what the second needs of its chunks.

A render of a chunk costs a quarter of its part of a step. Where what a backward
pass reads of it stays in memory, its second half does without. It may be kept
of all chunks (`learner.remat=False`), which is here, or of as many as there is
memory for, which is in `mmdist.learner.partly_kept`.
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
from mmdist.learner import dealing
from mmdist.learner import passes

# Of `Renders`, what a loss reads.
FIELDS = ('rgb', 'normals', 'acc', 'regularizer')


@struct.dataclass
class Kept:
  """What the render of some chunks has left for their vjp.

  Attributes:
    pull_back: the backward function of these chunks; its arrays are what is
      kept of their activations.
    mask: [K, N] see `chunks.Chunks`.
    parts: those of the loss that need no cotangent.
  """

  pull_back: Callable[..., Any]
  mask: jax.Array
  parts: dict[str, jax.Array]


def keeping_little(
  representation: representation_lib.Representation,
  render_chunk: passes.RenderChunk,
) -> passes.RenderChunk:
  """Returns the render whose backward pass keeps what is dear to compute.

  What that is a representation says by a policy of `jax.checkpoint`, in its
  attribute `checkpoint_policy`. Of one that says nothing everything is kept
  that is not computed again. The conditional NeRF keeps the results of its
  matrix products: that is a quarter of everything.
  """
  policy = getattr(representation, 'checkpoint_policy', None)
  if policy is None:
    return render_chunk
  # The two passes are two programs, so there is nothing that XLA could merge.
  return jax.checkpoint(render_chunk, prevent_cse=False, policy=policy)


def make_keep(
  render_local: Callable[..., Any], layout: device_mesh.Layout
) -> Callable[..., tuple[dealing.Images, Kept]]:
  """Returns the render of dealt chunks that keeps them; called under jit.

  Args:
    render_local: renders `FIELDS` of a device's own chunks.
    layout: deals them out.
  """

  def keep(
    params: representation_lib.Params,
    dealt: dealing.Dealt,
    num_pixels: int,
  ) -> tuple[dealing.Images, Kept]:
    sharded = (dealt.chunks, dealt.drawn)

    def render_all(params: representation_lib.Params) -> Any:
      return layout.map_chunks(render_local, sums=False)(params, sharded)

    (rgb, normals, acc, regularizer), pull_back = jax.vjp(render_all, params)
    mask = dealt.chunks.mask
    parts = {
      'opacity': jnp.sum(mask * acc) / num_pixels,
      'regularizer': jnp.sum(mask * regularizer) / num_pixels,
    }
    return (rgb, normals, acc), Kept(pull_back, mask, parts)

  return keep


def take_back(
  kept: Kept,
  cut: Mapping[str, jax.Array],
  config: schema.LearnerConfig,
  num_pixels: int,
) -> representation_lib.Params:
  """Returns the gradient of kept chunks for {channel: [K, N, 3]}."""
  zeros = jnp.zeros((*kept.mask.shape, 3))
  per_pixel = kept.mask / num_pixels
  (gradient,) = kept.pull_back(
    (
      cut.get('rgb', zeros),
      cut.get('normal', zeros),
      config.opacity_weight * per_pixel,
      config.regularizer_weight * per_pixel,
    )
  )
  found: representation_lib.Params = gradient
  return found


def make_passes(
  render_chunk: passes.RenderChunk,
  config: schema.LearnerConfig,
  resolution: int,
  layout: device_mesh.Layout,
  draw: dealing.Draw | None = None,
) -> tuple[
  Callable[..., tuple[dealing.Images, Kept]], Callable[..., passes.VjpResult]
]:
  """Returns the two jitted passes of a step that renders once.

  The first maps what `passes.make_render`'s maps to the images and to `Kept`;
  the second maps `Kept` and {channel: [V, H, W, 3]} to what
  `passes.make_vjp`'s returns. What is kept of every chunk is in memory until
  the vjp has ended. Rays that meet nothing are computed too: how many are kept
  has to be known beforehand.
  """
  size = config.chunk_size
  keep = make_keep(passes.make_local(render_chunk, FIELDS), layout)

  @jax.jit
  def render(
    params: representation_lib.Params,
    cameras: camera_lib.Camera,
    backgrounds: arrays.Array,
    key: jax.Array,
    place: dealing.Place | None = None,
  ) -> tuple[dealing.Images, Kept]:
    num_views = len(backgrounds)
    num_pixels = dealing.num_pixels_of(num_views, resolution, place)
    dealt = dealing.deal(
      cameras, backgrounds, key, resolution, size, layout, place, draw
    )
    images, kept = keep(params, dealt, num_pixels)
    return layout.share(dealt.join(images, num_views, resolution)), kept

  @jax.jit
  def pull_back(
    kept: Kept,
    cotangents: Mapping[str, jax.Array],
    place: dealing.Place | None = None,
  ) -> passes.VjpResult:
    num_views = len(next(iter(cotangents.values())))
    num_pixels = dealing.num_pixels_of(num_views, resolution, place)
    cut = {
      name: chunks_lib.cut(value, size, layout.num_devices)
      for name, value in cotangents.items()
    }
    gradient = take_back(kept, cut, config, num_pixels)
    return layout.share((gradient, passes.norms_of(gradient), kept.parts))

  return render, pull_back
