"""Step functions along a ray: histograms between fence posts.

Owns resampling and measures of histograms. It sums over all bins instead of
searching for one. With a few dozen bins that is faster, because such sums
vectorise and need no sort, no gather and, in the backward pass, no scatter.
"""

import jax
import jax.numpy as jnp


def weights_to_cdf(weights: jax.Array) -> jax.Array:
  """Turns [N, S] non-negative weights into a [N, S + 1] CDF from 0 to 1."""
  total = jnp.cumsum(weights, -1)
  total = total / jnp.maximum(total[:, -1:], 1e-12)
  return jnp.pad(total, ((0, 0), (1, 0)))


def uniform_sdist(
  num_rays: int, num_samples: int, uniforms: jax.Array | None = None
) -> jax.Array:
  """Returns [N, S + 1] even fence posts in [0, 1]; the ends stay in place.

  Args:
    num_rays: N.
    num_samples: S.
    uniforms: [N, S - 1] in [0, 1): jitter the inner posts by up to half a bin
      each way; None does not.
  """
  sdist = jnp.linspace(0.0, 1.0, num_samples + 1)
  sdist = jnp.broadcast_to(sdist, (num_rays, num_samples + 1))
  if uniforms is None:
    return sdist
  jitter = uniforms - 0.5
  return sdist + jnp.pad(jitter / num_samples, ((0, 0), (1, 1)))


def resample(
  sdist: jax.Array,
  weights: jax.Array,
  num_samples: int,
  uniforms: jax.Array | None = None,
) -> jax.Array:
  """Draws new fence posts where the weights are, by inverting their CDF.

  Args:
    sdist: [N, S + 1] increasing.
    weights: [N, S] non-negative, at least one positive per ray.
    num_samples: bins between the new posts.
    uniforms: [N, num_samples + 1] in [0, 1): where each post lies within its
      stratum of probability; None takes the strata's middles.

  Returns:
    [N, num_samples + 1] increasing posts. No gradient flows through them.
  """
  num_posts = num_samples + 1
  shape = (sdist.shape[0], num_posts)
  offset = 0.5 if uniforms is None else uniforms
  u = jnp.broadcast_to((jnp.arange(num_posts) + offset) / num_posts, shape)
  new_sdist = invert_cdf(sdist, weights_to_cdf(weights), u)
  return jax.lax.stop_gradient(new_sdist)


def invert_cdf(sdist: jax.Array, cdf: jax.Array, u: jax.Array) -> jax.Array:
  """Returns [N, U] positions where a piecewise linear CDF reaches `u`.

  Every bin adds the share of its width that lies below u.

  Args:
    sdist: [N, S + 1] increasing.
    cdf: [N, S + 1] from 0 to 1.
    u: [N, U] in [0, 1].
  """
  height = jnp.maximum(jnp.diff(cdf, axis=-1), 1e-9)
  share = (u[:, :, None] - cdf[:, None, :-1]) / height[:, None, :]
  width = jnp.diff(sdist, axis=-1)[:, None, :]
  return sdist[:, :1] + jnp.sum(jnp.clip(share, 0.0, 1.0) * width, -1)


def outer_measure(
  sdist: jax.Array, envelope_sdist: jax.Array, envelope_weights: jax.Array
) -> jax.Array:
  """Sums, per bin, the weights of all envelope bins that overlap it.

  No histogram on `sdist` that agrees with the envelope can hold more.

  Args:
    sdist: [N, S + 1].
    envelope_sdist: [N, E + 1].
    envelope_weights: [N, E].

  Returns:
    [N, S] upper bounds.

  Source: mip-NeRF 360, eq. 12.
  """
  overlaps = (envelope_sdist[:, None, :-1] < sdist[:, 1:, None]) & (
    envelope_sdist[:, None, 1:] > sdist[:, :-1, None]
  )
  return jnp.sum(jnp.where(overlaps, envelope_weights[:, None, :], 0.0), -1)
