"""The conditional NeRF of the embedded default (docs/method.md, section 3).

  mmdist pretrain --config=pretrain --out=runs/nerf

With --data=FOLDER it learns from pictures instead, of the kind that
`mmdist/data/multiview.py` describes; their number and size are then the
folder's, and --config.num_unseen_subjects says how many subjects, the last by
name, are kept aside.

Presets:
  heads         the default.
  one_subject   the ablation over the number of training subjects, with one
  few_subjects  and with 64, of which 8 are kept aside.
  people        1,008 people on human meshes, of whom 8 are kept aside; half of
                them with an expression, close-ups among their cameras.
  people_one    the same ablation with people: one of them, without expression,
  people_few    and 64, of whom 8 are kept aside.
  people_large  the people of `people` in pictures of 128 x 128, for a field of
                4.6 million parameters. It needs a GPU, and was not trained yet:
                steps, batch and rate are guesses between `people` and
                `preface`.
  preface       the paper's size: needs accelerators and --data.

'heads' costs 0.3 core-seconds a step of 2,048 rays on a 2026 server CPU: 7,000
steps are 35 core-minutes, and two cores share them.
"""

from collections.abc import Mapping
import copy
from typing import Any

from mmdist.core import names
from mmdist.learner import pretrain
from mmdist.nerf import field

_PEOPLE: Mapping[str, Any] = {
  'nerf': field.PRESETS['people'],
  'world': 'people',
  'expressive': True,
  'num_subjects': 1008,
  'num_cameras': 19,  # 18 to train on; one held out.
  'num_steps': 22_000,
  'optimizer': 'muon',
}
_ONE_SUBJECT = {'num_subjects': 1, 'num_unseen_subjects': 0}
_FEW_SUBJECTS = {'num_subjects': 64}
# Fields of `PretrainConfig` that differ from their defaults.
PRESETS: Mapping[str, Mapping[str, Any]] = {
  'heads': {},
  'one_subject': _ONE_SUBJECT,
  'few_subjects': _FEW_SUBJECTS,
  'people': _PEOPLE,
  'people_one': {**_PEOPLE, **_ONE_SUBJECT},
  'people_few': {**_PEOPLE, **_FEW_SUBJECTS},
  'people_large': {
    **_PEOPLE,
    'nerf': field.PRESETS['people_large'],
    'resolution': 128,
    'num_steps': 50_000,
    'batch_size': 16_384,
    'chunk_size': 2048,
    'learning_rate': 2e-3,
  },
  'preface': {
    'nerf': field.PRESETS['preface'],
    'resolution': 512,
    'num_steps': 500_000,
    'batch_size': 16_384,
    'chunk_size': 2048,
    'learning_rate': 1e-3,
  },
}


def get_config(preset: str = 'heads') -> pretrain.PretrainConfig:
  """Returns the configuration of a preset."""
  if preset not in PRESETS:
    raise names.unknown_preset(preset, PRESETS)
  # Copied, since flags may change the fields of `nerf`.
  return pretrain.PretrainConfig(**copy.deepcopy(dict(PRESETS[preset])))
