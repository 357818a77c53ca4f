"""Every part once, as small as it gets: for trying a machine.

  mmdist optimize --config=smoke \\
    --workdir=runs/smoke

Nothing is learned in two steps; expect the mean head in every result.
"""

from mmdist.config import schema
from mmdist.core import names

PRESETS = ('default',)


def get_config(preset: str = 'default') -> schema.RunConfig:
  if preset not in PRESETS:
    raise names.unknown_preset(preset, PRESETS)
  run = schema.RunConfig(num_steps=2)
  run.views.num_views = 1
  run.views.resolution = 16
  run.checkpoints.every = 1
  run.results.preview_every = 1
  run.results.turntable_views = 4
  run.results.resolution = 32
  run.results.mesh_resolution = 32
  run.results.texture_size = 64
  return run
