"""The settings that MagicMirror states, where they differ from our defaults.

The defaults of `schema` suit the small embedded priors and NeRF. These are the
paper's, for large ones (MagicMirror, 3.4, A.3 and A.4). What the paper does not
state keeps its default; docs/method.md, section 9, lists the departures.
"""

import dataclasses

from mmdist.config import schema

# Where `mmdist pretrain --config=pretrain:preface --out=...` is expected to
# have left a NeRF of the paper's size.
NERF_ASSETS = 'runs/preface'
PROMPT_PREFIX = 'A DSLR photo of'
# Learning rates: to generate, to edit texture or geometry, to move the code
# alone.
GENERATING_RATE = 1e-4
TEXTURE_RATE = 2e-4
GEOMETRY_RATE = 2e-3
CODE_RATE = 3e-2


def use_settings(
  run: schema.RunConfig,
  nerf: schema.NerfConfig,
  *,
  learning_rate: float,
  guidance_scale: float,
  proxy_guidance_scale: float,
) -> None:
  """Gives a run the paper's settings, all its priors included.

  Args:
    run: changed in place.
    nerf: of the paper's size, `mmdist.nerf.field.PRESETS['preface']`.
    learning_rate: of the weights and of the code alike; it stays constant.
    guidance_scale: of every prior.
    proxy_guidance_scale: of every proxy.
  """
  run.nerf = dataclasses.replace(nerf)
  run.nerf_assets = NERF_ASSETS
  run.num_steps = 1000
  run.views.resolution = 128
  run.views.prompt_prefix = PROMPT_PREFIX
  run.views.use_view_words = True
  run.views.emphasis = {}  # Every view of the bank is as likely.
  run.noise = schema.NoiseConfig(minimum=0.02, maximum=0.8, schedule='fixed')
  run.learner.learning_rate = learning_rate
  run.learner.final_learning_rate_ratio = 1.0
  run.learner.code_learning_rate_ratio = 1.0
  run.learner.proxy_learning_rate_ratio = 2.0
  for prior in run.priors.values():
    prior.guidance_scale = guidance_scale
    prior.proxy_guidance_scale = proxy_guidance_scale
    prior.weight = 1.0
    prior.rank = 4
