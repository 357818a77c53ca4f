"""Trains the judge on labelled pictures.

Owns loss, augmentation and held-out accuracy; pictures and labels are brought
by the caller. A result of optimisation is softer and noisier than the renders
that the judge learns from, so those are blurred and disturbed at random.
"""

from collections.abc import Callable, Sequence
import dataclasses

import numpy as np
import torch
from torch.nn import functional

from mmdist.core import seeds
from mmdist.evaluation import judge as judge_lib
from mmdist.priors import devices

UNKNOWN = -1  # A label that a picture cannot show.


@dataclasses.dataclass(frozen=True)
class LabelledPictures:
  """N pictures and what they show.

  Attributes:
    rgba: [N, 64, 64, 4] uint8, premultiplied.
    labels: [N, Q] int64 index of each question's value, or `UNKNOWN`.
  """

  rgba: np.ndarray
  labels: np.ndarray

  def __len__(self) -> int:
    return len(self.labels)


@dataclasses.dataclass(frozen=True)
class JudgeTraining:
  """How the judge is trained.

  Attributes:
    num_steps: optimiser steps.
    batch_size: pictures per step.
    learning_rate: AdamW's peak, in one cycle.
    weight_decay: AdamW's.
    background: greys behind the heads.
    hard_question: one that takes few pixels and is learned late without help;
      half of each batch can answer it. '' for none.
    hard_weight: of its loss; the others have 1.
    seed: decides order, disturbances and dropout.
  """

  num_steps: int
  batch_size: int = 64
  learning_rate: float = 2e-3
  weight_decay: float = 0.02
  background: tuple[float, float] = (0.2, 1.0)
  hard_question: str = 'expression'
  hard_weight: float = 6.0
  seed: int = 0


def label_pictures(
  questions: Sequence[judge_lib.Question],
  attributes: Sequence[dict],
  views: Sequence[str],
) -> np.ndarray:
  """Turns attributes into [N, Q] labels.

  Args:
    questions: the judge's.
    attributes: per picture, the visible attributes by name; 'view' is added.
    views: per picture, its view word.
  """
  labels = np.full((len(views), len(questions)), UNKNOWN, np.int64)
  for row, (shown, view) in enumerate(zip(attributes, views, strict=True)):
    shown = {**shown, 'view': view}
    for column, question in enumerate(questions):
      if view in question.views and question.name in shown:
        labels[row, column] = question.values.index(str(shown[question.name]))
  return labels


def init_judge(
  questions: Sequence[judge_lib.Question], seed: int
) -> judge_lib.Judge:
  """Returns an untrained judge with weights from the seed."""
  with torch.random.fork_rng(devices=[]):
    torch.manual_seed(seeds.derive_seed(seed, 0, 'weights of the judge'))
    return judge_lib.Judge(tuple(questions))


def train(
  judge: judge_lib.Judge,
  pictures: LabelledPictures,
  training: JudgeTraining,
  report: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
  """Trains the judge in place; the same start ends the same."""
  judge.net.train()
  optimizer = torch.optim.AdamW(
    judge.net.parameters(),
    training.learning_rate,
    weight_decay=training.weight_decay,
  )
  schedule = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, training.learning_rate, training.num_steps, pct_start=0.1
  )
  dtype = devices.resolve_dtype(devices.AUTO, torch.device('cpu'))
  weights = _question_weights(judge, training)
  hard = np.flatnonzero(
    ((pictures.labels != UNKNOWN) & (weights.numpy() > 1)).any(1)
  )
  # Dropout draws from torch's global generator, which is seeded here and put
  # back afterwards.
  with torch.random.fork_rng(devices=[]):
    torch.manual_seed(seeds.derive_seed(training.seed, 0, 'dropout'))
    for step in range(training.num_steps):
      rng = seeds.generator(training.seed, step, 'judge')
      picks = rng.integers(0, len(pictures), training.batch_size)
      if len(hard):
        half = training.batch_size // 2
        picks[:half] = rng.choice(hard, half)
      pixels = disturb(pictures.rgba[picks], rng, training.background)
      labels = torch.from_numpy(pictures.labels[picks])
      with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        logits = judge.net(pixels)
      loss = _loss(judge.split(logits.float()), labels, weights)
      optimizer.zero_grad()
      loss.backward()
      optimizer.step()
      schedule.step()
      report(step, loss.item())
  judge.net.eval()


