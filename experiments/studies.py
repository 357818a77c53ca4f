"""Groups of runs whose numbers belong in one table.

  mmdist sweep --study=held_out --workdir=runs/held_out

Studies:
  held_out      12 sentences with combinations of attributes that no prior was
                trained on, two seeds each: do results follow their sentence?
  expressions   six people asked to be happy, sad or surprised, two seeds each
  proxies       the presets of `sds_versus_vsd.py`: what a proxy is good for
  guidance      the presets of `guidance.py`: every kind of guidance
  normals       with and without the normal prior, on what changes the shape
  mixes         the presets of `mix.py`
  ablations     the presets of `ablations.py`, two seeds each, and a table of
                where the paper's figures move and where these do; three presets
                need folders that are made first, and come last: --last=14
"""

from collections.abc import Sequence

from mmdist.config import experiments
from mmdist.config import fields
from mmdist.core import errors
from mmdist.core import names
from mmdist.sweeps import cells as cells_lib
from mmdist.sweeps import claims

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


def _sentences(
  prefix: str, prompts: Sequence[str], experiment: str = 'generate'
) -> list[cells_lib.Cell]:
  config = experiments.load(experiment)
  cells = []
  for seed in SEEDS:
    for number, prompt in enumerate(prompts):
      values = {'prompt': prompt, 'seed': seed}
      changed = fields.set_fields(config, values)
      name = f'{prefix}-{number}-seed{seed}'
      cells.append(cells_lib.Cell(name, changed, values))
  return cells


def _presets(experiment: str) -> list[cells_lib.Cell]:
  """Returns a run per preset of an experiment that lies beside this file."""
  return [
    cells_lib.Cell(preset, experiments.load(f'{experiment}:{preset}'))
    for preset in experiments.load_module(experiment)['PRESETS']
  ]


def _seeded_presets(experiment: str) -> list[cells_lib.Cell]:
  """Returns a run per preset and seed, the seeds of a preset together."""
  return [
    cells_lib.Cell(
      _seeded_name(cell.name, seed),
      fields.set_fields(cell.config, {'seed': seed}),
    )
    for cell in _presets(experiment)
    for seed in SEEDS
  ]


def _seeded_name(preset: str, seed: int) -> str:
  return f'{preset}-seed{seed}'


# Made when they are asked for: each loads experiments.
STUDIES = {
  'held_out': lambda: _sentences('held-out', HELD_OUT_PROMPTS),
  'expressions': lambda: _sentences('expression', EXPRESSION_PROMPTS),
  'proxies': lambda: _presets('sds_versus_vsd'),
  'guidance': lambda: _presets('guidance'),
  'normals': lambda: (
    _sentences('with', GEOMETRY_PROMPTS)
    + _sentences('without', GEOMETRY_PROMPTS, 'generate:no_normal')
  ),
  'mixes': lambda: _presets('mix'),
  'ablations': lambda: _seeded_presets('ablations'),
}
# Study of seeded presets -> the experiment whose CLAIMS are about them.
CLAIMED = {'ablations': 'ablations'}


def get_study(name: str) -> tuple[cells_lib.Cell, ...]:
  """Returns the runs of a study.

  Raises:
    UserError: there is no such study; names the nearest.
  """
  if name not in STUDIES:
    raise errors.UserError(names.unknown('study', name, STUDIES, 'Studies'))
  return cells_lib.check_cells(STUDIES[name]())


def get_comparison(name: str) -> claims.Comparison | None:
  """Returns what is claimed about the runs of a study; None: nothing."""
  if name not in CLAIMED:
    return None
  module = experiments.load_module(CLAIMED[name])
  cells = {
    preset: tuple(_seeded_name(preset, seed) for seed in SEEDS)
    for preset in module['PRESETS']
  }
  return claims.Comparison(name, module['REFERENCE'], cells, module['CLAIMS'])
