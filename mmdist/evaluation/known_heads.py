"""Procedural heads that a result is held to, as flags name them.

Owns FAMILY:INDEX, the pictures of such a head from where results are judged,
and what heads that really have some attributes score.
"""

from collections.abc import Iterator, Mapping
import re

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import errors
from mmdist.evaluation import agreement
from mmdist.evaluation import clay
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import metrics
from mmdist.heads import head_records
from mmdist.heads import subjects
from mmdist.heads import worlds

NUM_TRUE_HEADS = 6
NUM_STRANGERS = 99  # Other heads that an edit is compared with.
# Seeds of two families of heads that no network was trained on.
_FAMILY = 77
_STRANGERS = 79
_NAME = re.compile(r'(\d+):(\d+)(:neutral)?')


def is_named(text: str) -> bool:
  """Returns whether a flag names a procedural head."""
  return bool(_NAME.fullmatch(text))


def read_head(world: worlds.World, text: str, flag: str) -> head_records.Head:
  """Returns the procedural head that FAMILY:INDEX[:neutral] names.

  The first form is what `mmdist heads` knows a head by, the second is what
  the NeRF is pretrained on.

  Args:
    world: whose head.
    text: the name.
    flag: where it was given, for the error.

  Raises:
    UserError: it is something else.
  """
  numbers = _NAME.fullmatch(text)
  if not numbers:
    raise errors.UserError(
      f"--{flag} is '{text}'; expected FAMILY:INDEX of a procedural head, as "
      f'in --{flag}=5:2, or FAMILY:INDEX:neutral.'
    )
  family, index, neutral = numbers.groups()
  return subjects.sample_head(world, int(family), int(index), bool(neutral))


def render(
  world: worlds.World,
  head: head_records.Head,
  views: orbits.Views,
  resolution: int,
) -> dict[str, np.ndarray]:
  """Renders a head over the judging background.

  Returns:
    'rgb' and coloured 'normals' [V, H, W, 3], 'acc' [V, H, W].
  """
  pictures = subjects.render_heads(
    world, [head] * len(views), views, resolution
  )
  return {
    'rgb': pictures.over(np.full(3, agreement.BACKGROUND)),
    'normals': pictures.normals,
    'acc': pictures.rgba[..., 3],
  }


def asked_attributes(world: worlds.World, prompt: str) -> dict[str, object]:
  """Returns what a prompt asks of a head; a view is no attribute."""
  asked = dict(world.captions.parse(prompt))
  asked.pop('view', None)
  return asked


def true_agreement(
  judge: judge_lib.Judge,
  views: orbits.Views,
  shown: Mapping[str, object],
  asked: Mapping[str, object],
  resolution: int,
  as_clay: bool = False,
) -> float:
  """Returns what true renders score: no more can be expected of a result.

  Args:
    judge: who looks, at heads of its world.
    views: from where.
    shown: attributes that the heads have; the others are drawn.
    asked: attributes that they are judged by.
    resolution: H = W of the pictures.
    as_clay: show their normals alone, as clay.
  """
  scores = []
  world = judge.world
  for pictures in true_pictures(world, views, shown, resolution):
    seen = clay.light(pictures['normals']) if as_clay else pictures['rgb']
    scores.append(agreement.measure(judge, seen, views.words, asked).overall)
  return float(np.mean(scores))


def true_normal_noise_deg(
  world: worlds.World,
  views: orbits.Views,
  shown: Mapping[str, object],
  resolution: int,
) -> float:
  """Returns the normal noise of heads that have all of `shown`.

  Even true heads have some: hair and brims are not smooth.
  """
  return float(
    np.mean(
      [
        metrics.normal_noise_deg(pictures['normals'], pictures['acc'])
        for pictures in true_pictures(world, views, shown, resolution)
      ]
    )
  )


def true_pictures(
  world: worlds.World,
  views: orbits.Views,
  shown: Mapping[str, object],
  resolution: int,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields the pictures of heads that have all of `shown`; see `render`.

  Raises:
    UserError: no head can have all of it.
  """
  choices = world.attributes.choices
  fixed = {k: v for k, v in shown.items() if k in choices}
  for index in range(NUM_TRUE_HEADS):
    head = subjects.sample_head(world, _FAMILY, index, fixed=fixed)
    yield render(world, head, views, resolution)


def identity(
  judge: judge_lib.Judge,
  views: orbits.Views,
  pictures: np.ndarray,
  subject: head_records.Head,
  asked: Mapping[str, object],
) -> dict[str, float | int]:
  """Measures how far an edit still shows its subject.

  What counts is every visible attribute of the subject that the sentence does
  not change.

  Args:
    judge: who looks, at heads of its world.
    views: V views.
    pictures: [V, H, H, 3] in [0, 1], of the edit.
    subject: whom it began from.
    asked: attributes that the edit changes.

  Returns:
    'identity_agreement', the share of views with what was kept;
    'true_identity_agreement', what heads that have both the kept and the asked
    attributes score; 'identity_chance', what heads score that have the asked
    ones only, i.e. that follow the sentence and are anybody; 'identity_rank',
    the subject's place among `NUM_STRANGERS` others, by how well the judge
    finds that they fit: 1 if it recognises the subject.
  """
  world = judge.world
  strangers = [
    subjects.sample_head(world, _STRANGERS, index)
    for index in range(NUM_STRANGERS)
  ]
  kept, *others = [
    world.attributes.kept(head.attributes, asked)
    for head in (subject, *strangers)
  ]
  size = pictures.shape[1]
  verdict = agreement.measure(judge, pictures, views.words, kept)
  fits = agreement.log_likelihood(judge, pictures, views.words, [kept, *others])
  return {
    'identity_rank': 1 + int(np.sum(fits[1:] > fits[0])),
    'identity_agreement': verdict.overall,
    'true_identity_agreement': true_agreement(
      judge, views, kept | dict(asked), kept, size
    ),
    'identity_chance': true_agreement(judge, views, asked, kept, size),
  }
