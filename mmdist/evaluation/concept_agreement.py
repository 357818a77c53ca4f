"""How well a head agrees with all the concepts that it was made from.

A run of one prompt has one concept of weight 1. In a mix each concept has its
own agreement: a positive one asks for its attributes, a negative one asks for
its attributes to be absent, and the mix is their mean, weighted by |weight|.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from mmdist.config import schema
from mmdist.core import errors
from mmdist.evaluation import agreement
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import known_heads
from mmdist.heads import worlds
from mmdist.objectives import concept


@dataclasses.dataclass(frozen=True)
class Judged:
  """What one concept asks the judge for.

  Attributes:
    text: of the concept.
    weight: of the concept, signed.
    asked: attribute -> value; with a negative weight, what should be absent.
  """

  text: str
  weight: float
  asked: Mapping[str, object]


def judged_concepts(
  run: schema.RunConfig, world: worlds.World
) -> tuple[Judged, ...]:
  """Returns what a run's head should and should not show.

  What a negative concept names is taken away, so a positive concept that
  implies it (a joker has green hair) is not judged by it.

  Args:
    run: its configuration.
    world: in whose words the concepts are read.

  Raises:
    UserError: no concept has a positive weight.
  """
  texts = _texts(run)
  named = [
    Judged(text, weight, known_heads.asked_attributes(world, text))
    for text, weight in texts
  ]
  removed = {
    pair for judged in named if judged.weight < 0 for pair in _pairs(judged)
  }
  return tuple(
    judged
    if judged.weight < 0
    else dataclasses.replace(
      judged, asked=dict(p for p in _pairs(judged) if p not in removed)
    )
    for judged in named
  )


def _pairs(judged: Judged) -> list[tuple[str, object]]:
  """Returns attributes with values; whom a sentence is about is none."""
  pairs = judged.asked.items()
  return [pair for pair in pairs if judged.weight > 0 or pair[0] != 'kind']


def main_prompt(run: schema.RunConfig) -> str:
  """Returns the prompt, or of several concepts the one that weighs most."""
  text, _ = max(_texts(run), key=lambda one: one[1])
  return text


def _texts(run: schema.RunConfig) -> Sequence[tuple[str, float]]:
  """Returns the concepts' texts and weights; UserError if none is positive."""
  texts = concept.weighted_texts(run)
  if not any(weight > 0 for _, weight in texts):
    raise errors.UserError(
      'the run has no concept of positive weight, so there is nothing that its '
      'head should show.'
    )
  return texts


def merged_attributes(concepts: Sequence[Judged]) -> dict[str, object]:
  """Returns what the positive concepts ask for together.

  Where they disagree, the one that weighs most decides.
  """
  merged: dict[str, object] = {}
  for judged in sorted(concepts, key=lambda one: one.weight):
    if judged.weight > 0:
      merged |= judged.asked
  return merged


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The judge's verdict on one head and all concepts.

  Attributes:
    overall: mean of the concepts' agreements, weighted by |weight|.
    chance: what guessing would get, the same mean.
    per_attribute: over the positive concepts that ask for an attribute.
    per_concept: text, weight, agreement and per_attribute of each; the
      agreement of a negative concept is the share of views without what it
      names. None for a concept that names nothing the judge can tell.
  """

  overall: float
  chance: float
  per_attribute: Mapping[str, float]
  per_concept: tuple[Mapping[str, object], ...]


def measure(
  judge: judge_lib.Judge,
  images: np.ndarray,
  view_words: tuple[str, ...],
  concepts: Sequence[Judged],
) -> Verdict:
  """Scores [N, H, W, 3] pictures of one head.

  Args:
    judge: who looks.
    images: in [0, 1], from views that the words name.
    view_words: N words.
    concepts: what the head should and should not show.

  Raises:
    UserError: nothing that was asked can be judged.
  """
  found = [_measure_one(judge, images, view_words, one) for one in concepts]
  weighted = [
    (abs(judged.weight), verdict)
    for judged, verdict in zip(concepts, found, strict=True)
    if verdict
  ]
  if not weighted:  # Raises, and says what the judge can tell.
    agreement.measure(judge, images, view_words, merged_attributes(concepts))
  shares: dict[str, list[tuple[float, float]]] = {}
  for judged, verdict in zip(concepts, found, strict=True):
    if verdict and judged.weight > 0:
      for name, share in verdict.per_attribute.items():
        shares.setdefault(name, []).append((judged.weight, share))
  return Verdict(
    _mean([(weight, verdict.overall) for weight, verdict in weighted]),
    _mean([(weight, verdict.chance) for weight, verdict in weighted]),
    {name: _mean(pairs) for name, pairs in shares.items()},
    tuple(
      {
        'text': judged.text,
        'weight': judged.weight,
        'agreement': verdict.overall if verdict else None,
        'per_attribute': dict(verdict.per_attribute) if verdict else {},
      }
      for judged, verdict in zip(concepts, found, strict=True)
    ),
  )


def _mean(pairs: Sequence[tuple[float, float]]) -> float:
  """Returns the mean of (weight, value); exactly the value if it is alone."""
  if len(pairs) == 1:
    return pairs[0][1]
  weights, values = zip(*pairs, strict=True)
  return float(np.average(values, weights=weights))


def _measure_one(
  judge: judge_lib.Judge,
  images: np.ndarray,
  view_words: tuple[str, ...],
  judged: Judged,
) -> agreement.Agreement | None:
  if not agreement.can_judge(judge, judged.asked):
    return None
  seen = agreement.measure(judge, images, view_words, judged.asked)
  if judged.weight > 0:
    return seen
  return agreement.Agreement(
    1 - seen.overall,
    {name: 1 - share for name, share in seen.per_attribute.items()},
    1 - seen.chance,
  )
