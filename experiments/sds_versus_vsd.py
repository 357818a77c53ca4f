"""Why a proxy: VSD against SDS at two guidance scales.

This is an ablation of the paper (docs/method.md, section 7).

Run each preset with the same prompt and seed, then compare:

  for p in vsd sds20 sds100; do
    mmdist optimize --config=sds_versus_vsd:$p \\
      --workdir=runs/$p
  done
  mmdist evaluate runs/vsd runs/sds20 runs/sds100

Presets:
  vsd      a LoRA proxy per prior; small guidance is enough
  sds20    no proxy, guidance 20
  sds100   no proxy, guidance 100: expect neon colours and little texture
"""

from mmdist.config import schema
from mmdist.core import names

# Preset -> objective and guidance scale; None keeps the prior's own.
PRESETS = {
  'vsd': ('vsd', None),
  'sds20': ('sds', 20.0),
  'sds100': ('sds', 100.0),
}


def get_config(preset: str = 'vsd') -> schema.RunConfig:
  if preset not in PRESETS:
    raise names.unknown_preset(preset, PRESETS)
  objective, guidance_scale = PRESETS[preset]
  run = schema.RunConfig()
  for prior in run.priors.values():
    prior.objective = objective
    if guidance_scale is not None:
      prior.guidance_scale = guidance_scale
  return run