def _question_weights(
  judge: judge_lib.Judge, training: JudgeTraining
) -> torch.Tensor:
  return torch.tensor(
    [
      training.hard_weight if q.name == training.hard_question else 1.0
      for q in judge.questions
    ]
  )


def _loss(
  parts: Sequence[torch.Tensor], labels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
  """Weighted mean cross-entropy over what the pictures can answer."""
  losses = [
    weights[column]
    * functional.cross_entropy(
      part,
      labels[:, column],
      ignore_index=UNKNOWN,
      label_smoothing=0.02,
      reduction='sum',
    )
    for column, part in enumerate(parts)
  ]
  return sum(losses) / ((labels != UNKNOWN) * weights).sum().clamp(min=1)


def disturb(
  rgba: np.ndarray, rng: np.random.Generator, background: tuple[float, float]
) -> torch.Tensor:
  """Puts [N, H, W, 4] uint8 over greys, shifts, blurs, tints, adds noise.

  Returns:
    [N, 3, H, W] float32 in [-1, 1].
  """
  count = len(rgba)
  colors = torch.from_numpy(rgba).permute(0, 3, 1, 2).float() / 255

  def draw(low: float, high: float, *shape: int) -> torch.Tensor:
    values = rng.uniform(low, high, (count, *shape))
    return torch.from_numpy(values.astype(np.float32))

  pixels = colors[:, :3] + (1 - colors[:, 3:]) * draw(*background, 1, 1, 1)
  # Zoom and shift, since results are not centred in the frame as renders are.
  theta = torch.zeros(count, 2, 3)
  theta[:, 0, 0] = theta[:, 1, 1] = draw(0.92, 1.10)
  theta[:, :, 2] = draw(-0.06, 0.06, 2)
  where = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
  pixels = functional.grid_sample(
    pixels, where, padding_mode='border', align_corners=False
  )
  soft = functional.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
  softer = functional.avg_pool2d(soft, 3, 1, 1, count_include_pad=False)
  amount = draw(-0.5, 1.0, 1, 1, 1).clamp(min=0)
  pixels = torch.lerp(pixels, softer, amount)
  pixels = pixels * draw(0.85, 1.12, 3, 1, 1) + draw(-0.05, 0.05, 1, 1, 1)
  noise = rng.standard_normal(pixels.shape, dtype=np.float32)
  pixels = pixels + torch.from_numpy(noise) * draw(0, 0.05, 1, 1, 1)
  return 2 * pixels.clamp(0, 1) - 1


def accuracy(
  judge: judge_lib.Judge, pictures: LabelledPictures, batch_size: int = 256
) -> dict[str, float]:
  """Returns the share of right answers per question, over a grey of 0.6."""
  right = np.zeros(len(judge.questions))
  asked = np.zeros(len(judge.questions))
  for first in range(0, len(pictures), batch_size):
    rgba = pictures.rgba[first : first + batch_size].astype(np.float32) / 255
    labels = pictures.labels[first : first + batch_size]
    answers = judge.probabilities(rgba[..., :3] + (1 - rgba[..., 3:]) * 0.6)
    for column, question in enumerate(judge.questions):
      known = labels[:, column] != UNKNOWN
      best = answers[question.name].argmax(-1)
      right[column] += (best == labels[:, column])[known].sum()
      asked[column] += known.sum()
  return {
    question.name: float(right[i] / max(asked[i], 1))
    for i, question in enumerate(judge.questions)
  }
