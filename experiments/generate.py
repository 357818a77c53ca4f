"""P1: a sentence becomes a head (docs/method.md, section 6).

The generic colour prior and the normal prior look at the same views, and the
mean head of the pretrained NeRF changes until both are pleased.

  mmdist optimize --config=generate \\
    --config.prompt='a portrait of a happy man with green skin and a red hat' \\
    --workdir=runs/green

7 minutes on two cores of a 2026 server CPU. docs/results.md has the numbers to
expect: 0.86 and 0.83 of what is asked, over twelve sentences and two seeds.

Presets:
  default     the embedded priors and NeRF
  no_normal   without the normal prior, an ablation of the paper, which
              finds rougher surfaces

The settings of the paper, which were not run here. They need a NeRF of the
paper's size, which `mmdist pretrain --config=pretrain:preface
--data=FOLDER --out=runs/preface` makes from pictures of people, and large
priors, given as --config.priors.generic.directory and .normal.directory:

  mmdist optimize --config=generate:paper \\
    --config.priors.generic.directory=DIR \\
    --config.priors.normal.directory=DIR --workdir=runs/paper

  paper       1,000 steps at a rate of 1e-4, guidance 3
  code_only   only the latent code moves, at 3e-2, and the proxies at 6e-2:
              expect human faces, whatever is asked (Fig. 5d)
  ratio_03    proxies at 0.3 times the learner's rate: expect saturated colours
              that fluctuate (Fig. 12)
  refine      100 steps more of a finished run of `paper`, at low noise, for
              its texture: the same command with :refine and
              --resume_with_changes=noise,num_steps
"""

from mmdist.config import paper
from mmdist.config import schema
from mmdist.core import names
from mmdist.nerf import field

PRESETS = ('default', 'no_normal', 'paper', 'code_only', 'ratio_03', 'refine')


def get_config(preset: str = 'default') -> schema.RunConfig:
  if preset not in PRESETS:
    raise names.unknown_preset(preset, PRESETS)
  if preset in ('default', 'no_normal'):
    run = schema.RunConfig()
    run.priors['normal'].enabled = preset != 'no_normal'
    # A NeRF of 64-pixel pictures has no finer detail, and a bake of 1024 takes
    # four times as long.
    run.results.texture_size = 512
    return run
  return _paper(preset)


def _paper(preset: str) -> schema.RunConfig:
  run = schema.RunConfig(prompt='a portrait of a happy man')
  paper.use_settings(
    run,
    field.PRESETS['preface'],
    learning_rate=paper.GENERATING_RATE,
    guidance_scale=3.0,
    proxy_guidance_scale=1.0,
  )
  if preset == 'code_only':
    run.learner.trainable = 'code'
    run.learner.learning_rate = paper.CODE_RATE
  elif preset == 'ratio_03':
    run.learner.proxy_learning_rate_ratio = 0.3
  elif preset == 'refine':
    run.num_steps += 100
    run.noise.schedule, run.noise.final_maximum = 'refine', 0.5
  return run
