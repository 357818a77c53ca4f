"""The conditional NeRF as two functions, and its presets.

Rays and a code in, Renders out. The learner sees a 3D representation only
through `core.representation`; everything else here is this NeRF's own business.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from mmdist.config import schema
from mmdist.core import arrays
from mmdist.core import representation as representation_lib
from mmdist.nerf import activations
from mmdist.nerf import encoding
from mmdist.nerf import losses
from mmdist.nerf import mlp
from mmdist.nerf import normals as normals_lib
from mmdist.nerf import occupancy
from mmdist.nerf import products
from mmdist.nerf import stepfun
from mmdist.nerf import volume

PRESETS: dict[str, schema.NerfConfig] = {
  'heads': schema.NerfConfig(),
  # More people than heads differ in; a code costs a render nothing.
  'people': schema.NerfConfig(code_size=64),
  # Chosen here, for people in pictures of 128 x 128: two octaves more than
  # `heads` and mip-NeRF 360's axes; 4.6 million parameters.
  'people_large': schema.NerfConfig(
    code_size=128,
    nerf_depth=8,
    nerf_width=640,
    proposal_depth=4,
    proposal_width=256,
    num_proposal_samples=64,
    num_nerf_samples=32,
    position_levels=7,
    icosahedron_subdivisions=2,
  ),
  # The paper's sizes (MagicMirror, A.1).
  'preface': schema.NerfConfig(
    code_size=512,
    nerf_depth=8,
    nerf_width=1536,
    proposal_depth=4,
    proposal_width=768,
    num_proposal_samples=64,
    num_nerf_samples=32,
    position_levels=12,
    viewdir_levels=4,
    icosahedron_axes=False,
  ),
}
# Share of the samples that are spread evenly along the ray, so that a proposal
# that has missed a surface can still be corrected.
RESAMPLE_PADDING = 0.05
# Standard deviation of the Gaussian that stands for a point of a mesh: a
# quarter of a pixel of a 64-pixel picture of the head. With a smaller one the
# highest frequencies of the encoding, which training only sees faded, would be
# noise.
POINT_SPREAD = 0.008


# Numbers in [0, 1) for the first fence posts and for each resampling, [N, ...].
Draws = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class ConditionalNerf:
  """A `core.representation.Representation`, made of three functions.

  Attributes:
    init: `init(key) -> params`, a pytree of float32 arrays. The conditional
      NeRF's has the keys 'proposal', 'nerf' and 'code' [C].
    render: `render(params, rays, key, *, with_normals=True) -> Renders` of
      flat rays [N]. `key` jitters the samples, or what `draw` has made of one;
      None renders the same picture every time. Without normals, the normal
      channel is mid-grey.
    density: `density(params, points) -> [N]` per world unit at points [N, 3],
      for meshes.
    blurred_density: `blurred_density(params, points, spread) -> [N]`: the
      density that Gaussians of that standard deviation see. With it and `draw`
      a learner leaves out rays that meet nothing; see `nerf.occupancy`.
    with_compute: `with_compute(name)` returns the same network with the matrix
      products of its hidden layers in 'float32' or 'bfloat16'; see `products`.
    draw: `draw(key, N)` returns all random numbers of a render of N rays. Many
      renders draw theirs together in far less time than one by one.
    checkpoint_policy: which intermediate values of a render a backward pass
      keeps, a policy of `jax.checkpoint`; it computes all others again. The
      products of the hidden layers are nearly all of the work, and a quarter
      of the memory.
  """

  init: Callable[[jax.Array], representation_lib.Params]
  render: representation_lib.Render
  density: Callable[[representation_lib.Params, jax.Array], jax.Array]
  with_compute: Callable[[str], 'ConditionalNerf'] | None = None
  draw: Callable[[jax.Array, int], Draws] | None = None
  checkpoint_policy: Callable[..., Any] | None = None
  blurred_density: occupancy.BlurredDensity | None = None


def quality(config: schema.NerfConfig) -> schema.NerfConfig:
  """Returns the config of quality mode: same weights, slow renders.

  Source: MagicMirror, A.1.
  """
  return dataclasses.replace(
    config,
    num_proposal_passes=2,
    num_proposal_samples=4 * config.num_proposal_samples,
    num_nerf_samples=4 * config.num_nerf_samples,
  )


def conditional_nerf(config: schema.NerfConfig) -> ConditionalNerf:
  """Builds the conditional NeRF (docs/method.md, section 3).

  In `params`, 'code' may be one code per ray, [N, C], instead of [C]; that is
  how pretraining renders many subjects at once.

  Called again with equal values it returns the same object, for which every
  function may be compiled already.
  """
  return _build(dataclasses.astuple(config))


@functools.lru_cache(maxsize=16)
def _build(values: tuple, compute: str = 'float32') -> ConditionalNerf:
  networks = _Networks(schema.NerfConfig(*values), compute)

  def render(
    params: representation_lib.Params,
    rays: arrays.Rays,
    key: jax.Array | Draws | None = None,
    *,
    with_normals: bool = True,
  ) -> arrays.Renders:
    if key is not None and not isinstance(key, tuple):
      key = draw(key, len(rays.origins))
    return _render(networks, params, rays, key, with_normals)

  def draw(key: jax.Array, num_rays: int) -> Draws:
    return _draw(networks.config, key, num_rays)

  def density(
    params: representation_lib.Params, points: jax.Array
  ) -> jax.Array:
    return _density(networks, params, points)

  def blurred_density(
    params: representation_lib.Params, points: jax.Array, spread: float
  ) -> jax.Array:
    return _density(networks, params, points, spread)

  return ConditionalNerf(
    init=networks.init,
    render=render,
    density=density,
    with_compute=functools.partial(_build, values),
    draw=draw,
    checkpoint_policy=products.SAVE_PRODUCTS,
    blurred_density=blurred_density,
  )


class _Networks:
  """The three networks with their encodings bound."""

  def __init__(self, config: schema.NerfConfig, compute: str):
    self.config = config
    self.axes = encoding.projection_axes(
      config.icosahedron_axes, config.icosahedron_subdivisions
    )
    activation = activations.activation(config.activation, compute)
    product = products.PRODUCTS[compute]
    self.proposal = mlp.DensityMLP(
      config.proposal_depth, config.proposal_width, activation, product
    )
    self.trunk = mlp.DensityMLP(
      config.nerf_depth, config.nerf_width, activation, product
    )
    self.color = mlp.ColorMLP(config.nerf_width // 2, activation, product)

  def init(self, key: jax.Array) -> dict[str, Any]:
    keys = jax.random.split(key, 4)
    config = self.config
    latent_code = 0.1 * jax.random.normal(keys[0], (config.code_size,))
    features = 3 + 2 * self.axes.shape[1] * config.position_levels
    encoded = jnp.zeros((1, 1, features))
    hidden = jnp.zeros((1, 1, config.nerf_width))
    viewdirs = jnp.zeros((1, 3))
    return {
      'proposal': self.proposal.init(keys[1], encoded, latent_code)['params'],
      'nerf': {
        'density': self.trunk.init(keys[2], encoded, latent_code)['params'],
        'color': self.color.init(
          keys[3], hidden, self._color_code(latent_code, viewdirs)
        )['params'],
      },
      'code': latent_code,
    }

  def proposal_density(
    self, params: representation_lib.Params, gaussians: volume.Gaussians
  ) -> jax.Array:
    encoded = self._encode(gaussians.means, gaussians)
    raw, _ = self.proposal.apply(
      {'params': params['proposal']}, encoded, params['code']
    )
    return self.activate(raw)

  def raw_density(
    self,
    params: representation_lib.Params,
    gaussians: volume.Gaussians,
    means: jax.Array,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns raw densities and features at `means`; variances stay put."""
    encoded = self._encode(means, gaussians)
    outputs: Any = self.trunk.apply(
      {'params': params['nerf']['density']}, encoded, params['code']
    )
    return outputs

  def rgb(
    self,
    params: representation_lib.Params,
    features: jax.Array,
    viewdirs: jax.Array,
  ) -> jax.Array:
    color_code = self._color_code(params['code'], viewdirs)
    rgb: Any = self.color.apply(
      {'params': params['nerf']['color']}, features, color_code
    )
    return rgb

  def activate(self, raw: jax.Array) -> jax.Array:
    """Maps raw outputs to densities per world unit.

    Raw outputs near 0, which untrained networks have, become about 3; a hard
    surface has raw outputs in the tens.
    """
    return self.config.density_scale * jax.nn.softplus(raw - 1.0)

  def _encode(self, means: jax.Array, gaussians: volume.Gaussians) -> jax.Array:
    return encoding.encode_gaussians(
      means,
      gaussians.variances(self.axes),
      self.axes,
      self.config.position_levels,
    )

  def _color_code(
    self, latent_code: jax.Array, viewdirs: jax.Array
  ) -> jax.Array:
    """Joins what is constant along a ray: the code, and its direction."""
    if not self.config.viewdir_levels:
      return latent_code
    encoded = encoding.encode_viewdirs(viewdirs, self.config.viewdir_levels)
    latent_code = jnp.broadcast_to(
      latent_code, encoded.shape[:-1] + latent_code.shape[-1:]
    )
    return jnp.concatenate([latent_code, encoded], -1)


