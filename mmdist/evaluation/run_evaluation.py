"""Measures how well runs follow their prompts or concepts.

Every number is measured on a run's newest checkpoint, from the fixed views of
`mmdist.evaluation.agreement`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import asset_paths
from mmdist.core import options as options_lib
from mmdist.core import representation as representation_lib
from mmdist.evaluation import agreement
from mmdist.evaluation import asked_scores
from mmdist.evaluation import clay
from mmdist.evaluation import concept_agreement
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import judged_world
from mmdist.evaluation import known_heads
from mmdist.evaluation import metrics
from mmdist.heads import worlds
from mmdist.nerf import images as nerf_images
from mmdist.objectives import concept
from mmdist.run import opening
from mmdist.run import workdir as workdir_lib

RESOLUTION = judge_lib.IMAGE_SIZE  # Other metrics are of the same pictures.


@dataclasses.dataclass(frozen=True)
class Options:
  """What is measured besides, by whom, and where it is written."""

  json: bool = options_lib.option(False, 'Print a list for programs.')
  judge: str = options_lib.option(
    'judge', 'A judge, or its folder.', is_path=True
  )
  start: bool = options_lib.option(False, 'Measure the head a run began from.')
  digest: bool = options_lib.option(
    False, 'Print sha256, step and folder instead.'
  )
  out: str = options_lib.option(
    '', 'A JSON file to write as well.', is_path=True
  )
  clip: str = options_lib.option(
    '',
    'Folder of a CLIPModel: adds clip_score (heaviest concept).',
    is_path=True,
  )
  pickscore: str = options_lib.option(
    '', 'Folder of PickScore: adds pickscore (the same).', is_path=True
  )
  prompts: str = options_lib.option(
    '',
    "Texts for r_precision, one a line; or all runs' prompts.",
    is_path=True,
  )
  truth: str = options_lib.option(
    '', 'Procedural head FAMILY:INDEX: adds psnr, ssim, normal error.'
  )
  subject: str = options_lib.option(
    '', 'Procedural head FAMILY:INDEX, edited: adds its identity.'
  )


def evaluate(
  runs: Sequence[str | os.PathLike], options: Options = Options()
) -> list[dict[str, object]]:
  """Returns the rows of several runs.

  Args:
    runs: their folders.
    options: what to measure besides; `json`, `out` and `digest` are not read.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  options = options_lib.checked(options)
  judge = judge_lib.load(asset_paths.resolve(options.judge))
  world = judge.world
  prompts = []
  for run in runs:
    config = workdir_lib.read_config(run)
    judged_world.check(config, judge)
    prompts.append(concept_agreement.main_prompt(config))
  asked = asked_scores.open_asked(options, world, prompts, RESOLUTION)
  rows = [evaluate_run(run, judge, options.start, asked) for run in runs]
  if options.pickscore and len(rows) > 1:
    asked_scores.add_preferences(rows)
  return rows


def geometry_agreement(
  world: worlds.World, per_attribute: Mapping[str, float]
) -> float | None:
  """Returns the mean over what changes the shape; None if none was asked."""
  shares = [
    share
    for name, share in per_attribute.items()
    if name in world.questions.geometry
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
  geometry = judge.world.questions.geometry
  asked = {
    name: value
    for name, value in attributes.items()
    if name in geometry and value
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
  workdir: str | os.PathLike,
  judge: judge_lib.Judge,
  start: bool = False,
  asked: asked_scores.Asked = asked_scores.NOTHING,
  representation: representation_lib.Representation | None = None,
) -> dict[str, object]:
  """Returns the row of one run.

  Args:
    workdir: its folder.
    judge: who says what its pictures show.
    start: measure the head that it began from.
    asked: what to measure besides.
    representation: the one that the run was given, if it was given one.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  avatar = opening.open_run(workdir, representation)
  judged_world.check(avatar.run, judge)
  params = opening.start_params(avatar) if start else avatar.params
  world = judge.world
  concepts = concept_agreement.judged_concepts(avatar.run, world)
  attributes = concept_agreement.merged_attributes(concepts)
  views = agreement.judging_views()
  background = np.full(3, agreement.BACKGROUND, np.float32)
  shown = nerf_images.render_images(
    avatar.representation, params, views, RESOLUTION, background
  )
  verdict = concept_agreement.measure(
    judge, shown['rgb'], views.words, concepts
  )
  row: dict[str, object] = {
    'run': str(workdir),
    'prompt': concept.describe(concept.weighted_texts(avatar.run)),
    'step': 0 if start else avatar.step,
    'prompt_agreement': verdict.overall,
    'true_render_agreement': _true_agreement(
      judge, views, attributes, concepts
    ),
    'chance': verdict.chance,
    'expression_accuracy': verdict.per_attribute.get('expression'),
    'geometry_agreement': geometry_agreement(world, verdict.per_attribute),
    **clay_agreement(judge, views, shown['normals'], attributes),
    'per_attribute': dict(verdict.per_attribute),
    **_looks(world, avatar, params, attributes, background),
  }
  if len(concepts) > 1:
    row['concepts'] = [dict(concept) for concept in verdict.per_concept]
  prompt = concept_agreement.main_prompt(avatar.run)
  return row | asked_scores.measure(
    asked, judge, avatar, params, prompt, attributes, shown
  )


def _true_agreement(
  judge: judge_lib.Judge,
  views: orbits.Views,
  attributes: Mapping[str, object],
  concepts: Sequence[concept_agreement.Judged],
) -> float:
  """Returns what heads score that have all that the concepts agree on."""
  return float(
    np.mean(
      [
        concept_agreement.measure(
          judge, pictures['rgb'], views.words, concepts
        ).overall
        for pictures in known_heads.true_pictures(
          judge.world, views, attributes, RESOLUTION
        )
      ]
    )
  )


def _looks(
  world: worlds.World,
  avatar: opening.Avatar,
  params: representation_lib.Params,
  attributes: Mapping[str, object],
  background: np.ndarray,
) -> dict[str, float]:
  """Returns what is measured all around the head without a judge."""
  around = orbits.turntable(16)
  orbit = nerf_images.render_images(
    avatar.representation, params, around, RESOLUTION, background
  )
  return {
    'saturation': metrics.saturation(orbit['rgb'], orbit['acc']),
    'detail': metrics.detail(orbit['rgb'], orbit['acc']),
    'normal_noise_deg': metrics.normal_noise_deg(
      orbit['normals'], orbit['acc']
    ),
    'true_normal_noise_deg': known_heads.true_normal_noise_deg(
      world, around, attributes, RESOLUTION
    ),
    'view_consistency': metrics.view_consistency(
      orbit['rgb'], orbit['depth'], orbit['acc'], around.cameras()
    ),
  }
