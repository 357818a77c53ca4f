"""Whole pictures of a representation, for people to look at."""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy import typing as npt

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.core import arrays
from mmdist.core import device_mesh
from mmdist.core import representation as representation_lib
from mmdist.nerf import occupancy
from mmdist.nerf import ray_order

CHANNELS = ('rgb', 'normals', 'acc', 'depth')
# Rays at a time on each device; bounds the memory. On a CPU few, whose
# activations fit into its caches also with the many samples of quality mode.
_CHUNK_SIZES = {'cpu': 16}
_CHUNK_SIZE = 1024  # Elsewhere.
# A ray that can only have less opacity than this shows what is behind it: it
# could not change a picture of 8 bits.
_EMPTY_OPACITY = 1e-3
_POINTS_AT_ONCE = 512  # Of the occupancy grid, on each device.


def render_images(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  views: orbits.Views | camera_lib.Camera,
  resolution: int,
  background: npt.ArrayLike,
  with_normals: bool = True,
  chunk_size: int | None = None,
) -> dict[str, np.ndarray]:
  """Renders views without jitter: the same picture every time.

  All local devices share the rays of each picture.

  Outside of the scene's ball there is nothing: a ray that misses it shows the
  background. A field is not trained there, and its periodic encoding would
  show the head again and again. (The learner's own render has no such rule,
  since its cameras look at the head.)

  Args:
    representation: see `core.representation`; compiled once per resolution.
    params: its parameters.
    views: V views, or their [V] cameras.
    resolution: H = W.
    background: [3] colour in [0, 1], or one per view as [V, 3].
    with_normals: otherwise the normals are mid-grey.
    chunk_size: rays at a time on each device; bounds the memory. None takes
      what suits the device.

  Returns:
    float32 'rgb' [V, H, W, 3], 'normals' [V, H, W, 3], 'acc' [V, H, W] and
    'depth' [V, H, W].
  """
  cameras = views.cameras() if isinstance(views, orbits.Views) else views
  num_views = len(cameras.tan_half_fov)
  background = np.asarray(background, np.float32)
  backgrounds = np.broadcast_to(background, (num_views, 3))
  layout = device_mesh.local_layout()
  render = _renderer(
    representation.render,
    resolution,
    with_normals,
    min(chunk_size or _suitable(layout), resolution**2),
    layout,
  )
  # From wherever they are: a learner may have had fewer devices.
  params = layout.replicate(params)
  grid = _grid_of(representation, params, layout)
  pictures = []
  for i in range(num_views):
    camera = cameras.take(i)
    pictures.append(
      jax.device_get(render(params, grid, camera, backgrounds[i]))
    )
  return {name: np.stack([p[name] for p in pictures]) for name in CHANNELS}


def _grid_of(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  layout: device_mesh.Layout,
) -> jax.Array | None:
  """Returns `occupancy.make_grid`'s; None if the density is not known."""
  density = getattr(representation, 'blurred_density', None)
  return None if density is None else _grid_maker(density, layout)(params)


@functools.lru_cache(maxsize=16)
def _grid_maker(
  density: occupancy.BlurredDensity, layout: device_mesh.Layout
) -> Callable[[representation_lib.Params], jax.Array]:
  """Returns the compiled function of the occupancy grid."""
  return jax.jit(
    lambda params: occupancy.make_grid(density, params, layout, _POINTS_AT_ONCE)
  )


def render_places(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  camera: camera_lib.Camera,
  places: npt.ArrayLike,
  resolution: int,
  background: npt.ArrayLike,
  with_normals: bool = True,
) -> dict[str, np.ndarray]:
  """Renders some pixels of a picture, for one that somebody waits for.

  Args:
    representation: see `core.representation`; compiled once for each number of
      places, whatever the resolution.
    params: its parameters.
    camera: one camera.
    places: [N, 2] x to the right and y up, -1 to 1 across the whole picture.
    resolution: H = W of the whole picture, for the size of a pixel.
    background: [3] colour in [0, 1].
    with_normals: otherwise the normals are mid-grey.

  Returns:
    As `render_images`, with [N] in place of the axes of views and pixels.
  """
  places = np.asarray(places, np.float32)
  layout = device_mesh.local_layout()
  render = _places_renderer(
    representation.render, len(places), with_normals, layout
  )
  background = np.asarray(background, np.float32)
  params = layout.replicate(params)
  return jax.device_get(
    render(params, camera, places, np.float32(resolution), background)
  )


@functools.lru_cache(maxsize=16)
def _places_renderer(
  render: representation_lib.Render,
  num_places: int,
  with_normals: bool,
  layout: device_mesh.Layout,
) -> Callable[..., dict[str, jax.Array]]:
  """Returns the compiled function of some pixels."""
  chunk_size = min(_suitable(layout), num_places)

  @jax.jit
  def render_some(
    params: representation_lib.Params,
    camera: camera_lib.Camera,
    places: arrays.Array,
    resolution: arrays.Array,
    background: arrays.Array,
  ) -> dict[str, jax.Array]:
    rays = camera_lib.pixel_rays(
      camera, jnp.asarray(places), resolution, background
    )
    return _render_flat(render, with_normals, params, rays, chunk_size, layout)

  return render_some