def _draw(config: schema.NerfConfig, key: jax.Array, num_rays: int) -> Draws:
  """Draws what `_propose` reads."""
  num_passes = config.num_proposal_passes
  sizes = [config.num_proposal_samples - 1]
  sizes += [config.num_proposal_samples + 1] * (num_passes - 1)
  sizes += [config.num_nerf_samples + 1]
  keys = jax.random.split(key, num_passes + 1)
  return tuple(
    jax.random.uniform(one, (num_rays, size))
    for one, size in zip(keys, sizes, strict=True)
  )


def _propose(
  networks: _Networks,
  params: representation_lib.Params,
  rays: arrays.Rays,
  draws: Sequence[jax.Array | None],
) -> tuple[list[tuple[jax.Array, jax.Array]], jax.Array]:
  """Runs the proposal passes; returns their histograms and the last sdist."""
  config = networks.config
  num_rays = rays.origins.shape[0]
  sdist = stepfun.uniform_sdist(num_rays, config.num_proposal_samples, draws[0])
  histograms = []
  for i in range(config.num_proposal_passes):
    tdist = volume.sdist_to_tdist(sdist, rays)
    density = networks.proposal_density(
      params, volume.cast_frustums(rays, tdist)
    )
    weights = volume.density_to_weights(density, tdist)
    histograms.append((sdist, weights))
    last = i == config.num_proposal_passes - 1
    sdist = stepfun.resample(
      sdist,
      weights + RESAMPLE_PADDING * jnp.diff(sdist, axis=-1),
      config.num_nerf_samples if last else config.num_proposal_samples,
      draws[i + 1],
    )
  return histograms, sdist


