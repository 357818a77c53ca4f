"""Teaches a text encoder to read, before it sees a picture.

Owns one lesson: linear classifiers, the readers, must find what a sentence says
in the mean of the encoder's outputs. Denoising alone teaches a small encoder
very slowly which noun a colour belongs to, and the UNet cannot draw what the
encoder does not tell it.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools

import numpy as np
import torch
from torch.nn import functional

from mmdist.core import seeds
from mmdist.priors import prompt_encoder

# A sentence, and its answer to each question that it answers.
Sentence = tuple[str, Mapping[str, object]]
UNSAID = 0  # The class of every question that a sentence leaves open.


@dataclasses.dataclass(frozen=True)
class Lesson:
  """How long and how fast a text encoder learns to read.

  Attributes:
    num_steps: optimiser steps.
    batch_size: sentences per step.
    learning_rate: Adam's peak; falls linearly to a tenth.
    seed: decides the sentences and the readers' first weights.
  """

  num_steps: int
  batch_size: int = 64
  learning_rate: float = 1e-3
  seed: int = 0


def teach(
  text: prompt_encoder.PromptEncoder,
  questions: Mapping[str, Sequence[object]],
  draw: Callable[[np.random.Generator], Sentence],
  lesson: Lesson,
  report: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
  """Trains the encoder in place, and readers that are thrown away.

  Args:
    text: whose encoder learns.
    questions: name -> the values that it may have.
    draw: returns a sentence and what it says.
    lesson: how.
    report: called with each step and its loss.

  Returns:
    The share of right answers on new sentences, among the questions that these
    sentences answer.
  """
  with torch.random.fork_rng(devices=[]):
    torch.manual_seed(seeds.derive_seed(lesson.seed, 0, 'readers'))
    encoder = text.readers[0].text_encoder
    sizes = [1 + len(values) for values in questions.values()]
    readers = torch.nn.Linear(encoder.config.hidden_size, sum(sizes))
    readers.to(encoder.device)
  encoder.requires_grad_(True).train()
  weights = [*encoder.parameters(), *readers.parameters()]
  adam = torch.optim.Adam(weights, lesson.learning_rate, betas=(0.9, 0.99))

  def logits(texts: Sequence[str]) -> tuple[torch.Tensor, ...]:
    return readers(text.encode_afresh(texts).sequence.mean(1)).split(sizes, -1)

  for step in range(lesson.num_steps):
    texts, labels = _sentences(questions, draw, lesson, step)
    labels = labels.to(encoder.device)
    loss = functools.reduce(
      torch.add,
      (
        functional.cross_entropy(part, labels[:, column])
        for column, part in enumerate(logits(texts))
      ),
    )
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    fall = 0.9 * step / lesson.num_steps
    adam.param_groups[0]['lr'] = lesson.learning_rate * (1 - fall)
    adam.step()
    adam.zero_grad(set_to_none=True)
    report(step, loss.item())
  encoder.requires_grad_(False).eval()
  text.forget()
  return _accuracy(logits, questions, draw, lesson)


def _sentences(
  questions: Mapping[str, Sequence[object]],
  draw: Callable[[np.random.Generator], Sentence],
  lesson: Lesson,
  step: int,
  size: int = 0,
) -> tuple[list[str], torch.Tensor]:
  """Returns B texts of a step, and their labels [B, questions]."""
  rng = seeds.generator(lesson.seed, step, 'reading')
  drawn = [draw(rng) for _ in range(size or lesson.batch_size)]
  labels = [
    [_label(values, answers.get(name)) for name, values in questions.items()]
    for _, answers in drawn
  ]
  return [text for text, _ in drawn], torch.tensor(labels)


def _label(values: Sequence[object], answer: object) -> int:
  return 1 + list(values).index(answer) if answer in values else UNSAID


@torch.no_grad()
def _accuracy(
  logits: Callable[[Sequence[str]], tuple[torch.Tensor, ...]],
  questions: Mapping[str, Sequence[object]],
  draw: Callable[[np.random.Generator], Sentence],
  lesson: Lesson,
) -> float:
  texts, labels = _sentences(questions, draw, lesson, lesson.num_steps, 512)
  found = torch.stack([part.argmax(-1) for part in logits(texts)], -1).cpu()
  said = labels != UNSAID
  return float((found == labels)[said].float().mean())
