"""Renders procedural heads: sphere tracing with skipped background.

Owns rays, marching and shading; geometry and albedo come from
`mmdist.heads.clay.geometry`. Light is fixed in the world, as in a studio.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mmdist.cameras import camera as camera_lib
from mmdist.heads.clay import geometry as head_geometry
from mmdist.heads.clay import sdf

BLOCK = 4  # Pixels on a side that share one cone in the coarse march.
# Each chunk stops when its last ray has hit or left.
BLOCKS_PER_CHUNK = 32
COARSE_STEPS = 20
FINE_STEPS = 48  # Of small pictures; at 22, 0.3 % of their pixels are missed.
FINE_STEPS_LARGE = 80
SMALL_PICTURE = 64
HIT_DISTANCE = 0.004
LIGHT = np.array([0.45, 0.65, 0.62]) / np.linalg.norm([0.45, 0.65, 0.62])


# Of a march: its step; distance along each ray, distance to the head there;
# the closest pass in pixels' terms, and where it was.
_State = tuple[int | jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]


@functools.partial(jax.jit, static_argnames=('resolution', 'supersampling'))
def render(
  parameters: sdf.Parameters,
  camera: camera_lib.Camera,
  background: jax.Array,
  resolution: int,
  supersampling: int = 1,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Renders one head.

  Args:
    parameters: dict of `mmdist.heads.clay.parameters.shape_parameters`.
    camera: a single `Camera`.
    background: [3] colour behind the head.
    resolution: H = W of the result, a multiple of 4.
    supersampling: rays per pixel along each axis.

  Returns:
    (rgb [H, W, 3] over the background, normals [H, W, 3] unit world normals,
    zero on the background, mask [H, W] in [0, 1]).
  """
  size = resolution * supersampling
  rays = camera_lib.camera_rays(camera, size, background)
  blocks = size // BLOCK
  near, far = rays.near[0, 0, 0], jnp.max(rays.far)
  directions = _to_blocks(rays.directions, blocks)
  origin = rays.origins[0, 0]
  pixel = 2 * jnp.asarray(camera.tan_half_fov) / size
  start, order, num_active = _coarse_march(
    parameters, origin, directions, near, far, pixel
  )
  near_blocks = jnp.repeat(start, BLOCK * BLOCK).reshape(blocks * blocks, -1)
  shaded = _fine_pass(
    parameters,
    origin,
    directions[order],
    near_blocks[order],
    far,
    pixel * supersampling,
    num_active,
    FINE_STEPS if size <= SMALL_PICTURE else FINE_STEPS_LARGE,
  )
  shaded = jnp.zeros_like(shaded).at[order].set(shaded)
  image = _from_blocks(shaded, blocks)
  coverage = _only_silhouettes(image[..., 6:])
  image = jnp.concatenate([image[..., :6] * coverage, coverage], -1)
  image = image.reshape(resolution, supersampling, resolution, supersampling, 7)
  image = image.mean((1, 3))
  mask = image[..., 6]
  rgb = image[..., :3] + (1 - mask[..., None]) * background
  normals = image[..., 3:6]
  length = jnp.linalg.norm(normals, axis=-1, keepdims=True)
  return rgb, normals / jnp.maximum(length, 1e-6) * mask[..., None], mask


def _only_silhouettes(coverage: jax.Array) -> jax.Array:
  """Keeps partial coverage [H, W, 1] only where background is next to it.

  Elsewhere there is more of the head behind a grazed edge, and the background
  must not shine through.
  """
  covered = (coverage >= 0.5).astype(coverage.dtype)
  surrounded = -jax.lax.reduce_window(
    -covered, -jnp.inf, jax.lax.max, (3, 3, 1), (1, 1, 1), 'SAME'
  )
  return jnp.where(surrounded > 0.5, 1.0, coverage)


def _to_blocks(image: jax.Array, blocks: int) -> jax.Array:
  """[H, W, 3] -> [blocks^2, BLOCK^2, 3]."""
  image = image.reshape(blocks, BLOCK, blocks, BLOCK, -1)
  return image.transpose(0, 2, 1, 3, 4).reshape(blocks**2, BLOCK**2, -1)


def _from_blocks(values: jax.Array, blocks: int) -> jax.Array:
  """Inverse of `_to_blocks`."""
  values = values.reshape(blocks, blocks, BLOCK, BLOCK, -1)
  size = blocks * BLOCK
  return values.transpose(0, 2, 1, 3, 4).reshape(size, size, -1)


