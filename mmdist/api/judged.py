"""What the embedded judge sees in a finished head, for the report of its run.

A judge knows one embedded world. Where a sentence is about something else,
where the run's priors are of another world, or where the judge's files are
gone, there is no verdict, and no error.
"""

import numpy as np

from mmdist.config import schema
from mmdist.core import asset_paths
from mmdist.core import errors
from mmdist.core import representation as representation_lib
from mmdist.nerf import images
from mmdist.objectives import concept as concept_lib
from mmdist.results import summary


def judge(
  config: schema.RunConfig,
  representation: representation_lib.Representation,
  params: representation_lib.Params,
) -> summary.Judgement | None:
  """Returns how far a head shows what its run was asked; None if unknown.

  Args:
    config: of the run.
    representation: renders the head.
    params: its parameters.
  """
  if not config.results.judge:
    return None
  # Here, because they import torch.
  from mmdist.evaluation import agreement
  from mmdist.evaluation import concept_agreement
  from mmdist.evaluation import judge as judge_lib
  from mmdist.evaluation import judged_world

  try:
    looks = judge_lib.load(asset_paths.resolve(config.results.judge))
    judged_world.check(config, looks)
    world = looks.world
    concepts = concept_agreement.judged_concepts(config, world)
    if not any(agreement.can_judge(looks, one.asked) for one in concepts):
      return None
    views = agreement.judging_views()
    grey = np.full(3, agreement.BACKGROUND, np.float32)
    shown = images.render_images(
      representation,
      params,
      views,
      judge_lib.IMAGE_SIZE,
      grey,
      with_normals=False,
    )
    verdict = concept_agreement.measure(
      looks, shown['rgb'], views.words, concepts
    )
  except (errors.UserError, FileNotFoundError):
    return None
  asked = [
    one for one, weight in concept_lib.weighted_concepts(config) if weight
  ]
  agreements = {
    one.key: seen['agreement']
    for one, seen in zip(asked, verdict.per_concept, strict=True)
  }
  return summary.Judgement(
    verdict.overall,
    verdict.chance,
    {
      key: share if isinstance(share, float) else None
      for key, share in agreements.items()
    },
  )
