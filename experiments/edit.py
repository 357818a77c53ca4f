"""P2: your own head, changed by a sentence (docs/method.md, section 6).

A personal colour prior knows one subject under its identifier token; it pulls
together with the normal prior. Make it first, then optimise:

  mmdist personalize --kind=photos --images=PHOTOS \\
    --prompt='a [v] portrait of a man' --class_prompt='a portrait of a man' \\
    --out=runs/personal
  mmdist optimize --config=edit \\
    --config.prompt='a portrait of a man with green skin' --workdir=runs/edit

Presets:
  default   the personal prior and the normal prior
  blend     the generic prior pulls too, half as much, towards what the
            sentence means in general (the paper's "Grinch", A.5)
  normal    a normal prior of your own as well: runs/personal_normal, from
            mmdist personalize --kind=normal
"""

from mmdist.config import schema
from mmdist.core import names

PRESETS = ('default', 'blend', 'normal')


def get_config(preset: str = 'default') -> schema.RunConfig:
  if preset not in PRESETS:
    raise ValueError(names.unknown('preset', preset, PRESETS, 'Presets'))
  run = schema.RunConfig(prompt='a portrait of a man with green skin')
  generic, normal = run.priors['generic'], run.priors['normal']
  run.priors['personal'] = schema.PriorConfig(
    directory='runs/personal',
    prompt_template='a [v] portrait of {target}',
    # Editing takes 10 to 25 and a guided proxy (MagicMirror, A.4).
    guidance_scale=10.0,
    proxy_guidance_scale=2.0,
  )
  generic.enabled = preset == 'blend'
  generic.weight = 0.5
  # It has never seen the subject: at 1 some are lost (docs/results.md, 5:9).
  normal.weight = 0.25
  if preset == 'normal':
    normal.directory = 'runs/personal_normal'
  return run
