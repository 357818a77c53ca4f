"""How well pictures of a head agree with what a sentence asked for.

Owns from which views a head is judged and what is averaged; what a picture
shows is said by `mmdist.evaluation.judge`.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import errors
from mmdist.evaluation import judge as judge_lib

BACKGROUND = 0.75


@dataclasses.dataclass(frozen=True)
class Agreement:
  """The judge's verdict on one head.

  Attributes:
    overall: mean over the asked attributes of their share of views in which
      the judge sees what was asked, in [0, 1].
    per_attribute: that share by attribute.
    chance: what guessing would get, the mean of 1 / number of values.
  """

  overall: float
  per_attribute: Mapping[str, float]
  chance: float


def judging_views() -> orbits.Views:
  """Returns the fixed views from which every head is judged.

  Five of the whole head from the front and the sides, one from the back, two
  of the mouth and two of the eyes.
  """
  kinds = {kind.word: kind for kind in orbits.ORBIT_KINDS if kind.word}
  rows = [
    (azimuth, 0.08, orbits.HEAD_TARGET, orbits.HEAD_HALF_HEIGHT)
    for azimuth in (0.0, -0.35, 0.35, 1.1, -1.1, np.pi)
  ]
  for word in ('mouth', 'eyes'):
    kind = kinds[word]
    rows += [
      (azimuth, 0.03, kind.target, kind.half_height) for azimuth in (0.0, 0.3)
    ]
  azimuth, elevation, target, half_height = (
    np.asarray(column, np.float64) for column in zip(*rows, strict=True)
  )
  return orbits.make_views(
    azimuth, elevation, orbits.CAMERA_DISTANCE, target, half_height
  )


def portrait_views() -> orbits.Views:
  """Returns the judging views of a face: the whole head, not from behind.

  From these a picture can be compared with a sentence by a network that knows
  nothing of views.
  """
  views = judging_views()
  seen = [i for i, word in enumerate(views.words) if word in ('front', 'side')]
  return views.take(seen)


def measure(
  judge: judge_lib.Judge,
  images: np.ndarray,
  view_words: tuple[str, ...],
  asked: Mapping[str, object],
) -> Agreement:
  """Scores [N, H, W, 3] pictures of one head.

  Args:
    judge: who looks.
    images: in [0, 1], from views that the words name.
    view_words: N words.
    asked: attribute -> value; what the judge has no question for is left out.

  Raises:
    UserError: nothing that was asked can be judged.
  """
  shares, chances = {}, []
  for question, answers in _answers(judge, images, view_words):
    value = str(asked.get(question.name))
    if value not in question.values:
      continue
    seen = answers.argmax(-1)
    shares[question.name] = float(np.mean(seen == question.values.index(value)))
    chances.append(1 / len(question.values))
  if not shares:
    raise errors.UserError(
      f'the prompt asks for nothing that the judge can tell ({dict(asked)}); '
      f'it knows {", ".join(question.name for question in judge.questions)}.'
    )
  return Agreement(
    float(np.mean(list(shares.values()))), shares, float(np.mean(chances))
  )


def can_judge(judge: judge_lib.Judge, asked: Mapping[str, object]) -> bool:
  """Returns whether the judge has a question for anything that is asked."""
  return any(
    str(asked.get(question.name)) in question.values
    for question in judge.questions
    if question.name != 'view'
  )


def log_likelihood(
  judge: judge_lib.Judge,
  images: np.ndarray,
  view_words: Sequence[str],
  candidates: Sequence[Mapping[str, object]],
) -> np.ndarray:
  """Returns how well K descriptions fit [N, H, W, 3] pictures of a head.

  Returns:
    [K]: the mean over what a description names of the mean over views of the
    judge's log probability of it; to compare descriptions by.

  Raises:
    UserError: a description names nothing that can be judged.
  """
  fits: list[list[float]] = [[] for _ in candidates]
  for question, answers in _answers(judge, images, view_words):
    seen = np.log(np.maximum(answers, 1e-6)).mean(0)
    by_value = dict(zip(question.values, seen, strict=True))
    for fit, candidate in zip(fits, candidates, strict=True):
      value = str(candidate.get(question.name))
      if value in by_value:
        fit.append(by_value[value])
  if not all(fits):
    raise errors.UserError(
      'a description names nothing that the judge can tell.'
    )
  return np.array([np.mean(fit) for fit in fits])


def mean_probability(
  judge: judge_lib.Judge,
  images: np.ndarray,
  view_words: Sequence[str],
  asked: Mapping[str, object],
) -> float | None:
  """Returns how much of a description the judge sees, in [0, 1].

  Finer than `measure`, which counts the views in which it is the likeliest.

  Returns:
    The mean over what is asked of the mean over views of its probability;
    None if nothing of it can be told.
  """
  seen = [
    float(answers[:, question.values.index(value)].mean())
    for question, answers in _answers(judge, images, view_words)
    if (value := str(asked.get(question.name))) in question.values
  ]
  return float(np.mean(seen)) if seen else None


def _answers(
  judge: judge_lib.Judge, images: np.ndarray, view_words: Sequence[str]
) -> Iterator[tuple[judge_lib.Question, np.ndarray]]:
  """Yields each question of a head, with its answers from views that tell."""
  answers = judge.probabilities(images)
  for question in judge.questions:
    rows = [i for i, word in enumerate(view_words) if word in question.views]
    if question.name != 'view' and rows:
      yield question, answers[question.name][rows]


def measure_each(
  judge: judge_lib.Judge,
  images: np.ndarray,
  view_words: Sequence[str],
  asked: Sequence[Mapping[str, object]],
) -> Agreement:
  """Scores [N, H, W, 3] pictures, each of a head of its own.

  Args:
    judge: who looks.
    images: in [0, 1].
    view_words: N words.
    asked: per picture, attribute -> value; what the judge has no question for,
      or cannot tell from that view, is left out.

  Returns:
    Shares per attribute over the pictures that asked for it; overall, every
    asked attribute of every picture counts once.

  Raises:
    UserError: nothing that was asked can be judged.
  """
  answers = judge.probabilities(images)
  shares, counts, chances = {}, [], []
  for question in judge.questions:
    rows = [
      (i, question.values.index(str(wanted[question.name])))
      for i, (word, wanted) in enumerate(zip(view_words, asked, strict=True))
      if word in question.views
      and str(wanted.get(question.name)) in question.values
    ]
    if question.name == 'view' or not rows:
      continue
    pictures, values = map(np.array, zip(*rows, strict=True))
    seen = answers[question.name][pictures].argmax(-1)
    shares[question.name] = float(np.mean(seen == values))
    counts.append(len(rows))
    chances.append(1 / len(question.values))
  if not shares:
    raise errors.UserError(
      'nothing that was asked can be told from these views.'
    )
  overall = np.average(list(shares.values()), weights=counts)
  chance = np.average(chances, weights=counts)
  return Agreement(float(overall), shares, float(chance))
