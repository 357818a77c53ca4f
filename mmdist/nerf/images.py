"""Whole pictures of a representation, for people to look at."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np
from numpy import typing as npt

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.core import arrays
from mmdist.core import representation as representation_lib
from mmdist.nerf import normals

CHANNELS = ('rgb', 'normals', 'acc', 'depth')


def render_images(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  views: orbits.Views | camera_lib.Camera,
  resolution: int,
  background: npt.ArrayLike,
  with_normals: bool = True,
  chunk_size: int = 1024,
) -> dict[str, np.ndarray]:
  """Renders views without jitter: the same picture every time.

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
    chunk_size: rays at a time; bounds the memory.

  Returns:
    float32 'rgb' [V, H, W, 3], 'normals' [V, H, W, 3], 'acc' [V, H, W] and
    'depth' [V, H, W].
  """
  cameras = views.cameras() if isinstance(views, orbits.Views) else views
  num_views = len(cameras.tan_half_fov)
  background = np.asarray(background, np.float32)
  backgrounds = np.broadcast_to(background, (num_views, 3))
  chunk_size = min(chunk_size, resolution**2)
  render = _renderer(
    representation.render, resolution, with_normals, chunk_size
  )
  pictures = []
  for i in range(num_views):
    camera = cameras.take(i)
    pictures.append(jax.device_get(render(params, camera, backgrounds[i])))
  return {name: np.stack([p[name] for p in pictures]) for name in CHANNELS}


def render_rows(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  camera: camera_lib.Camera,
  resolution: int,
  rows: range,
  background: npt.ArrayLike,
  with_normals: bool = True,
) -> dict[str, np.ndarray]:
  """Renders some rows of a picture, for one that somebody waits for.

  Args:
    representation: see `core.representation`; compiled once for each number of
      rows.
    params: its parameters.
    camera: one camera.
    resolution: H = W of the whole picture.
    rows: which of its rows, without a gap; rows beyond the picture show what a
      taller picture would.
    background: [3] colour in [0, 1].
    with_normals: otherwise the normals are mid-grey.

  Returns:
    As `render_images` of the whole picture, without the axis of views.
  """
  render = _rows_renderer(
    representation.render, resolution, len(rows), with_normals
  )
  background = np.asarray(background, np.float32)
  return jax.device_get(
    render(params, camera, np.float32(rows.start), background)
  )


@functools.lru_cache(maxsize=16)
def _rows_renderer(
  render: representation_lib.Render,
  resolution: int,
  num_rows: int,
  with_normals: bool,
) -> Callable[..., dict[str, jax.Array]]:
  """Returns the compiled function of some rows."""

  @jax.jit
  def render_some(
    params: representation_lib.Params,
    camera: camera_lib.Camera,
    first: arrays.Array,
    background: arrays.Array,
  ) -> dict[str, jax.Array]:
    across = (jnp.arange(resolution) + 0.5) / resolution * 2 - 1
    down = (jnp.arange(num_rows) + first + 0.5) / resolution * 2 - 1
    places = jnp.stack(jnp.meshgrid(across, -down), -1)
    rays = camera_lib.pixel_rays(camera, places, resolution, background)
    return jax.lax.map(  # Row by row.
      functools.partial(_render_chunk, render, with_normals, params), rays
    )

  return render_some


def _render_chunk(
  render: representation_lib.Render,
  with_normals: bool,
  params: representation_lib.Params,
  rays: arrays.Rays,
) -> dict[str, jax.Array]:
  """Renders flat rays; what is outside of the ball is empty."""
  renders = render(params, rays, None, with_normals=with_normals)
  inside = camera_lib.is_in_ball(rays.origins, rays.directions)
  return {
    'rgb': jnp.where(inside, renders.rgb, rays.background),
    'normals': jnp.where(inside, renders.normals, normals.MID_GREY),
    'acc': jnp.where(inside[:, 0], renders.acc, 0.0),
    'depth': jnp.where(inside[:, 0], renders.depth, rays.far[:, 0]),
  }


@functools.lru_cache(maxsize=16)
def _renderer(
  render: representation_lib.Render,
  resolution: int,
  with_normals: bool,
  chunk_size: int,
) -> Callable[..., dict[str, jax.Array]]:
  """Returns the compiled function of one picture."""
  num_pixels = resolution**2
  num_chunks = -(-num_pixels // chunk_size)

  def cut(leaf: jax.Array) -> jax.Array:
    flat = leaf.reshape((num_pixels,) + leaf.shape[2:])
    missing = num_chunks * chunk_size - num_pixels
    padding = [(0, missing)] + [(0, 0)] * (flat.ndim - 1)
    flat = jnp.pad(flat, padding, mode='edge')
    return flat.reshape((num_chunks, chunk_size) + flat.shape[1:])

  def join(chunks: jax.Array) -> jax.Array:
    flat = chunks.reshape((-1,) + chunks.shape[2:])[:num_pixels]
    return flat.reshape((resolution, resolution) + flat.shape[1:])

  @jax.jit
  def render_picture(
    params: representation_lib.Params,
    camera: camera_lib.Camera,
    background: arrays.Array,
  ) -> dict[str, jax.Array]:
    rays = camera_lib.camera_rays(camera, resolution, background)
    chunks = jax.tree.map(cut, rays)
    pictures = jax.lax.map(
      functools.partial(_render_chunk, render, with_normals, params), chunks
    )
    return jax.tree.map(join, pictures)

  return render_picture
