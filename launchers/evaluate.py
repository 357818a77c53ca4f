"""Says in numbers how well runs follow their prompts.

  python -m launchers.evaluate RUN [RUN ...] [--json] [--out=FILE] [--start]
  python -m launchers.evaluate RUN [RUN ...] --digest

Every number is measured on the newest checkpoint, from the fixed views of
`mmdist.evaluation.agreement`. `--start` measures the head that a run began
from instead: what the prompt's score is worth is what it gains over that.
`--out` writes the list that `--json` prints. `--digest` judges nothing: it
prints one sha256 over everything in the newest checkpoint (learner, optimiser,
step, every proxy with its optimiser and version), so that two runs can be
compared by anyone.

With models that you have (folders as transformers writes them) and with a
subject that is known, there are more numbers:

  --clip=DIR       clip_score, 100 x cosine with the prompt, and r_precision:
                   how often the prompt is nearer than those of the other runs,
                   or of --prompts=FILE
  --pickscore=DIR  pickscore; of further runs of the same prompt, too, how far
                   they are preferred over the first one
  --truth=5:2      psnr, ssim and normal_error_deg against procedural head 2 of
                   family 5, for a NeRF that should show it
  --subject=5:2    identity_agreement, for an edit of that head: how far the
                   judge still sees in it what the sentence does not change,
                   and identity_rank, its place among 99 strangers
"""

from collections.abc import Mapping, Sequence
import json
import pathlib

from absl import flags
import numpy as np

from launchers import terminal
from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.core import asset_paths
from mmdist.core import atomic
from mmdist.evaluation import agreement
from mmdist.evaluation import asked_scores
from mmdist.evaluation import clay
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import known_heads
from mmdist.evaluation import metrics
from mmdist.heads import questions as head_questions
from mmdist.nerf import images as nerf_images
from mmdist.run import opening
from mmdist.run import workdir as workdir_lib

RESOLUTION = 64  # The judge's; other metrics are of the same pictures.
COLUMNS = (
  'prompt_agreement',
  'true_render_agreement',
  'expression_accuracy',
  'geometry_agreement',
  'clay_agreement',
  'true_clay_agreement',
  'saturation',
  'detail',
  'normal_noise_deg',
  'true_normal_noise_deg',
  'view_consistency',
)


def define_flags() -> None:
  """Defines the flags, here so that launchers can be imported together."""
  flags.DEFINE_bool('json', False, 'Print a list for programs.')
  flags.DEFINE_string('judge', 'judge', 'A judge, or its folder.')
  flags.DEFINE_bool('start', False, 'Measure the head a run began from.')
  flags.DEFINE_bool('digest', False, 'Print sha256, step and folder instead.')
  flags.DEFINE_string('out', '', 'A JSON file to write as well.')
  flags.DEFINE_string('clip', '', 'Folder of a CLIPModel: adds clip_score.')
  flags.DEFINE_string('pickscore', '', 'Folder of PickScore: adds pickscore.')
  flags.DEFINE_string(
    'prompts', '', "Texts for r_precision, one a line; or all runs' prompts."
  )
  flags.DEFINE_string(
    'truth', '', 'Procedural head FAMILY:INDEX: adds psnr, ssim, normal error.'
  )
  flags.DEFINE_string(
    'subject', '', 'Procedural head FAMILY:INDEX, edited: adds its identity.'
  )


def judged_prompt(run: schema.RunConfig) -> str:
  """Returns the prompt, or of several concepts the one that weighs most."""
  wanted = [concept for concept in run.concepts if concept.weight > 0]
  if run.concepts and not wanted:
    raise ValueError(
      'the run has no concept of positive weight, so there is nothing that its '
      'head should show.'
    )
  if not wanted:
    return run.prompt
  return max(wanted, key=lambda concept: concept.weight).text


def geometry_agreement(per_attribute: Mapping[str, float]) -> float | None:
  """Returns the mean over what changes the shape; None if none was asked."""
  shares = [
    share
    for name, share in per_attribute.items()
    if name in head_questions.GEOMETRY
  ]
  return float(np.mean(shares)) if shares else None


def clay_agreement(
  judge: judge_lib.Judge,
  views: orbits.Views,
  normals: np.ndarray,
  attributes: Mapping[str, object],
) -> dict[str, float | None]:
  """Returns whether the shape alone has what was asked of it.

  Returns:
    'clay_agreement' of normals lit as clay, over hats, horns and the like, and
    'true_clay_agreement' of heads that have them; None if none was asked.
  """
  asked = {
    name: value
    for name, value in attributes.items()
    if name in head_questions.GEOMETRY and value
  }
  if not asked:
    return {'clay_agreement': None, 'true_clay_agreement': None}
  pictures = clay.light(normals)
  return {
    'clay_agreement': agreement.measure(
      judge, pictures, views.words, asked
    ).overall,
    'true_clay_agreement': known_heads.true_agreement(
      judge, views, attributes, asked, RESOLUTION, as_clay=True
    ),
  }


