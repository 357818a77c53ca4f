"""The smallest conditional NeRF that has every part."""

from mmdist.config import schema

CONFIG = schema.NerfConfig(
  code_size=3,
  nerf_depth=1,
  nerf_width=8,
  proposal_depth=1,
  proposal_width=4,
  num_proposal_samples=6,
  num_nerf_samples=5,
  position_levels=2,
)
