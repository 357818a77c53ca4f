import jax
import jax.numpy as jnp
import numpy as np

from mmdist.config import schema
from mmdist.core import arrays
from mmdist.nerf import field


def test_density_is_what_a_short_ray_loses_light_by():
  representation = field.conditional_nerf(schema.NerfConfig())
  params = representation.init(jax.random.key(0))
  rng = np.random.default_rng(0)
  points = jnp.asarray(rng.uniform(-0.8, 0.8, (64, 3)), jnp.float32)
  length, distance = 0.02, 3.0
  direction = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0]), points.shape)
  ones = jnp.ones((64, 1))
  rays = arrays.Rays(
    origins=points - distance * direction,
    directions=direction,
    viewdirs=direction,
    radii=0.002 * ones,
    near=(distance - length / 2) * ones,
    far=(distance + length / 2) * ones,
    background=jnp.ones((64, 3)),
  )
  renders = representation.render(params, rays, None, with_normals=False)
  lost = -jnp.log1p(-renders.acc) / length
  ratio = lost / representation.density(params, points)
  # The point is as wide as a pixel of 64, the ray as one of 256.
  np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=0.02)
  # Resampled posts stop half an interval, of 16, short of both ends.
  np.testing.assert_allclose(ratio.mean(), 15 / 16, atol=0.02)


def test_density_of_a_point_does_not_depend_on_its_neighbours():
  representation = field.conditional_nerf(schema.NerfConfig())
  params = representation.init(jax.random.key(0))
  points = jax.random.uniform(jax.random.key(1), (5, 3))
  together = representation.density(params, points)
  alone = [representation.density(params, point[None])[0] for point in points]
  # Matrix products of other sizes round differently.
  np.testing.assert_allclose(together, alone, rtol=1e-5)
