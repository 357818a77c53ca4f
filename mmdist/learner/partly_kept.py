"""Passes of a step whose first keeps what the second needs of some chunks.

`learner.num_kept_chunks` says of how many, on each device. They are rendered
and taken back one by one, by programs of one chunk, so that what is kept of one
is let go before the next one is taken back. The programs do not depend on how
many are kept: another number compiles none of the large ones anew.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmdist.cameras import camera as camera_lib
from mmdist.config import schema
from mmdist.core import arrays
from mmdist.core import device_mesh
from mmdist.core import representation as representation_lib
from mmdist.learner import dealing
from mmdist.learner import kept_chunks
from mmdist.learner import passes
from mmdist.nerf import occupancy

_PARTS = ('opacity', 'regularizer')  # Of the loss, see `passes`.


@dataclasses.dataclass
class PartlyKept:
  """What the render of a step, or of a part of it, has left for its vjp.

  Attributes:
    params: that were rendered.
    chunks: one for each chunk of a device that is kept; the vjp empties it.
    dealt: all chunks and what jitters them, [K, ...].
    has_rest: whether there are others than those that are kept.
  """

  params: representation_lib.Params
  chunks: list[kept_chunks.Kept]
  dealt: dealing.Dealt
  has_rest: bool


class PartialPasses:
  """The two passes; neither waits for anything.

  Pictures are those of `passes.make_render` but for the last bits of chunks
  that are kept: see `mmdist.learner.chunks`.
  """

  def __init__(
    self,
    keeping_chunk: passes.RenderChunk,
    render_chunk: passes.RenderChunk,
    config: schema.LearnerConfig,
    resolution: int,
    layout: device_mesh.Layout,
    draw: dealing.Draw | None = None,
    density: occupancy.BlurredDensity | None = None,
  ):
    """Traces nothing yet.

    Args:
      keeping_chunk: renders a chunk that is kept.
      render_chunk: renders one that is not.
      config, resolution, layout, draw, density: as of `passes.make_render`.
    """
    self._num_kept = config.num_kept_chunks
    self._num_devices = layout.num_devices
    self._resolution = resolution
    size, num_devices = config.chunk_size, layout.num_devices
    keep_chunks = kept_chunks.make_keep(_make_single(keeping_chunk), layout)
    sum_vjps = passes.make_sum_of_vjps(render_chunk, config, layout)

    wanted_of = dealing.make_wanted(density, config, layout)

    @jax.jit
    def deal(
      params: representation_lib.Params,
      cameras: camera_lib.Camera,
      backgrounds: arrays.Array,
      key: jax.Array,
      place: dealing.Place | None,
    ) -> dealing.Dealt:
      wanted = wanted_of(params)
      return dealing.deal(
        cameras, backgrounds, key, resolution, size, layout, place, draw, wanted
      )

    @functools.partial(jax.jit, static_argnums=3)
    def keep(
      params: representation_lib.Params,
      dealt: dealing.Dealt,
      index: int,
      num_pixels: int,
    ) -> tuple[dealing.Images, kept_chunks.Kept]:
      chosen = _choose((dealt.chunks, dealt.drawn), index, num_devices)
      return keep_chunks(params, dealing.Dealt(*chosen), num_pixels)

    # Each adds to the sum of those before it. So they run one after the other:
    # on the devices of one CPU, two all-reduces at a time may never end.
    @functools.partial(jax.jit, static_argnums=4)
    def take_back(
      total: Any,
      kept: kept_chunks.Kept,
      cut: Mapping[str, jax.Array],
      index: int,
      num_pixels: int,
    ) -> Any:
      chosen = _choose(cut, index, num_devices)
      gradient = kept_chunks.take_back(kept, chosen, config, num_pixels)
      return jax.tree.map(jnp.add, total, (gradient, kept.parts))

    @functools.partial(jax.jit, static_argnums=5)
    def sum_rest(
      total: Any,
      params: representation_lib.Params,
      dealt: dealing.Dealt,
      cut: Mapping[str, jax.Array],
      first: int,
      num_pixels: int,
    ) -> Any:
      found = sum_vjps(params, dealt, cut, num_pixels, first)
      return jax.tree.map(jnp.add, total, found)

    @functools.partial(jax.jit, static_argnums=3)
    def join(
      dealt: dealing.Dealt,
      kept: Sequence[dealing.Images],
      rest: dealing.Images | None,
      num_views: int,
    ) -> dealing.Images:
      images = _put_first(kept, rest, num_devices)
      return layout.share(dealt.join(images, num_views, resolution))

    @jax.jit
    def cut(
      dealt: dealing.Dealt, cotangents: Mapping[str, jax.Array]
    ) -> dict[str, jax.Array]:
      return dealt.cut_cotangents(cotangents, num_devices)

    @jax.jit
    def finish(summed: Any) -> passes.VjpResult:
      gradient, parts = summed
      return layout.share((gradient, passes.norms_of(gradient), parts))

    self._deal, self._cut, self._join, self._finish = deal, cut, join, finish
    self._keep, self._take_back, self._sum_rest = keep, take_back, sum_rest
    self._render_rest = _make_render_rest(render_chunk, layout)
    self._layout = layout
    self._shapes: Any = None
    self._zeros: Any = None

  def compile(
    self,
    params: representation_lib.Params,
    inputs: tuple[Any, ...],
    cotangents: Mapping[str, Any],
    place: dealing.Place | None = None,
  ) -> None:
    """Compiles the large programs side by side; calls find them compiled.

    Args:
      params, inputs, place: see `render`.
      cotangents: see `pull_back`.
    """
    dealt = self._deal(params, *inputs, place)
    cut = self._cut(dealt, cotangents)
    num_kept, has_rest = self._count(dealt)
    num_pixels = dealing.num_pixels_of(len(inputs[1]), self._resolution, place)
    zeros = self._nothing(params)
    with futures.ThreadPoolExecutor(2) as pool:
      rest = []
      if has_rest:
        for program in (
          self._render_rest.lower(params, num_kept, dealt),
          self._sum_rest.lower(zeros, params, dealt, cut, num_kept, num_pixels),
        ):
          rest.append(pool.submit(program.compile))
      keep = self._keep.lower(params, dealt, 0, num_pixels)
      _, kept = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(
          leaf.shape, leaf.dtype, sharding=sharding
        ),
        keep.out_info,
        keep.compile().output_shardings,
      )
      self._take_back.lower(zeros, kept, cut, 0, num_pixels).compile()
      for one in rest:
        one.result()

  def render(
    self,
    params: representation_lib.Params,
    cameras: camera_lib.Camera,
    backgrounds: arrays.Array,
    key: jax.Array,
    place: dealing.Place | None = None,
  ) -> tuple[dealing.Images, PartlyKept]:
    """Returns what `passes.make_render`'s does, and what is kept."""
    num_views = len(backgrounds)
    num_pixels = dealing.num_pixels_of(num_views, self._resolution, place)
    dealt = self._deal(params, cameras, backgrounds, key, place)
    num_kept, has_rest = self._count(dealt)
    # The rest first, so that nothing is kept yet while it needs its memory.
    rest = self._render_rest(params, num_kept, dealt) if has_rest else None
    both = [
      self._keep(params, dealt, index, num_pixels) for index in range(num_kept)
    ]
    images: dealing.Images = self._join(
      dealt, [one for one, _ in both], rest, num_views
    )
    kept = [one for _, one in both]
    return images, PartlyKept(params, kept, dealt, has_rest)

  def pull_back(
    self,
    kept: PartlyKept,
    cotangents: Mapping[str, jax.Array],
    place: dealing.Place | None = None,
  ) -> passes.VjpResult:
    """Returns what `passes.make_vjp`'s does, for {channel: [V, H, W, 3]}."""
    num_views = len(next(iter(cotangents.values())))
    num_pixels = dealing.num_pixels_of(num_views, self._resolution, place)
    cut = self._cut(kept.dealt, cotangents)
    total = self._nothing(kept.params)
    num_kept = len(kept.chunks)
    for index in range(num_kept):
      # Nothing else holds it: its memory is free for the next one, and for the
      # rest, which is taken back last.
      total = self._take_back(total, kept.chunks.pop(0), cut, index, num_pixels)
    if kept.has_rest:
      total = self._sum_rest(
        total, kept.params, kept.dealt, cut, num_kept, num_pixels
      )
    result: passes.VjpResult = self._finish(total)
    return result

  def _nothing(self, params: representation_lib.Params) -> Any:
    """Returns the gradient and the parts of the loss of no chunk at all."""
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)
    if shapes != self._shapes:
      self._shapes = shapes
      zeros = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), params
      )
      parts = {name: np.zeros((), np.float32) for name in _PARTS}
      self._zeros = self._layout.replicate((zeros, parts))
    return self._zeros

  def _count(self, dealt: dealing.Dealt) -> tuple[int, bool]:
    """Returns how many chunks of a device are kept, and if there are more."""
    num_there = len(dealt.chunks.mask) // self._num_devices
    num_kept = min(self._num_kept, num_there)
    return num_kept, num_kept < num_there


