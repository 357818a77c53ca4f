"""From rays to pixels.

Owns the order of rays, what is shaded where, and the averages. Tracing is
cheap and shading is not, so every pixel has several rays, but a pixel whose
rays all hit one smooth stretch of one material is shaded once, at the mean of
what they hit. Borders of any kind are shaded at every ray.
"""

from collections.abc import Callable
import dataclasses
import functools

import numpy as np

from mmdist.heads.people import pieces
from mmdist.heads.people import rays
from mmdist.heads.people import shading

# Pixels on a side whose rays are neighbours in the packets.
_TILE = 2
# Rays of one pixel may differ by this many of its widths in depth and still
# have hit one stretch of skin, at an angle.
_SLOPE = 5.0
# Never shaded at a mean: an iris is about as large as a pixel.
_SHARP = (pieces.EYE,)


@dataclasses.dataclass(frozen=True)
class Film:
  """What is seen: the mesh and what its vertices carry.

  Attributes:
    mesh: all triangles.
    scene: the same for rays.
    carried: [N, 3 + 2 + `pieces.NUM_EXTRAS`] float32 normals, open sky and
      key light, extras.
  """

  mesh: pieces.Mesh
  scene: rays.Scene
  carried: np.ndarray


Shader = Callable[[shading.Hits], np.ndarray]