def render_rays(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  rays: arrays.Rays,
  with_normals: bool = True,
) -> dict[str, np.ndarray]:
  """Renders rays that belong to no picture, as pictures are rendered.

  Args:
    representation: see `core.representation`; compiled once for each number of
      rays, so a caller with many passes blocks of one size.
    params: its parameters.
    rays: flat, [N].
    with_normals: otherwise the normals are mid-grey.

  Returns:
    As `render_images`, with [N] in place of the axes of views and pixels.
  """
  layout = device_mesh.local_layout()
  render = _rays_renderer(
    representation.render, len(rays.near), with_normals, layout
  )
  return jax.device_get(render(layout.replicate(params), rays))


@functools.lru_cache(maxsize=16)
def _rays_renderer(
  render: representation_lib.Render,
  num_rays: int,
  with_normals: bool,
  layout: device_mesh.Layout,
) -> Callable[..., dict[str, jax.Array]]:
  """Returns the compiled function of some rays."""
  chunk_size = min(_suitable(layout), num_rays)

  @jax.jit
  def render_some(
    params: representation_lib.Params, rays: arrays.Rays
  ) -> dict[str, jax.Array]:
    return _render_flat(render, with_normals, params, rays, chunk_size, layout)

  return render_some


def _suitable(layout: device_mesh.Layout) -> int:
  """Returns how many rays at a time suit the devices."""
  return _CHUNK_SIZES.get(layout.platform, _CHUNK_SIZE)


def _render_flat(
  render: representation_lib.Render,
  with_normals: bool,
  params: representation_lib.Params,
  rays: arrays.Rays,
  chunk_size: int,
  layout: device_mesh.Layout,
  grid: jax.Array | None = None,
) -> dict[str, jax.Array]:
  """Renders [N] rays, some at a time; returns what `_render_chunk` does.

  With the grid of `_grid_of`, those that meet something.
  """
  num_rays = rays.near.shape[0]
  num_rounds = -(-num_rays // (chunk_size * layout.num_devices))
  num_chunks = num_rounds * layout.num_devices

  def cut(leaf: jax.Array) -> jax.Array:
    missing = num_chunks * chunk_size - num_rays
    padding = [(0, missing)] + [(0, 0)] * (leaf.ndim - 1)
    padded = jnp.pad(leaf, padding, mode='edge')
    return padded.reshape((num_chunks, chunk_size) + leaf.shape[1:])

  def join(chunks: jax.Array) -> jax.Array:
    return chunks.reshape((-1,) + chunks.shape[2:])[:num_rays]

  def local_of_all(params: representation_lib.Params, chunks: Any) -> Any:
    one = functools.partial(_render_chunk, render, with_normals, params)
    return jax.lax.map(one, chunks)

  def local_of_some(replicated: Any, chunks: arrays.Rays) -> Any:
    params, num_rounds = replicated
    one = functools.partial(_render_chunk, render, with_normals, params)
    return ray_order.map_some(
      one, chunks, 0, num_rounds, occupancy.empty_renders(chunks)
    )

  # Each device casts all rays, so that they are the same bits on any number.
  chunks = layout.compute_alike(jax.tree.map(cut, rays))
  rendered: dict[str, jax.Array]
  if grid is None:
    rendered = layout.map_chunks(local_of_all, sums=False)(params, chunks)
    return jax.tree.map(join, rendered)
  opacity = occupancy.most_opacity(grid, rays)
  wanted = cut(occupancy.may_show(opacity, _EMPTY_OPACITY))
  order = layout.compute_alike(ray_order.put_first(wanted, layout.num_devices))
  ordered = ray_order.apply(order, chunks)
  some = layout.map_chunks(local_of_some, sums=False)
  rendered = ray_order.undo(order, some((params, order.num_rounds), ordered))
  seen = ray_order.only(wanted, rendered, occupancy.empty_renders(chunks))
  joined: dict[str, jax.Array] = jax.tree.map(join, seen)
  return joined


def _render_chunk(
  render: representation_lib.Render,
  with_normals: bool,
  params: representation_lib.Params,
  rays: arrays.Rays,
) -> dict[str, jax.Array]:
  """Renders flat rays; what is outside of the ball is empty."""
  renders = render(params, rays, None, with_normals=with_normals)
  inside = camera_lib.is_in_ball(rays.origins, rays.directions)
  empty = occupancy.empty_renders(rays)
  return {
    'rgb': jnp.where(inside, renders.rgb, empty['rgb']),
    'normals': jnp.where(inside, renders.normals, empty['normals']),
    'acc': jnp.where(inside[:, 0], renders.acc, empty['acc']),
    'depth': jnp.where(inside[:, 0], renders.depth, empty['depth']),
  }


@functools.lru_cache(maxsize=16)
def _renderer(
  render: representation_lib.Render,
  resolution: int,
  with_normals: bool,
  chunk_size: int,
  layout: device_mesh.Layout,
) -> Callable[..., dict[str, jax.Array]]:
  """Returns the compiled function of one picture."""

  def flatten(leaf: jax.Array) -> jax.Array:
    return leaf.reshape((resolution**2,) + leaf.shape[2:])

  def unflatten(leaf: jax.Array) -> jax.Array:
    return leaf.reshape((resolution, resolution) + leaf.shape[1:])

  @jax.jit
  def render_picture(
    params: representation_lib.Params,
    grid: jax.Array | None,
    camera: camera_lib.Camera,
    background: arrays.Array,
  ) -> dict[str, jax.Array]:
    rays = camera_lib.camera_rays(camera, resolution, background)
    flat = _render_flat(
      render,
      with_normals,
      params,
      jax.tree.map(flatten, rays),
      chunk_size,
      layout,
      grid,
    )
    return jax.tree.map(unflatten, flat)

  return render_picture
