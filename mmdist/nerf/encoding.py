"""Encodings of Gaussians in space and of view directions.

Owns which frequencies a network sees, and along which axes. The Gaussians
themselves come from `mmdist.nerf.volume`.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mmdist.core import arrays
from mmdist.core import errors
from mmdist.core import platforms

# The lowest frequency has a period of 4 world units: longer than the scene's
# ball is wide (2.8), so that no two points of a head look alike to it.
BASE_FREQUENCY = np.pi / 2


def projection_axes(icosahedron: bool, subdivisions: int = 1) -> np.ndarray:
  """Returns the [3, A] unit axes positions are projected on.

  Args:
    icosahedron: the 6 axes through opposite vertices of an icosahedron, or
      x, y, z. Few levels on x, y, z print a grid into the normals, which the
      6 axes do not; the paper-size network uses x, y, z.
    subdivisions: 2 cuts each edge of the icosahedron in half and adds the 15
      axes through these points, for the 21 of mip-NeRF 360.

  Raises:
    UserError: another number of subdivisions.
  """
  if subdivisions not in (1, 2):
    raise errors.UserError(
      f'nerf.icosahedron_subdivisions is {subdivisions}; expected 1 or 2.'
    )
  if not icosahedron:
    return np.eye(3, dtype=np.float32)
  phi = (1 + np.sqrt(5)) / 2
  vertices = np.array(
    [
      [0, 1, phi],
      [0, -1, phi],
      [1, phi, 0],
      [-1, phi, 0],
      [phi, 0, 1],
      [phi, 0, -1],
    ]
  )
  if subdivisions == 2:
    # Of a vertex and its opposite, the nearer one shares an edge.
    edges = [
      a + np.sign(a @ b) * b for a, b in itertools.combinations(vertices, 2)
    ]
    middles = np.array(edges) * np.linalg.norm(vertices[0])
    middles /= np.linalg.norm(edges[0])
    vertices = np.concatenate([vertices, middles])
  return (vertices / np.linalg.norm(vertices[0])).T.astype(np.float32)


def encode_gaussians(
  means: jax.Array, variances: jax.Array, axes: arrays.Array, num_levels: int
) -> jax.Array:
  """Returns the expected sines and cosines of Gaussian-distributed points.

  E[sin(f x)] = sin(f mean) exp(-f^2 variance / 2), so that a wide Gaussian
  fades from the high frequencies. Frequencies double per level; sines,
  cosines and fading follow from the level before (double angles, fourth
  powers), which costs no further transcendental function and leaves cheap
  derivatives of any order.

  Args:
    means: [..., 3] world.
    variances: [..., A] variance along each axis.
    axes: [3, A] unit vectors.
    num_levels: L >= 1.

  Returns:
    [..., 3 + 2 A L]: the means, then per level A sines and A cosines.

  Source: mip-NeRF, eq. 13 and 14; the off-axis projection is mip-NeRF 360's.
  """
  phases = BASE_FREQUENCY * (means @ axes)
  fade = jnp.exp(-0.5 * BASE_FREQUENCY**2 * variances)

  def next_level(
    level: tuple[jax.Array, jax.Array, jax.Array], _: None
  ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
    sines, cosines, fade = level
    features = jnp.concatenate([fade * sines, fade * cosines], -1)
    doubled = 2 * sines * cosines, 1 - 2 * sines * sines
    return (*doubled, jnp.square(jnp.square(fade))), features

  # On a CPU a loop: without one XLA computes each level from the first again.
  unroll = 1 if platforms.is_cpu() else num_levels
  first = jnp.sin(phases), jnp.cos(phases), fade
  _, levels = jax.lax.scan(
    next_level, first, None, length=num_levels, unroll=unroll
  )
  features = jnp.moveaxis(levels, 0, -2).reshape(*means.shape[:-1], -1)
  return jnp.concatenate([means, features], -1)


def encode_viewdirs(viewdirs: jax.Array, num_levels: int) -> jax.Array:
  """Returns [..., 3 + 6 L] directions with sines and cosines of 2^l times them.

  Args:
    viewdirs: [..., 3] unit vectors.
    num_levels: L >= 0 (4 in the paper).
  """
  scales = 2.0 ** np.arange(num_levels, dtype=np.float32)
  phases = viewdirs[..., None, :] * scales[:, None]
  phases = phases.reshape(viewdirs.shape[:-1] + (-1,))
  return jnp.concatenate([viewdirs, jnp.sin(phases), jnp.cos(phases)], -1)
