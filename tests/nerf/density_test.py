import numpy as np

from mmdist.config import schema
from mmdist.core import arrays
from tests.nerf import compiled_nerf

# Samples and encoding as shipped; how deep the networks are does not matter.
CONFIG = schema.NerfConfig(nerf_depth=2, proposal_depth=1)
REPRESENTATION = compiled_nerf.conditional_nerf(CONFIG)


def test_density_is_what_a_short_ray_loses_light_by():
  params = compiled_nerf.init(CONFIG)
  rng = np.random.default_rng(0)
  points = np.float32(rng.uniform(-0.8, 0.8, (64, 3)))
  length, distance = 0.02, 3.0
  direction = np.broadcast_to(np.float32([0.0, 0.0, -1.0]), points.shape)
  ones = np.ones((64, 1), np.float32)
  rays = arrays.Rays(
    origins=points - distance * direction,
    directions=direction,
    viewdirs=direction,
    radii=0.002 * ones,
    near=(distance - length / 2) * ones,
    far=(distance + length / 2) * ones,
    background=np.ones((64, 3), np.float32),
  )
  renders = REPRESENTATION.render(params, rays, None, with_normals=False)
  lost = -np.log1p(-renders.acc) / length
  ratio = lost / REPRESENTATION.density(params, points)
  # The point is as wide as a pixel of 64, the ray as one of 256.
  np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=0.02)
  # Resampled posts stop half an interval, of 16, short of both ends.
  np.testing.assert_allclose(ratio.mean(), 15 / 16, atol=0.02)


def test_density_of_a_point_does_not_depend_on_its_neighbours():
  params = compiled_nerf.init(CONFIG)
  points = np.random.default_rng(1).random((5, 3), np.float32)
  together = REPRESENTATION.density(params, points)
  alone = [REPRESENTATION.density(params, point[None])[0] for point in points]
  # Matrix products of other sizes round differently.
  np.testing.assert_allclose(together, alone, rtol=1e-5)
