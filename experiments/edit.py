"""P2: your own head, changed by a sentence (docs/method.md, section 6).

A personal colour prior knows one subject under its identifier token; it works
together with the normal prior. Make it first, then optimise:

  mmdist personalize --kind=photos --images=PHOTOS \\
    --prompt='a [v] portrait of a man' --class_prompt='a portrait of a man' \\
    --out=runs/personal
  mmdist optimize --config=edit \\
    --config.prompt='a portrait of a man with green skin' --workdir=runs/edit

2 and 7 minutes on two cores of a 2026 server CPU. docs/results.md has the
numbers to expect: identity 0.73 and 0.66 for two subjects.

Presets:
  default   the personal prior and the normal prior
  blend     the generic prior takes part too, half as much, towards what the
            sentence means in general (the paper's "Grinch", A.5)
  normal    a normal prior of your own as well: runs/personal_normal, from
            mmdist personalize --kind=normal

The settings of the paper, which were not run here. They need a NeRF of the
paper's size, which `mmdist pretrain --config=pretrain:preface
--data=FOLDER --out=runs/preface` makes from pictures of people, and large
priors that were personalised. Guidance may be 10 to 25.

  paper            1,000 steps at 2e-4, guidance 10, proxies guided by 2: for
                   texture and small changes
  paper_geometry   from 2e-3 down to 2e-4: for a bulky hat or the like, for
                   which 200 steps can be enough
"""

from mmdist.config import paper
from mmdist.config import schema
from mmdist.core import names
from mmdist.nerf import field

PRESETS = ('default', 'blend', 'normal', 'paper', 'paper_geometry')


def get_config(preset: str = 'default') -> schema.RunConfig:
  if preset not in PRESETS:
    raise names.unknown_preset(preset, PRESETS)
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
  # The normal prior has never seen the subject: with a weight of 1 the likeness
  # of some is lost (docs/results.md, 5:9).
  normal.weight = 0.25
  if preset == 'normal':
    normal.directory = 'runs/personal_normal'
  elif preset in ('paper', 'paper_geometry'):
    _use_paper(run, geometry=preset == 'paper_geometry')
  return run


def _use_paper(run: schema.RunConfig, *, geometry: bool) -> None:
  paper.use_settings(
    run,
    field.PRESETS['preface'],
    learning_rate=paper.GEOMETRY_RATE if geometry else paper.TEXTURE_RATE,
    guidance_scale=10.0,
    proxy_guidance_scale=2.0,
  )
  if geometry:
    # It decays to the rate for texture, which gives the finer detail.
    run.learner.final_learning_rate_ratio = (
      paper.TEXTURE_RATE / paper.GEOMETRY_RATE
    )
