"""Requests and answers of a step in parts make up those of the whole."""

import numpy as np
import pytest

from mmdist.config import schema
from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import concept as concept_lib
from mmdist.objectives import ledger
from mmdist.objectives import partial_answers
from mmdist.objectives import score_requests

PRIORS = {
  name: schema.PriorConfig(channel=channel)
  for name, channel in (('a', 'rgb'), ('b', 'rgb'), ('c', 'normal'))
}
OBJECTIVE = binding.bind(concept_lib.avatar('a man'), PRIORS)
NUM_VIEWS = 5
IMAGES = {
  name: np.random.default_rng(seed).random((5, 2, 2, 3), dtype=np.float32)
  for seed, name in enumerate(('rgb', 'normal'))
}
WORDS = tuple(f'word {number}' for number in range(NUM_VIEWS))


def ask(views, numbers):
  """Returns the requests about some views of the step."""
  return score_requests.requests_for(
    OBJECTIVE,
    {name: images[numbers] for name, images in IMAGES.items()},
    [WORDS[number] for number in numbers],
    step=3,
    seed=0,
    num_steps=10,
    proxy_step=3,
    proxy_learning_rate=2e-3,
    noise=schema.NoiseConfig(),
    views=views,
    first_view=int(numbers[0]),
    num_views=NUM_VIEWS,
  )


def cut(num_parts):
  return np.array_split(np.arange(NUM_VIEWS), num_parts)


def deal(is_dealt, step=0):
  if not is_dealt:
    return None
  return score_requests.deal_views(OBJECTIVE, NUM_VIEWS, step)


@pytest.mark.parametrize('is_dealt', [False, True])
@pytest.mark.parametrize('num_parts', [2, 3, 5])
def test_the_parts_ask_what_the_whole_asks(num_parts, is_dealt):
  views = deal(is_dealt)
  whole = ask(views, np.arange(NUM_VIEWS))
  parts = [ask(views, numbers) for numbers in cut(num_parts)]
  for name, request in whole.items():
    own = [asked[name] for asked in parts if name in asked]
    for field in ('images', 'noise_levels'):
      np.testing.assert_array_equal(
        np.concatenate([getattr(one, field) for one in own]),
        getattr(request, field),
      )
    prompts = sum((one.terms[0].prompts for one in own), ())
    assert prompts == request.terms[0].prompts
    assert {one.seed for one in own} == {request.seed}
    # Where they are among the prior's own views, not among those of the step.
    ends = np.cumsum([len(one.images) for one in own])
    assert [one.first_view for one in own] == [0, *ends[:-1]]
    assert {one.num_views_of_step for one in own} == {len(request.images)}
    assert [one.is_first for one in own].index(True) == 0
    assert [one.is_last for one in own].index(True) == len(own) - 1


def test_a_prior_that_is_dealt_no_view_of_a_part_is_not_asked():
  parts = [ask(deal(True), numbers) for numbers in cut(5)]
  assert [sorted(asked) for asked in parts] == [
    ['a', 'c'],
    ['b', 'c'],
    ['a', 'c'],
    ['b', 'c'],
    ['a', 'c'],
  ]
  # Its first part is not the step's, and its last one comes before the end.
  (first, second) = [asked['b'] for asked in parts if 'b' in asked]
  assert (first.is_first, first.is_last) == (True, False)
  assert (second.is_first, second.is_last) == (False, True)


def answer(name, request):
  """Returns a mean over the views of the request, as a prior gives it."""
  return messages.ScoreGradient(
    request.step,
    name,
    PRIORS[name].channel,
    (request.images - 0.1 * ord(name)) / np.float32(request.images.size),
    request.proxy_step,
    {'norm_0': float(request.rows.stop)},
  )


@pytest.mark.parametrize('is_dealt', [False, True])
@pytest.mark.parametrize('num_parts', [1, 2, 3, 5])
def test_weighed_answers_add_up_to_those_of_the_whole(num_parts, is_dealt):
  views = deal(is_dealt, step=1)
  asked = ask(views, np.arange(NUM_VIEWS))
  whole = {name: answer(name, one) for name, one in asked.items()}
  expected = score_requests.sum_cotangents(whole, views)
  sums, parts = [], []
  for numbers in cut(num_parts):
    asked = ask(views, numbers)
    answers = {name: answer(name, one) for name, one in asked.items()}
    parts.append(partial_answers.weigh(answers, asked))
    shown = partial_answers.views_of_part(views, numbers[0], len(numbers))
    sums.append(score_requests.sum_cotangents(parts[-1], shown))
  for channel, total in expected.items():
    found = np.concatenate([one[channel] for one in sums])
    np.testing.assert_allclose(found, total, rtol=1e-5)  # Rounded weights.
  joined = partial_answers.join(parts)
  assert list(joined) == list(whole)
  found = ledger.step_metrics(joined, views=views)
  assert found == pytest.approx(
    ledger.step_metrics(whole, views=views), rel=1e-5
  )


def test_a_whole_answer_keeps_its_bits():
  asked = ask(None, np.arange(NUM_VIEWS))
  answers = {name: answer(name, one) for name, one in asked.items()}
  weighed = partial_answers.weigh(answers, asked)
  joined = partial_answers.join([weighed])
  for name, one in answers.items():
    assert joined[name] is one