def evaluate_run(
  workdir: str,
  judge: judge_lib.Judge,
  start: bool = False,
  asked: asked_scores.Asked = asked_scores.NOTHING,
) -> dict[str, object]:
  """Returns the row of one run.

  Args:
    workdir: its folder.
    judge: who says what its pictures show.
    start: measure the head that it began from.
    asked: what to measure besides.

  Raises:
    FileNotFoundError, ValueError: in one line.
  """
  avatar = opening.open_run(workdir)
  params = opening.start_params(avatar) if start else avatar.params
  prompt = judged_prompt(avatar.run)
  attributes = known_heads.asked_attributes(prompt)
  views = agreement.judging_views()
  background = np.full(3, agreement.BACKGROUND, np.float32)
  shown = nerf_images.render_images(
    avatar.representation, params, views, RESOLUTION, background
  )
  verdict = agreement.measure(judge, shown['rgb'], views.words, attributes)
  around = orbits.turntable(16)
  orbit = nerf_images.render_images(
    avatar.representation, params, around, RESOLUTION, background
  )
  return {
    'run': str(workdir),
    'prompt': prompt,
    'step': 0 if start else avatar.step,
    'prompt_agreement': verdict.overall,
    'true_render_agreement': known_heads.true_agreement(
      judge, views, attributes, attributes, RESOLUTION
    ),
    'chance': verdict.chance,
    'expression_accuracy': verdict.per_attribute.get('expression'),
    'geometry_agreement': geometry_agreement(verdict.per_attribute),
    **clay_agreement(judge, views, shown['normals'], attributes),
    'per_attribute': dict(verdict.per_attribute),
    'saturation': metrics.saturation(orbit['rgb'], orbit['acc']),
    'detail': metrics.detail(orbit['rgb'], orbit['acc']),
    'normal_noise_deg': metrics.normal_noise_deg(
      orbit['normals'], orbit['acc']
    ),
    'true_normal_noise_deg': known_heads.true_normal_noise_deg(
      around, attributes, RESOLUTION
    ),
    'view_consistency': metrics.view_consistency(
      orbit['rgb'], orbit['depth'], orbit['acc'], around.cameras()
    ),
    **asked_scores.measure(asked, judge, avatar, params, prompt, shown),
  }


def format_table(rows: Sequence[Mapping[str, object]]) -> str:
  """Returns the rows as an aligned table, with the mean if there are many."""
  columns = [*COLUMNS]
  columns += [c for c in asked_scores.COLUMNS if any(c in row for row in rows)]
  header = ['run', *columns]
  lines = [header]
  for row in rows:
    name = pathlib.Path(str(row['run'])).name
    lines.append([name, *(_cell(row.get(column)) for column in columns)])
  if len(rows) > 1:
    means = [_mean([row.get(column) for row in rows]) for column in columns]
    lines.append(['mean', *map(_cell, means)])
  widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
  return '\n'.join(
    '  '.join(cell.ljust(width) for cell, width in zip(line, widths))
    for line in lines
  )


def _mean(values) -> float | None:
  known = [value for value in values if value is not None]
  return float(np.mean(known)) if known else None


def _cell(value) -> str:
  if isinstance(value, int):
    return str(value)
  return '-' if value is None else f'{value:.3f}'


def main(argv: Sequence[str]) -> None:
  """Prints the table, or with --json the list."""
  if len(argv) < 2:
    raise ValueError(
      'expected the folders of runs: python -m launchers.evaluate RUN [RUN ...]'
    )
  options, runs = flags.FLAGS, argv[1:]
  if options.digest:
    for run in runs:
      step, digest = opening.digest(run)
      print(f'{digest}  {step}  {run}')
    return
  if options.out and not pathlib.Path(options.out).parent.is_dir():
    raise FileNotFoundError(
      f'--out={options.out} is in a folder that does not exist; make it first.'
    )
  judge = judge_lib.load(asset_paths.resolve(options.judge))
  prompts = [judged_prompt(workdir_lib.read_config(run)) for run in runs]
  asked = asked_scores.open_asked(options, prompts, RESOLUTION)
  rows = [evaluate_run(run, judge, options.start, asked) for run in runs]
  if options.pickscore and len(rows) > 1:
    asked_scores.add_preferences(rows)
  text = json.dumps(rows, indent=2)
  if options.out:
    atomic.write_text(options.out, text + '\n')
  print(text if options.json else format_table(rows))


if __name__ == '__main__':
  define_flags()
  terminal.run(main)
