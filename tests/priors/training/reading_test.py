"""A text encoder learns what belongs to what."""

import numpy as np
import pytest
import torch

from mmdist.priors.training import embedded
from mmdist.priors.training import reading
from tests.priors import tiny

COLORS = ('red', 'green', 'blue')
QUESTIONS = {'hat': COLORS, 'skin': COLORS}
LESSON = reading.Lesson(num_steps=250, batch_size=32, learning_rate=1e-2)


def draw(rng):
  """A bag of words cannot tell the colours apart; at times one is unsaid."""
  hat, skin = rng.choice(COLORS, 2)
  answers = {'hat': hat, 'skin': skin}
  phrases = [f'{hat} hat', f'{skin} skin']
  if rng.random() < 0.2:
    del answers['hat']
    phrases = phrases[1:]
  order = rng.permutation(len(phrases))
  return ' and '.join(phrases[i] for i in order), answers


def make_text(seed=0):
  words = (*COLORS, 'hat', 'skin', 'and')
  return embedded.make_pipeline(words, tiny.ARCHITECTURE, 'float32', seed).text


def test_colours_are_told_apart():
  untaught = reading.teach(
    make_text(), QUESTIONS, draw, reading.Lesson(num_steps=0)
  )
  assert untaught < 0.5
  losses = []
  share = reading.teach(
    make_text(), QUESTIONS, draw, LESSON, lambda step, loss: losses.append(loss)
  )
  assert share > 0.9
  assert len(losses) == LESSON.num_steps
  assert np.mean(losses[-20:]) < 0.3 * losses[0]


def test_the_same_seed_teaches_the_same_and_everything_is_frozen_after():
  lesson = reading.Lesson(num_steps=3, batch_size=4)
  texts = [make_text(), make_text()]
  for text in texts:
    before = text.encode(['red hat']).sequence
    reading.teach(text, QUESTIONS, draw, lesson)
    assert not torch.equal(text.encode(['red hat']).sequence, before)
    assert not text.modules[0].training
    assert not any(w.requires_grad for w in text.modules[0].parameters())
  assert torch.equal(*(text.encode(['green skin']).sequence for text in texts))


def test_what_has_no_such_answer_counts_as_unsaid():
  labels = reading._sentences(
    {'hat': COLORS, 'age': (1, 2)},
    lambda rng: ('red hat', {'hat': 'red', 'age': 99}),
    LESSON,
    step=0,
  )[1]
  assert labels.shape == (LESSON.batch_size, 2)
  assert labels[0].tolist() == [1, reading.UNSAID]


@pytest.mark.parametrize('answers', [{}, {'hat': 'red'}])
def test_readers_leave_the_global_random_numbers_alone(answers):
  before = torch.get_rng_state()
  lesson = reading.Lesson(num_steps=1, batch_size=2)
  reading.teach(
    make_text(), QUESTIONS, lambda rng: ('red hat', answers), lesson
  )
  assert torch.equal(torch.get_rng_state(), before)
