"""The conditional NeRF of the embedded default (docs/method.md, section 3).

  mmdist pretrain --config=pretrain --out=runs/nerf

With --data=FOLDER it learns from pictures instead, of the kind that
`mmdist/data/multiview.py` describes; their number and size are then the
folder's, and --config.num_unseen_subjects says how many subjects, the last by
name, are kept aside.

Presets: 'heads' (the default), 'one_subject' and 'few_subjects' (the ablation
over the number of training subjects), 'people' (1,000 people on human meshes,
half of them with an expression, close-ups among their cameras), 'preface' (the
paper's size: needs accelerators and --data).

'heads' costs 0.3 core-seconds a step of 2,048 rays on a 2026 server CPU: 7,000
steps are 35 core-minutes, and two cores share them.
"""

from mmdist.core import names
from mmdist.learner import pretrain
from mmdist.nerf import field

PRESETS = ('heads', 'one_subject', 'few_subjects', 'people', 'preface')


def get_config(preset: str = 'heads') -> pretrain.PretrainConfig:
  """Returns the configuration of a preset."""
  if preset not in PRESETS:
    raise names.unknown_preset(preset, PRESETS)
  config = pretrain.PretrainConfig()
  if preset == 'one_subject':
    config.num_subjects, config.num_unseen_subjects = 1, 0
  elif preset == 'few_subjects':
    config.num_subjects = 64
  elif preset == 'people':
    config.world, config.expressive = 'people', True
    config.num_subjects = 1008
    config.num_cameras = 19  # 18 to train on; one held out.
    config.num_steps = 22_000
  elif preset == 'preface':
    config.nerf = field.PRESETS['preface']
    config.resolution = 512
    config.num_steps = 500_000
    config.batch_size = 16_384
    config.chunk_size = 2048
    config.learning_rate = 1e-3
  return config
