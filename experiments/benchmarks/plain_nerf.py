"""A plain JAX reading of the conditional NeRF: the baseline of the benchmark.

The same maths on the same parameters, written as its papers write it, without
the forms that `mmdist.nerf` takes for speed: the code is joined to the input of
every layer of every sample, frequencies are powers of two times the position,
sums along a ray are cumulative, a CDF is inverted by a sorted search, and the
normal is the gradient of one sample's density, mapped over all samples. A test
holds its pictures to those of `mmdist.nerf.field`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from mmdist.config import schema
from mmdist.core import arrays
from mmdist.nerf import encoding
from mmdist.nerf import field

# Formulas whose derivatives are left to JAX.
_ACTIVATIONS = {
  'squareplus': lambda x: (x + jnp.sqrt(x * x + 0.25)) / 2,
  'relu': jax.nn.relu,
}
_EPSILON = 1e-4  # As in `mmdist.nerf.normals`.


def render(
  config: schema.NerfConfig,
  params: Any,
  rays: arrays.Rays,
  with_normals: bool = True,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Renders rays [N] without jitter.

  Args:
    config: one proposal pass is made.
    params: of `mmdist.nerf.field`.
    rays: [N].
    with_normals: otherwise normals are zero.

  Returns:
    Colours [N, 3], coloured normals [N, 3] and opacities [N].
  """
  axes = jnp.asarray(
    encoding.projection_axes(
      config.icosahedron_axes, config.icosahedron_subdivisions
    )
  )
  scales = 2.0 ** jnp.arange(config.position_levels)
  activation = _ACTIVATIONS[config.activation]

  def encode(mean: jax.Array, variance: jax.Array) -> jax.Array:
    phases = encoding.BASE_FREQUENCY * scales[:, None] * (mean @ axes)
    fade = jnp.exp(
      -0.5 * jnp.square(encoding.BASE_FREQUENCY * scales)[:, None] * variance
    )
    waves = jnp.stack([fade * jnp.sin(phases), fade * jnp.cos(phases)], 1)
    return jnp.concatenate([mean, waves.ravel()])

  def layer(weights: Any, x: jax.Array, code: jax.Array) -> jax.Array:
    kernel = jnp.concatenate([weights['kernel'], weights['code_kernel']])
    return jnp.concatenate([x, code]) @ kernel + weights['bias']

  def density(
    weights: Any, depth: int, mean: jax.Array, variance: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the raw density [] and features of one sample."""
    encoded = x = encode(mean, variance)
    for i in range(depth):
      if depth >= 5 and i == depth // 2:
        x = jnp.concatenate([x, encoded])
      x = activation(layer(weights[f'CodedDense_{i}'], x, params['code']))
    return layer(weights[f'CodedDense_{depth}'], x, params['code'])[0], x

  def shade(features: jax.Array, viewdir: jax.Array) -> jax.Array:
    code = params['code']
    if config.viewdir_levels:
      encoded = encoding.encode_viewdirs(viewdir, config.viewdir_levels)
      code = jnp.concatenate([code, encoded])
    weights = params['nerf']['color']
    x = activation(layer(weights['CodedDense_0'], features, code))
    return jax.nn.sigmoid(layer(weights['CodedDense_1'], x, code))

  def activate(raw: jax.Array) -> jax.Array:
    return config.density_scale * jax.nn.softplus(raw - 1.0)

  def one_ray(ray: arrays.Rays) -> tuple[jax.Array, jax.Array, jax.Array]:
    posts = jnp.linspace(0.0, 1.0, config.num_proposal_samples + 1)
    distances = ray.near + (ray.far - ray.near) * posts
    means, variances = _gaussians(ray, distances, axes)
    raw, _ = jax.vmap(
      lambda *sample: density(
        params['proposal'], config.proposal_depth, *sample
      )
    )(means, variances)
    histogram = _weights(activate(raw), distances)
    histogram += field.RESAMPLE_PADDING * jnp.diff(posts)
    posts = _resample(posts, histogram, config.num_nerf_samples)
    distances = ray.near + (ray.far - ray.near) * posts
    means, variances = _gaussians(ray, distances, axes)

    def sample(mean: jax.Array, variance: jax.Array) -> Any:
      return density(
        params['nerf']['density'], config.nerf_depth, mean, variance
      )

    normal = jnp.zeros(3)
    if with_normals:
      (raw, features), gradients = jax.vmap(
        jax.value_and_grad(sample, has_aux=True)
      )(means, variances)
    else:
      raw, features = jax.vmap(sample)(means, variances)
    weights = _weights(activate(raw), distances)
    rgb = jax.vmap(shade, (0, None))(features, ray.viewdirs)
    empty = 1 - jnp.sum(weights)
    if with_normals:
      squared = jnp.sum(jnp.square(gradients), -1, keepdims=True)
      normals = -gradients / jnp.sqrt(squared + _EPSILON)
      normal = weights @ ((normals + 1) / 2) + empty * 0.5
    color = weights @ rgb + empty * ray.background
    return color, normal, jnp.sum(weights)

  return jax.vmap(one_ray)(rays)


def _gaussians(
  ray: arrays.Rays, distances: jax.Array, axes: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns means [S, 3] and variances [S, A] (mip-NeRF, eq. 7)."""
  middle = (distances[:-1] + distances[1:]) / 2
  half = (distances[1:] - distances[:-1]) / 2
  total = 3 * middle**2 + half**2
  distance = middle + 2 * middle * half**2 / total
  along = (
    half**2 / 3 - (4 / 15) * half**4 * (12 * middle**2 - half**2) / total**2
  )
  across = ray.radii**2 * (
    middle**2 / 4 + (5 / 12) * half**2 - (4 / 15) * half**4 / total
  )
  means = ray.origins + distance[:, None] * ray.directions
  outer = jnp.outer(ray.directions, ray.directions)
  covariances = along[:, None, None] * outer + across[:, None, None] * (
    jnp.eye(3) - outer
  )
  return means, jnp.einsum('ia,sij,ja->sa', axes, covariances, axes)


def _weights(density: jax.Array, distances: jax.Array) -> jax.Array:
  depth = density * jnp.diff(distances)
  before = jnp.concatenate([jnp.zeros(1), jnp.cumsum(depth[:-1])])
  return (1 - jnp.exp(-depth)) * jnp.exp(-before)


def _resample(
  posts: jax.Array, histogram: jax.Array, num_samples: int
) -> jax.Array:
  """Returns [num_samples + 1] posts; no gradient flows through them."""
  cdf = jnp.concatenate([jnp.zeros(1), jnp.cumsum(histogram)])
  u = (jnp.arange(num_samples + 1) + 0.5) / (num_samples + 1)
  return jax.lax.stop_gradient(jnp.interp(u, cdf / cdf[-1], posts))
