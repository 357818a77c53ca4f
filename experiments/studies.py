"""Groups of runs whose numbers belong in one table.

  python -m launchers.sweep --study=held_out --out=runs/held_out

Studies:
  held_out      12 sentences with combinations of attributes that no prior was
                trained on, two seeds each: do results follow their sentence?
  expressions   six people asked to be happy, sad or surprised, two seeds each
  proxies       the presets of `sds_versus_vsd.py`: what a proxy is good for
  normals       with and without the normal prior, on what changes the shape
  mixes         the presets of `mix.py`
"""

from collections.abc import Mapping
import dataclasses

from experiments import mix
from experiments import sds_versus_vsd
from mmdist.core import names

HELD_OUT_PROMPTS = (
  'a portrait of a happy man with green skin and a red hat',
  'a portrait of a sad woman with blue skin and a yellow crown',
  'a portrait of a surprised man with purple skin and horns',
  'a portrait of a happy man with golden skin and a moustache',
  'a portrait of a woman with red skin and blue headphones',
  'a portrait of a sad man with pink hair and glasses',
  'a portrait of a happy woman with a blue mohawk',
  'a portrait of an old man with a red crown and a long beard',
  'a portrait of a surprised woman with green skin and a red cap',
  'a portrait of a man with blue skin and a yellow top hat',
  'a portrait of a woman with purple skin, horns and long black hair',
  'a portrait of a child with short pink hair and glasses',
)
EXPRESSION_PROMPTS = (
  'a portrait of a happy man',
  'a portrait of a happy woman with long blond hair',
  'a portrait of a sad man with a bald head',
  'a portrait of a sad woman',
  'a portrait of a surprised man with brown skin',
  'a portrait of a surprised woman with short black hair',
)
GEOMETRY_PROMPTS = (
  'a portrait of a happy man with green skin and a red hat',
  'a portrait of a man with purple skin and horns',
  'a portrait of a wizard',
)
SEEDS = (0, 1)


@dataclasses.dataclass(frozen=True)
class StudyRun:
  """One run of a study.

  Attributes:
    name: of its folder.
    experiment: as --config takes it.
    overrides: field of the configuration -> value.
  """

  name: str
  experiment: str = 'experiments/generate.py'
  overrides: Mapping[str, object] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    names.check_file_name('a run of a study', self.name)


def _sentences(prefix, prompts, experiment='experiments/generate.py'):
  return tuple(
    StudyRun(
      f'{prefix}-{number}-seed{seed}',
      experiment,
      {'prompt': prompt, 'seed': seed},
    )
    for seed in SEEDS
    for number, prompt in enumerate(prompts)
  )


def _presets(path, presets):
  return tuple(StudyRun(preset, f'{path}:{preset}') for preset in presets)


STUDIES = {
  'held_out': _sentences('held-out', HELD_OUT_PROMPTS),
  'expressions': _sentences('expression', EXPRESSION_PROMPTS),
  'proxies': _presets('experiments/sds_versus_vsd.py', sds_versus_vsd.PRESETS),
  'normals': _sentences('with', GEOMETRY_PROMPTS)
  + _sentences(
    'without', GEOMETRY_PROMPTS, 'experiments/generate.py:no_normal'
  ),
  'mixes': _presets('experiments/mix.py', mix.PRESETS),
}


def get_study(name: str) -> tuple[StudyRun, ...]:
  """Returns the runs of a study.

  Raises:
    ValueError: there is no such study; names the nearest.
  """
  if name not in STUDIES:
    raise ValueError(names.unknown('study', name, STUDIES, 'Studies'))
  return STUDIES[name]
