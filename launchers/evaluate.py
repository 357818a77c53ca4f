"""Says in numbers how well runs follow their prompts.

  python -m launchers.evaluate RUN [RUN ...] [--json] [--start]

Every number is measured on the newest checkpoint, from the fixed views of
`mmdist.evaluation.agreement`. `--start` measures the head that a run began
from instead: what the prompt's score is worth is what it gains over that.
"""

from collections.abc import Mapping, Sequence
import json
import pathlib

from absl import flags
import numpy as np

from launchers import finished_run
from launchers import terminal
from mmdist.cameras import orbits
from mmdist.core import assets
from mmdist.core import config as config_lib
from mmdist.data import captions
from mmdist.data import head_attributes
from mmdist.data import head_questions
from mmdist.data import heads
from mmdist.evaluation import agreement
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import metrics
from mmdist.nerf import images as nerf_images

RESOLUTION = 64  # The judge's; other metrics are of the same pictures.
NUM_TRUE_HEADS = 6
COLUMNS = (
  'prompt_agreement',
  'true_render_agreement',
  'expression_accuracy',
  'geometry_agreement',
  'saturation',
  'detail',
  'normal_noise_deg',
  'view_consistency',
)


def define_flags() -> None:
  """Defines the flags, here so that launchers can be imported together."""
  flags.DEFINE_bool('json', False, 'Print a list for programs.')
  flags.DEFINE_string('judge', 'judge', 'A judge, or its folder.')
  flags.DEFINE_bool('start', False, 'Measure the head a run began from.')


def asked_attributes(prompt: str) -> dict[str, object]:
  """Returns what a prompt asks of a head; a view is no attribute."""
  asked = dict(captions.parse(prompt))
  asked.pop('view', None)
  return asked


def true_agreement(
  judge: judge_lib.Judge, views: orbits.Views, asked: Mapping
) -> float:
  """Returns what procedural heads that really have the attributes score."""
  fixed = {
    key: value for key, value in asked.items() if key in head_attributes.CHOICES
  }
  scores = []
  for index in range(NUM_TRUE_HEADS):
    head = heads.sample_head(77, index, fixed=fixed)
    truth = heads.render_heads([head] * len(views), views, RESOLUTION)
    pictures = truth.over(np.full(3, agreement.BACKGROUND))
    verdict = agreement.measure(judge, pictures, views.words, asked)
    scores.append(verdict.overall)
  return float(np.mean(scores))


def judged_prompt(run: config_lib.RunConfig) -> str:
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


def evaluate_run(
  workdir: str, judge: judge_lib.Judge, start: bool = False
) -> dict[str, object]:
  """Returns the row of one run.

  Raises:
    FileNotFoundError, ValueError: in one line.
  """
  avatar = finished_run.open_run(workdir)
  params = finished_run.start_params(avatar) if start else avatar.params
  prompt = judged_prompt(avatar.run)
  asked = asked_attributes(prompt)
  views = agreement.judging_views()
  background = np.full(3, agreement.BACKGROUND, np.float32)
  shown = nerf_images.render_images(
    avatar.representation, params, views, RESOLUTION, background
  )
  verdict = agreement.measure(judge, shown['rgb'], views.words, asked)
  around = orbits.turntable(16)
  orbit = nerf_images.render_images(
    avatar.representation, params, around, RESOLUTION, background
  )
  return {
    'run': str(workdir),
    'prompt': prompt,
    'step': 0 if start else avatar.step,
    'prompt_agreement': verdict.overall,
    'true_render_agreement': true_agreement(judge, views, asked),
    'chance': verdict.chance,
    'expression_accuracy': verdict.per_attribute.get('expression'),
    'geometry_agreement': geometry_agreement(verdict.per_attribute),
    'per_attribute': dict(verdict.per_attribute),
    'saturation': metrics.saturation(orbit['rgb'], orbit['acc']),
    'detail': metrics.detail(orbit['rgb'], orbit['acc']),
    'normal_noise_deg': metrics.normal_noise_deg(
      orbit['normals'], orbit['acc']
    ),
    'view_consistency': metrics.view_consistency(
      orbit['rgb'], orbit['depth'], orbit['acc'], around.cameras()
    ),
  }


def format_table(rows: Sequence[Mapping[str, object]]) -> str:
  """Returns the rows as an aligned table, with the mean if there are many."""
  header = ['run', *COLUMNS]
  lines = [header]
  for row in rows:
    name = pathlib.Path(str(row['run'])).name
    lines.append([name, *(_cell(row[column]) for column in COLUMNS)])
  if len(rows) > 1:
    means = [_mean([row[column] for row in rows]) for column in COLUMNS]
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
  return '-' if value is None else f'{value:.3f}'


def main(argv: Sequence[str]) -> None:
  """Prints the table, or with --json the list."""
  if len(argv) < 2:
    raise ValueError(
      'expected the folders of runs: python -m launchers.evaluate RUN [RUN ...]'
    )
  judge = judge_lib.load(assets.resolve(flags.FLAGS.judge))
  rows = [evaluate_run(run, judge, flags.FLAGS.start) for run in argv[1:]]
  print(json.dumps(rows, indent=2) if flags.FLAGS.json else format_table(rows))


if __name__ == '__main__':
  define_flags()
  terminal.run(main)
