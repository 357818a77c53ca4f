"""P1: a sentence becomes a head (docs/method.md, section 6).

The generic colour prior and the normal prior look at the same views, and the
mean head of the pretrained NeRF is pulled until both are pleased.

  mmdist optimize --config=generate \\
    --config.prompt='a portrait of a happy man with green skin and a red hat' \\
    --workdir=runs/green

Presets:
  no_normal   without the normal prior, an ablation of the paper, which
              finds rougher surfaces
"""

from mmdist.config import schema
from mmdist.core import names

PRESETS = ('default', 'no_normal')


def get_config(preset: str = 'default') -> schema.RunConfig:
  if preset not in PRESETS:
    raise ValueError(names.unknown('preset', preset, PRESETS, 'Presets'))
  run = schema.RunConfig()
  run.priors['normal'].enabled = preset != 'no_normal'
  return run