def _render(
  networks: _Networks,
  params: representation_lib.Params,
  rays: arrays.Rays,
  draws: Draws | None,
  with_normals: bool,
) -> arrays.Renders:
  """Renders flat rays; see `Representation`."""
  nothing = [None] * (networks.config.num_proposal_passes + 1)
  histograms, sdist = _propose(networks, params, rays, draws or nothing)
  tdist = volume.sdist_to_tdist(sdist, rays)
  gaussians = volume.cast_frustums(rays, tdist)
  grey = jnp.full_like(rays.background, normals_lib.MID_GREY)

  def raw_density(means: jax.Array) -> tuple[jax.Array, jax.Array]:
    return networks.raw_density(params, gaussians, means)

  if with_normals:
    raw, features, normals = normals_lib.density_normals(
      raw_density, gaussians.means
    )
  else:
    raw, features = raw_density(gaussians.means)
  weights = volume.density_to_weights(networks.activate(raw), tdist)
  rgb = networks.rgb(params, features, rays.viewdirs)
  if with_normals:
    colored = normals_lib.color_normals(normals)
    grey = volume.composite(weights, colored, grey)
  return arrays.Renders(
    rgb=volume.composite(weights, rgb, rays.background),
    normals=grey,
    acc=jnp.sum(weights, -1),
    depth=volume.expected_distance(weights, tdist, rays),
    regularizer=sum(
      (losses.interlevel(sdist, weights, *h) for h in histograms),
      start=jnp.zeros(()),
    ),
  )


def _density(
  networks: _Networks,
  params: representation_lib.Params,
  points: jax.Array,
  spread: float = POINT_SPREAD,
) -> jax.Array:
  """Returns the NeRF's density [N] at points [N, 3]."""
  variance = jnp.full((len(points), 1), spread**2)
  gaussians = volume.Gaussians(
    means=points[:, None],
    along=variance,
    across=variance,
    # The Gaussian is isotropic, so any unit direction will do.
    directions=jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), points.shape),
  )
  raw, _ = networks.raw_density(params, gaussians, gaussians.means)
  return networks.activate(raw)[:, 0]