def _coarse_march(
  parameters: sdf.Parameters,
  origin: jax.Array,
  directions: jax.Array,
  near: jax.Array,
  far: jax.Array,
  pixel: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Marches one cone per block; returns distances and which blocks go on."""
  middle = directions.mean(1)
  middle /= jnp.linalg.norm(middle, axis=-1, keepdims=True)
  spread = pixel * BLOCK * 0.75  # Half the block's diagonal, a little wider.

  def step(_: jax.Array, t: jax.Array) -> jax.Array:
    points = origin + t[:, None] * middle
    clear = head_geometry.distance(points, parameters) - spread * t
    ahead = jnp.maximum(clear, 0.0) * head_geometry.STEP_SAFETY
    return jnp.minimum(t + ahead, far)

  t = jnp.full(middle.shape[:1], near)
  t = jax.lax.fori_loop(0, COARSE_STEPS, step, t)
  active = t < far
  return t, jnp.argsort(~active, stable=True), active.sum()


def _fine_pass(
  parameters: sdf.Parameters,
  origin: jax.Array,
  directions: jax.Array,
  start: jax.Array,
  far: jax.Array,
  pixel: jax.Array,
  num_active: jax.Array,
  num_steps: int,
) -> jax.Array:
  """Marches and shades the first `num_active` blocks, chunk by chunk."""
  count = directions.shape[0]
  per_chunk = min(BLOCKS_PER_CHUNK, count)
  rays = per_chunk * BLOCK**2

  def chunk(i: jax.Array, out: jax.Array) -> jax.Array:
    first = i * per_chunk
    d = jax.lax.dynamic_slice_in_dim(directions, first, per_chunk)
    t = jax.lax.dynamic_slice_in_dim(start, first, per_chunk)
    d, t = d.reshape(rays, 3), t.reshape(rays)
    t, coverage = _march(parameters, origin, d, t, far, pixel, num_steps)
    values = _shade(parameters, origin, d, t, coverage, pixel)
    values = values.reshape(per_chunk, BLOCK**2, 7)
    return jax.lax.dynamic_update_slice_in_dim(out, values, first, 0)

  num_chunks = (num_active + per_chunk - 1) // per_chunk
  empty = jnp.zeros((count, BLOCK**2, 7))
  return jax.lax.fori_loop(0, num_chunks, chunk, empty)


def _shade(
  parameters: sdf.Parameters,
  origin: jax.Array,
  directions: jax.Array,
  t: jax.Array,
  coverage: jax.Array,
  pixel: jax.Array,
) -> jax.Array:
  """Returns [N, 7]: rgb, normal, coverage."""
  points = origin + t[:, None] * directions
  normals = surface_normals(parameters, points)
  color = head_geometry.albedo(points, parameters, pixel * t)
  reach = 0.16
  beyond = points + reach * normals
  open_sky = jnp.clip(
    head_geometry.distance(beyond, parameters) / reach, 0.0, 1.0
  )
  diffuse = jnp.clip(normals @ LIGHT, 0.0, 1.0)
  shade = 0.50 + 0.20 * normals[:, 1] + 0.42 * diffuse
  shade *= 0.55 + 0.45 * open_sky
  rgb = jnp.clip(color * shade[:, None] * 1.05, 0.0, 1.0) ** 0.85
  return jnp.concatenate([rgb, normals, coverage[:, None]], -1)


def _march(
  parameters: sdf.Parameters,
  origin: jax.Array,
  directions: jax.Array,
  t: jax.Array,
  far: jax.Array,
  pixel: jax.Array,
  num_steps: int,
) -> tuple[jax.Array, jax.Array]:
  """Sphere-traces until every ray of the chunk has hit or left.

  Returns:
    ([N] distance of the hit, or of the closest pass; [N] how much of the
    pixel the surface covers). Coverage replaces supersampling at silhouettes:
    a miss within half a pixel covers less than a half, and a hit that only
    grazes covers more than a half by how deep the ray goes.
  """

  def clearance(t: jax.Array) -> jax.Array:
    points = origin + t[:, None] * directions
    return head_geometry.distance(points, parameters)

  def pending(state: _State) -> jax.Array:
    i, t, d, _, _ = state
    return (i < num_steps) & jnp.any((d > HIT_DISTANCE) & (t < far))

  def step(state: _State) -> _State:
    i, t, _, closest, closest_t = state
    d = clearance(t)
    closer = d / t < closest
    closest_t = jnp.where(closer, t, closest_t)
    closest = jnp.where(closer, d / t, closest)
    ahead = jnp.maximum(d, HIT_DISTANCE / 4) * head_geometry.STEP_SAFETY
    ahead = jnp.where(d > HIT_DISTANCE, ahead, 0.0)
    return i + 1, jnp.minimum(t + ahead, far), d, closest, closest_t

  start: _State = (0, t, jnp.full_like(t, 1.0), jnp.full_like(t, 1.0), t)
  _, t, d, closest, closest_t = jax.lax.while_loop(pending, step, start)
  # A ray that grazes may run out of steps within a fraction of a pixel.
  hit = (d < jnp.maximum(3 * HIT_DISTANCE, 0.3 * pixel * t)) & (t < far)
  t = jnp.where(hit, t, closest_t)

  def go_deeper(depth: jax.Array, chord: jax.Array) -> tuple[jax.Array, None]:
    return jnp.minimum(depth, clearance(t + chord) / t), None

  depth, _ = jax.lax.scan(
    go_deeper, jnp.zeros_like(t), jnp.asarray([0.02, 0.05, 0.11])
  )
  inside = jnp.clip(0.5 - depth / pixel, 0.5, 1.0)
  outside = jnp.clip(0.5 - closest / pixel, 0.0, 0.5)
  return t, jnp.where(hit, inside, outside)


def surface_normals(
  parameters: sdf.Parameters, points: jax.Array, width: float = 0.005
) -> jax.Array:
  """Returns [N, 3] unit normals by a tetrahedron of central differences."""
  corners = np.array(
    [[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32
  )

  def add(total: jax.Array, corner: jax.Array) -> tuple[jax.Array, None]:
    d = head_geometry.distance(points + width * corner, parameters)
    return total + d[:, None] * corner, None

  total, _ = jax.lax.scan(add, jnp.zeros_like(points), jnp.asarray(corners))
  return total / (jnp.linalg.norm(total, axis=-1, keepdims=True) + 1e-8)
