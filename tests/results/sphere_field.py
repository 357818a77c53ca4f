"""A representation with a closed form: a ball, red at x > 0, blue elsewhere.

Stands in for the conditional NeRF where a test must know the right answer.
"""

import functools

import jax
import jax.numpy as jnp

from mmdist.core import arrays
from mmdist.nerf import field

PEAK_DENSITY = 60.0  # Per world unit, well inside.
NUM_SAMPLES = 128
RED = (0.9, 0.2, 0.1)
BLUE = (0.1, 0.2, 0.9)


def density(params, points):
  """Density [N] of points [N, 3]: a soft-edged ball around `center`."""
  distance = jnp.linalg.norm(points - params['center'], axis=-1)
  return PEAK_DENSITY * jax.nn.sigmoid((params['radius'] - distance) / 0.01)


def two_colors(points):
  """Red at x > 0 and blue elsewhere."""
  return jnp.where(points[..., :1] > 0, jnp.array(RED), jnp.array(BLUE))


def straight(outward):
  """The ball's own normals."""
  return outward


def render(
  params,
  rays,
  key=None,
  *,
  with_normals=True,
  color_of=two_colors,
  normal_of=straight,
):
  """Integrates rays [N, ...] by plain quadrature."""
  del key  # Deterministic.
  ticks = (jnp.arange(NUM_SAMPLES) + 0.5) / NUM_SAMPLES
  length = rays.far - rays.near
  tdist = rays.near + length * ticks
  points = rays.origins[:, None] + tdist[..., None] * rays.directions[:, None]
  optical = density(params, points) * length / NUM_SAMPLES
  before = jnp.cumsum(optical, -1) - optical
  weights = jnp.exp(-before) * (1 - jnp.exp(-optical))
  color = color_of(points)
  outward = points - params['center']
  outward /= jnp.linalg.norm(outward, axis=-1, keepdims=True)
  acc = jnp.sum(weights, -1)
  clear = 1 - acc[:, None]
  normals = (
    jnp.sum(weights[..., None] * (normal_of(outward) + 1) / 2, 1) + 0.5 * clear
  )
  return arrays.Renders(
    rgb=jnp.sum(weights[..., None] * color, 1) + clear * rays.background,
    normals=normals if with_normals else jnp.full_like(normals, 0.5),
    acc=acc,
    depth=jnp.sum(weights * tdist, -1) + (1 - acc) * rays.far[:, 0],
    regularizer=jnp.zeros_like(acc),
  )


def params_of(radius=0.7, center=(0.0, 0.0, 0.0)):
  """Returns the parameters of one ball."""
  return {'radius': jnp.float32(radius), 'center': jnp.array(center)}


def representation(
  color_of=two_colors, normal_of=straight
) -> field.ConditionalNerf:
  """Returns the ball as results/ and evaluation/ see a NeRF.

  Args:
    color_of: colours [..., 3] of points [..., 3].
    normal_of: unit normals [..., 3] that are shown in place of the ball's own.
  """
  return field.ConditionalNerf(
    init=lambda key: params_of(),
    render=functools.partial(render, color_of=color_of, normal_of=normal_of),
    density=density,
  )