def _make_render_rest(
  render_chunk: passes.RenderChunk, layout: device_mesh.Layout
) -> Any:
  """Returns the compiled render of the chunks that are not kept.

  It maps parameters, how many of each device are kept, and what `dealing.deal`
  returns to images [K, N, ...], which show backgrounds where chunks are kept.
  """
  some = layout.map_chunks(passes.make_local_of_some(render_chunk), sums=False)

  @jax.jit
  def render_rest(
    params: representation_lib.Params, first: int, dealt: dealing.Dealt
  ) -> dealing.Images:
    last = dealt.count(layout.num_devices)
    images: dealing.Images = some(
      (params, first, last), (dealt.chunks, dealt.drawn)
    )
    return images

  return render_rest


def _make_single(render_chunk: passes.RenderChunk) -> Callable[..., Any]:
  """Returns the render of a device's one chunk, without a loop.

  A loop would copy what is kept of its turns into arrays of all turns.
  """

  def local(params: representation_lib.Params, sharded: Any) -> Any:
    chunk, drawn = jax.tree.map(lambda leaf: leaf[0], sharded)
    renders = render_chunk(params, chunk.rays, drawn)
    return tuple(getattr(renders, name)[None] for name in kept_chunks.FIELDS)

  return local


def _choose(tree: Any, index: int, num_devices: int) -> Any:
  """Returns [D, ...], one chunk of each device.

  Args:
    tree: of [K, ...], a row of chunks for each device.
    index: of the chunk in its row.
    num_devices: D.
  """

  def choose(leaf: jax.Array) -> jax.Array:
    rows = leaf.reshape((num_devices, -1) + leaf.shape[1:])
    return jax.lax.dynamic_index_in_dim(rows, index, 1, keepdims=False)

  return jax.tree.map(choose, tree)


def _put_first(kept: Sequence[Any], rest: Any, num_devices: int) -> Any:
  """Puts the first chunks of each device in their places before the others.

  Args:
    kept: trees of [D, ...].
    rest: a tree of [K, ...]; None where every chunk is kept.
    num_devices: D.

  Returns:
    A tree of [K, ...].
  """

  def put(*leaves: jax.Array) -> jax.Array:
    rows = jnp.stack(leaves[: len(kept)], 1)
    if rest is not None:
      others = leaves[-1].reshape((num_devices, -1) + rows.shape[2:])
      rows = jnp.concatenate([rows, others[:, len(kept) :]], 1)
    return rows.reshape((-1,) + rows.shape[2:])

  return jax.tree.map(put, *kept, *([] if rest is None else [rest]))
