"""Each call has its effect once, however often and in whatever order it comes.

Without Ray: what runs in a prior's process is an ordinary object.
"""

import dataclasses
import types

import pytest

from mmdist.distribution import actor as actor_lib
from tests.distribution import fake_prior


class Trusting(fake_prior.FakePrior):
  """A prior that does not count fits itself, so only its actor does."""

  def score(self, request):
    asked = dataclasses.replace(request, proxy_step=self._num_fits)
    return super().score(asked)


def recipe():
  return dataclasses.replace(fake_prior.recipe('generic'), build=Trusting)


@pytest.fixture
def actor(monkeypatch):
  context = types.SimpleNamespace(get_node_id=lambda: 'here')
  monkeypatch.setattr(actor_lib.ray, 'get_runtime_context', lambda: context)
  actor = actor_lib.PriorActor()
  assert actor.build(recipe()).node == 'here'
  return actor


def take_step(actor, step):
  return actor.score(fake_prior.request(step)), actor.fit(step, step)


def test_a_prior_is_built_once(actor):
  take_step(actor, 0)
  actor.build(recipe())
  assert actor.save_proxy().step == 1  # Its fit is still behind it.


def test_what_was_answered_is_answered_from_memory(actor):
  reply, fit = take_step(actor, 0)
  assert actor.score(fake_prior.request(0)) is reply
  assert actor.fit(0, 0) == fit
  assert actor.save_proxy().step == 1


def test_before_it_is_built_it_has_no_proxy():
  with pytest.raises(actor_lib.OutOfStep, match='has lost its proxy'):
    actor_lib.PriorActor().score(fake_prior.request(0))


@pytest.mark.parametrize('step', [0, 3])
def test_a_question_about_another_proxy_is_refused(step, actor):
  take_step(actor, 0)
  take_step(actor, 1)
  with pytest.raises(
    actor_lib.OutOfStep, match=f'step {step} wants a proxy with {step} fits'
  ):
    actor.score(fake_prior.request(step))
  assert actor.save_proxy().step == 2


def test_a_fit_of_what_was_not_scored_is_refused(actor):
  take_step(actor, 0)
  with pytest.raises(actor_lib.OutOfStep, match='step 1 was not scored'):
    actor.fit(1, 1)
  assert actor.save_proxy().step == 1


def test_a_fit_of_another_proxy_is_refused(actor):
  # As when the process is another one than that which was asked.
  actor._reply, _ = take_step(actor, 0)
  actor._proxy_step = 2
  with pytest.raises(actor_lib.OutOfStep, match='the fit of step 0 wants'):
    actor.fit(0, 0)


def test_a_restored_proxy_remembers_no_answer_of_the_one_before(actor):
  start = actor.save_proxy()
  first, _ = take_step(actor, 0)
  actor.restore_proxy(start)
  with pytest.raises(actor_lib.OutOfStep, match='was not scored'):
    actor.fit(0, 0)
  again, _ = take_step(actor, 0)
  assert again is not first
  assert actor.save_proxy().step == 1
