"""A 3D representation of a few lines: a soft ball whose colours are learned.

Stands in for the conditional NeRF where a test is about the learner: it has
the same two functions, uses the jitter key, and renders in microseconds.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from mmdist.core import arrays

NUM_SAMPLES = 6
CODE_SIZE = 3


@dataclasses.dataclass(frozen=True)
class TinyField:
  init: Callable
  render: Callable


def init(key):
  scale = 0.5 * jax.random.normal(key, (3, 3))
  return {
    'nerf': {'colors': scale, 'radius': jnp.float32(0.8)},
    'proposal': {'unused': jnp.zeros(2)},
    'code': jnp.zeros(CODE_SIZE),
  }


def _density(params, points):
  distance = jnp.sqrt(jnp.sum(points**2, -1) + 1e-3)
  return 4 * jax.nn.sigmoid(6 * (params['nerf']['radius'] - distance))


def render(params, rays: arrays.Rays, key, *, with_normals: bool = True):
  num_rays = rays.origins.shape[0]
  jitter = (
    jnp.full((num_rays, NUM_SAMPLES), 0.5)
    if key is None
    else jax.random.uniform(key, (num_rays, NUM_SAMPLES))
  )
  return render_at(_density, params, rays, jitter, with_normals)


def render_at(density, params, rays, jitter, with_normals=True):
  """Renders a density of points at samples that are jittered, [N, S]."""
  num_rays, num_samples = jitter.shape
  span = (rays.far - rays.near) / num_samples
  tdist = rays.near + span * (jnp.arange(num_samples) + jitter)
  points = rays.origins[:, None] + tdist[..., None] * rays.directions[:, None]
  alpha = 1 - jnp.exp(-density(params, points) * span)
  clear = jnp.cumprod(
    jnp.concatenate([jnp.ones((num_rays, 1)), 1 - alpha], 1), 1
  )
  weights = alpha * clear[:, :-1]
  color = jax.nn.sigmoid(points @ params['nerf']['colors'] + params['code'])
  rgb = jnp.sum(weights[..., None] * color, 1) + clear[:, -1:] * rays.background
  normals = jnp.full((num_rays, 3), 0.5)
  if with_normals:
    slope = jax.grad(lambda p: density(params, p).sum())(points)
    unit = -slope / jnp.sqrt(jnp.sum(slope**2, -1, keepdims=True) + 1e-6)
    normals = 0.5 + 0.5 * jnp.sum(weights[..., None] * unit, 1)
  return arrays.Renders(
    rgb=rgb,
    normals=normals,
    acc=weights.sum(-1),
    depth=jnp.sum(weights * tdist, -1),
    regularizer=jnp.sum(weights**2, -1),
  )


def tiny_field() -> TinyField:
  return TinyField(init, render)