def picture(
  film: Film,
  shader: Shader,
  pose: np.ndarray,
  tan: float,
  resolution: int,
  supersampling: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Takes one picture; the results of `bodies.render` without its V.

  Args:
    film: what is seen.
    shader: returns [M, 3] linear light of hits.
    pose: [3, 4] float32 camera to world.
    tan: tangent of half the field of view.
    resolution: H = W, even.
    supersampling: rays per pixel along each axis.
  """
  local, order = _layout(resolution, supersampling)
  axes = np.stack([tan * pose[:, 0], tan * pose[:, 1], -pose[:, 2]])
  directions = np.einsum('rk,kc->rc', local, axes.astype(np.float32))
  triangle, far, weights = film.scene.intersect(pose[:, 3], directions)
  count = supersampling**2
  hit = (triangle >= 0).reshape(-1, count)
  depth = np.where(hit, far.reshape(-1, count), 0)
  width = 2 * tan / resolution
  plain = _is_plain(film.mesh, triangle.reshape(-1, count), depth, width)
  means = np.zeros((len(hit), 8), np.float32)
  means[:, 6] = _mean_of_runs(depth.ravel(), count)
  means[:, 7] = _mean_of_runs(hit.ravel(), count)
  for chosen, is_mean in ((plain, True), ((means[:, 7] > 0) & ~plain, False)):
    pixels = np.flatnonzero(chosen)
    if len(pixels):
      rows = _rays_of(pixels, hit, count)
      values = _values(film, triangle[rows], weights[rows], directions[rows])
      if is_mean:
        values = [_mean_of_runs(value, count) for value in values]
      first = rows[::count] if is_mean else rows
      hits = _hits(film.mesh, triangle[first], *values)
      seen = np.concatenate([np.clip(shader(hits), 0, 1), hits.normals], 1)
      means[pixels, :6] = seen if is_mean else _mean(seen, hit[pixels])
  return _finish(means[order].reshape(resolution, resolution, 8))


def _is_plain(
  mesh: pieces.Mesh, triangle: np.ndarray, depth: np.ndarray, width: float
) -> np.ndarray:
  """Returns [pixels] whether all rays hit one stretch of one material."""
  # Rays first: numpy is slow along short last axes.
  triangle, depth = np.ascontiguousarray(triangle.T), depth.T.copy()
  materials = mesh.materials[triangle]
  material = materials[0]
  whole = (triangle >= 0).all(0) & (materials == material).all(0)
  flat = depth.max(0) - depth.min(0) < _SLOPE * width * depth[0]
  # Strands lie over each other everywhere, and one is as good as the next.
  whole &= flat | (material == pieces.HAIR)
  return whole & ~np.isin(material, _SHARP)


def _mean_of_runs(values: np.ndarray, count: int) -> np.ndarray:
  """Returns the means of every `count` rows."""
  total = values[::count].astype(np.float32)
  for k in range(1, count):
    total += values[k::count]
  return total / np.float32(count)


def _rays_of(pixels: np.ndarray, hit: np.ndarray, count: int) -> np.ndarray:
  """Returns the rows of the rays of pixels that hit something, in order."""
  rows = pixels[:, None] * count + np.arange(count)
  return rows[hit[pixels]]


def _values(
  film: Film,
  triangle: np.ndarray,
  weights: np.ndarray,
  directions: np.ndarray,
) -> list[np.ndarray]:
  """Interpolates what the vertices of hit triangles carry."""
  corners = film.mesh.triangles[triangle]
  second, third = weights[:, :1], weights[:, 1:]
  values = film.carried[corners[:, 0]] * (1 - second - third)
  values += film.carried[corners[:, 1]] * second
  values += film.carried[corners[:, 2]] * third
  # Thin things face the viewer on both sides. Their rays are averaged, so
  # each is turned before.
  thin = film.mesh.materials[triangle] != pieces.SKIN
  away = np.einsum('mc,mc->m', values[:, :3], directions) > 0
  values[thin & away, :3] *= -1
  return [values, directions]


def _hits(
  mesh: pieces.Mesh,
  triangle: np.ndarray,
  values: np.ndarray,
  directions: np.ndarray,
) -> shading.Hits:
  return shading.Hits(
    pieces.unit(values[:, :3]),
    pieces.unit(-directions),
    values[:, 3:5],
    values[:, 5:],
    mesh.materials[triangle],
    mesh.colors[mesh.piece[triangle]],
  )


def _mean(seen: np.ndarray, hit: np.ndarray) -> np.ndarray:
  """Returns [P, 6] means over the rays of P pixels; misses count as zero."""
  values = np.zeros(hit.shape + seen.shape[1:], np.float32)
  values[hit] = seen
  return values.mean(1)


def _finish(
  mean: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Turns means over pixels into colours, normals and depth."""
  alpha = mean[..., 7:]
  inverse = 1 / np.maximum(alpha, 1e-6)
  color = to_srgb(mean[..., :3] * inverse) * alpha
  normals = pieces.unit(mean[..., 3:6]) * alpha
  depth = np.where(alpha > 0, mean[..., 6:7] * inverse, np.inf)[..., 0]
  return (
    np.concatenate([color, alpha], -1),
    normals * 0.5 + 0.5,
    depth.astype(np.float32),
  )


def to_srgb(light: np.ndarray) -> np.ndarray:
  """Turns linear light in [0, 1] into sRGB."""
  curved = 1.055 * np.maximum(light, 1e-8) ** (1 / 2.4) - 0.055
  return np.where(light <= 0.0031308, 12.92 * light, curved)


@functools.lru_cache(maxsize=4)
def _layout(
  resolution: int, supersampling: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns where rays go, tile by tile, and how to put pixels in order.

  Returns:
    ([R, 3] float32 (x, y, 1) with x and y in [-1, 1] across the picture, all
    rays of a pixel after each other; [H * W] rank of each pixel).
  """
  size = resolution * supersampling
  ticks = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
  x, y = np.meshgrid(ticks, -ticks)
  local = np.stack([x, y, np.ones_like(x)], -1)
  tiles = resolution // _TILE
  split = (tiles, _TILE, supersampling, tiles, _TILE, supersampling)
  local = local.reshape(*split, 3).transpose(0, 3, 1, 4, 2, 5, 6)
  pixel = np.arange(resolution**2).reshape(tiles, _TILE, tiles, _TILE)
  order = pixel.transpose(0, 2, 1, 3).ravel().argsort()
  return local.reshape(-1, 3).astype(np.float32), order
