"""A prior that is asked in parts answers and fits as if asked at once."""

import dataclasses

import numpy as np
import pytest
import torch

from mmdist.core import messages
from mmdist.priors import prior as priors
from tests.distribution import fake_prior
from tests.priors import tiny

TEXTS = ('a portrait of a happy man', 'a portrait of a sad woman')
VIEWS = 5


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  return tiny.write_pipeline(tmp_path_factory.mktemp('prior'))


def request(step=0, **changes):
  rng = np.random.default_rng(step)
  whole = messages.ScoreRequest(
    step=step,
    images=rng.random((VIEWS, 16, 16, 3), dtype=np.float32),
    terms=tuple(
      messages.Term(
        tuple(
          f'{text} , {("front", "back")[i % 2]} view' for i in range(VIEWS)
        ),
        text,
        weight,
        4.0,
      )
      for text, weight in zip(TEXTS, (1.0, -0.5), strict=True)
    ),
    noise_levels=rng.uniform(0.02, 0.8, VIEWS).astype(np.float32),
    seed=step + 5,
    proxy_step=step,
    proxy_learning_rate=5e-3,
  )
  return dataclasses.replace(whole, **changes)


def parts_of(whole, num_parts):
  return [
    fake_prior.part(whole, int(rows[0]), len(rows))
    for rows in np.array_split(np.arange(VIEWS), num_parts)
  ]


def step_in_parts(prior, whole, num_parts):
  """Returns the step's cotangent, the last answer and what the fit reports."""
  parts = parts_of(whole, num_parts)
  answers = [prior.score(part) for part in parts]
  cotangents = [
    answer.cotangent * (len(part.images) / VIEWS)
    for answer, part in zip(answers, parts, strict=True)
  ]
  return np.concatenate(cotangents), answers, prior.fit()


def assert_near(one, other):
  """Batches of another size round otherwise: 1e-5 of the whole array."""
  assert np.linalg.norm(one - other) <= 1e-5 * np.linalg.norm(other)


@pytest.mark.parametrize('mode', ['sum', 'perp', 'renorm'])
@pytest.mark.parametrize('num_parts', [2, 3])
def test_parts_make_up_the_whole(directory, num_parts, mode):
  one, other = (priors.build(tiny.spec(directory)) for _ in range(2))
  for step in range(2):
    whole = request(step, mode=mode)
    cotangent, answers, fit = step_in_parts(one, whole, num_parts)
    expected, expected_fit = other.score(whole), other.fit()
    assert_near(cotangent, expected.cotangent)
    found, metrics = dict(answers[-1].metrics), dict(expected.metrics)
    assert found.pop('seconds') > 0 and metrics.pop('seconds') > 0
    assert found == pytest.approx(metrics, rel=1e-4, abs=1e-6)
    assert fit['proxy_loss'] == pytest.approx(
      expected_fit['proxy_loss'], rel=1e-5
    )
    seconds = [answer.metrics['seconds'] for answer in answers]
    assert seconds == sorted(seconds)  # They add up.
    # The others are of the parts so far.
    assert answers[0].metrics['norm_0'] != found['norm_0']
  state, expected_state = one.save_proxy(), other.save_proxy()
  assert state.step == expected_state.step == 2  # One fit a step.
  for name, array in expected_state.arrays.items():
    assert_near(state.arrays[name], array)


@pytest.mark.parametrize('proxy_noise', ['own', 'shared'])
def test_the_networks_see_the_noise_of_the_whole(directory, proxy_noise):
  seen = {}
  for num_parts in (1, 3):
    prior = priors.build(
      tiny.spec(directory, proxy_noise=proxy_noise, objective='vsd')
    )
    noisy = seen[num_parts] = {'base': [], 'fit': []}
    kinds = iter(['base', 'proxy'] * num_parts + ['fit'])
    prior.pipeline.denoiser.register_forward_pre_hook(
      lambda module, args, noisy=noisy, kinds=kinds: noisy.setdefault(
        next(kinds), []
      ).append(args[0])
    )
    whole = request(terms=request().terms[:1])
    terms = (dataclasses.replace(whole.terms[0], guidance_scale=1.0),)
    step_in_parts(prior, dataclasses.replace(whole, terms=terms), num_parts)
  for kind, (once,) in seen[1].items():
    parts = seen[3][kind]
    assert len(parts) == (1 if kind == 'fit' else 3)
    assert torch.equal(torch.cat(parts), once)


def test_concepts_with_proxies_of_their_own_are_each_fitted_once(directory):
  spec = tiny.spec(directory, proxy_per='concept')
  one, other = priors.build(spec), priors.build(spec)
  whole = request()
  _, _, fit = step_in_parts(one, whole, 2)
  other.score(whole)
  assert other.fit().keys() == fit.keys()
  state, expected = one.save_proxy(), other.save_proxy()
  for name, array in expected.arrays.items():
    assert_near(state.arrays[name], array)


def test_a_part_asked_again_has_the_same_answer_and_counts_once(directory):
  one, other = (priors.build(tiny.spec(directory)) for _ in range(2))
  first, second = parts_of(request(), 2)
  answers = [one.score(part) for part in (first, second, second)]
  np.testing.assert_array_equal(answers[1].cotangent, answers[2].cotangent)
  step_in_parts(other, request(), 2)
  one.fit()
  for name, array in other.save_proxy().arrays.items():
    np.testing.assert_array_equal(one.save_proxy().arrays[name], array)


def test_a_step_that_was_given_up_is_not_fitted(directory):
  one, other = (priors.build(tiny.spec(directory)) for _ in range(2))
  first, _ = parts_of(request(), 2)
  one.score(first)
  # Its other part never comes; what comes is another step.
  again = request(seed=77)
  one.score(again)
  other.score(again)
  one.fit(), other.fit()
  for name, array in other.save_proxy().arrays.items():
    np.testing.assert_array_equal(one.save_proxy().arrays[name], array)


def test_parts_out_of_their_order_are_refused(directory):
  prior = priors.build(tiny.spec(directory, name='generic'))
  first, second, third = parts_of(request(), 3)
  with pytest.raises(ValueError) as caught:
    prior.score(second)
  assert str(caught.value) == (
    "step 0 asks prior 'generic' about its views from 2 on, after 0 of them; "
    'expected the parts of a step in their order.'
  )
  prior.score(first)
  with pytest.raises(ValueError, match='from 4 on, after 2 of them'):
    prior.score(third)
  with pytest.raises(RuntimeError, match='needs all renders of one step'):
    prior.fit()
  other = dataclasses.replace(second, step=1)
  with pytest.raises(ValueError, match='step 1 asks .* after 0 of them'):
    prior.score(other)
  prior.score(second)
  prior.score(third)
  prior.fit()
