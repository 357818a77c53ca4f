"""Kinds of guidance side by side, on one sentence and seed.

Which they are, and what each compares, is in docs/method.md, section 2, 'Kinds
of guidance'.

  mmdist sweep --study=guidance --workdir=runs/guidance
  mmdist evaluate runs/guidance/cells/*

makes all of them, one sheet and one table; one alone is made by

  mmdist optimize --config=guidance:csd --workdir=runs/csd

Presets:
  vsd      a LoRA proxy per prior, the default
  sds      no reference but the noise
  csd      text against no text
  nfsd     what denoises is left out
  asd      the same prediction a little later in time
  bridge   after half of the run, against a text of what is not wanted
  ism      against one step of inversion before
  sdi      the render led up to its noise and taken back
  dds      against the start and its text

Guidance scales are those of the papers where the
embedded priors follow a text with them. Their vocabulary has no word for what
pictures should not be, so the negative texts are those of plain heads.
"""

from mmdist.config import schema
from mmdist.core import guidance_kinds
from mmdist.core import names

PROMPT = 'a portrait of a happy man with green skin and a red hat'
NEGATIVE = 'a portrait of a man'
# Kind -> guidance scale.
PRESETS = {
  'vsd': 8.0,
  'sds': 20.0,
  'csd': 8.0,
  'nfsd': 7.5,
  'asd': 7.5,
  'bridge': 20.0,
  'ism': 7.5,
  'sdi': 8.5,  # 7.5 in its code, whose scale is one less.
  'dds': 7.5,
}
# What these compare with is a text; to the others it would be one more choice.
_WITH_NEGATIVE = ('nfsd', 'bridge', 'dds')


def get_config(preset: str = 'csd') -> schema.RunConfig:
  if preset not in PRESETS:
    raise names.unknown_preset(preset, guidance_kinds.KINDS)
  run = schema.RunConfig(prompt=PROMPT)
  for prior in run.priors.values():
    prior.objective = preset
    prior.guidance_scale = PRESETS[preset]
    if preset in _WITH_NEGATIVE:
      prior.negative_prompt = (
        'a [w] face map of a man' if prior.channel == 'normal' else NEGATIVE
      )
  return run
