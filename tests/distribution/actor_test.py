"""Each call has its effect once, however often and in whatever order it comes.

Without Ray: what runs in a prior's process is an ordinary object.
"""

import dataclasses
import types

import numpy as np
import pytest

from mmdist.distribution import actor as actor_lib
from tests.distribution import fake_prior

SESSION = actor_lib.SessionId('learner', 'generic')
OTHER = actor_lib.SessionId('another', 'generic')


class Trusting(fake_prior.FakePrior):
  """A prior that does not count fits itself, so only its actor does."""

  def score(self, request):
    asked = dataclasses.replace(request, proxy_step=self._num_fits)
    return super().score(asked)


def recipe():
  return dataclasses.replace(fake_prior.recipe('generic'), build=Trusting)


@pytest.fixture
def process(monkeypatch):
  context = types.SimpleNamespace(get_node_id=lambda: 'here')
  monkeypatch.setattr(actor_lib.ray, 'get_runtime_context', lambda: context)
  process = actor_lib.PriorActor()
  assert process.build(SESSION, recipe()).node == 'here'
  return process


@pytest.fixture
def actor(process):
  return process._sessions[SESSION]


def take_step(actor, step):
  return actor.score(fake_prior.request(step)), actor.fit(step, step)


def test_a_prior_is_built_once(process, actor):
  take_step(actor, 0)
  process.build(SESSION, recipe())
  assert process._sessions[SESSION] is actor
  assert actor.save_proxy().step == 1  # Its fit is still behind it.


def test_what_was_answered_is_answered_from_memory(actor):
  reply, fit = take_step(actor, 0)
  assert actor.score(fake_prior.request(0)) is reply
  assert actor.fit(0, 0) == fit
  assert actor.save_proxy().step == 1


def test_before_it_is_built_it_has_no_proxy():
  with pytest.raises(actor_lib.OutOfStep, match='has lost its proxy'):
    actor_lib.PriorActor().score(SESSION, fake_prior.request(0))


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


def halves_of(step):
  whole = fake_prior.request(step)
  return [fake_prior.part(whole, first, 1) for first in (0, 1)]


def test_every_part_of_the_step_is_answered_from_memory(actor):
  parts = halves_of(0)
  replies = [actor.score(part) for part in parts]
  fit = actor.fit(0, 0)
  # Also after the fit, and in any order.
  for part, reply in zip(parts[::-1], replies[::-1], strict=True):
    assert actor.score(part) is reply
  assert actor.fit(0, 0) == fit
  assert actor.save_proxy().step == 1


def test_a_part_without_those_before_it_is_refused(actor):
  first, second = halves_of(0)
  with pytest.raises(
    actor_lib.OutOfStep, match='step 0 goes on at view 1, and 0 of its views'
  ):
    actor.score(second)
  actor.score(first)
  actor.score(second)
  actor.fit(0, 0)
  # What is remembered of one step does not stand for the next.
  with pytest.raises(actor_lib.OutOfStep, match='step 1 goes on at view 1'):
    actor.score(halves_of(1)[1])


def test_the_next_step_forgets_the_parts_of_the_one_before(actor):
  parts = halves_of(0)
  for part in parts:
    actor.score(part)
  actor.fit(0, 0)
  actor.score(halves_of(1)[0])
  for part in parts:
    with pytest.raises(actor_lib.OutOfStep, match='step 0 wants a proxy'):
      actor.score(part)
  with pytest.raises(actor_lib.OutOfStep, match='step 0 was not scored'):
    actor.fit(0, 0)


def test_a_fit_before_the_last_part_is_refused(actor):
  first, second = halves_of(0)
  actor.score(first)
  with pytest.raises(actor_lib.OutOfStep, match='step 0 was not scored'):
    actor.fit(0, 0)
  actor.score(second)
  actor.fit(0, 0)
  assert actor.save_proxy().step == 1


def test_a_restored_proxy_remembers_no_part(actor):
  start = actor.save_proxy()
  first, second = halves_of(0)
  reply = actor.score(first)
  actor.restore_proxy(start)
  with pytest.raises(actor_lib.OutOfStep, match='0 of its views'):
    actor.score(second)
  assert actor.score(first) is not reply


def test_learners_do_not_notice_each_other(process):
  alone = take_step(process._sessions[SESSION], 0)
  process.build(OTHER, recipe())
  for step in range(2):
    other = (
      process.score(OTHER, fake_prior.request(step)),
      process.fit(OTHER, step, step),
    )
    if step == 0:
      np.testing.assert_equal(other[0].cotangent, alone[0].cotangent)
      assert other[1] == alone[1]
  assert process.save_proxy(SESSION).step == 1
  assert process.save_proxy(OTHER).step == 2
  process.restore_proxy(OTHER, process.save_proxy(SESSION))
  assert process.save_proxy(OTHER).step == 1


def test_a_session_that_ended_is_gone_and_may_come_back(process):
  process.build(OTHER, recipe())
  for _ in range(2):
    process.end_session(OTHER)
    assert process.sessions() == [SESSION]
  process.build(OTHER, recipe())
  assert process.sessions() == [SESSION, OTHER]


def test_a_learner_that_was_given_up_takes_its_priors_with_it(process):
  normal = dataclasses.replace(OTHER, prior='normal')
  closed = []
  for session in (OTHER, normal):
    process.build(session, recipe())
    process._sessions[session]._prior.close = lambda s=session: closed.append(s)
  process.end_learner('another')
  assert process.sessions() == [SESSION] and closed == [OTHER, normal]
  # It may be alive all the same.
  with pytest.raises(actor_lib.OutOfStep, match='has lost its proxy'):
    process.score(OTHER, fake_prior.request(0))
  with pytest.raises(actor_lib.LearnerEnded, match='another was given up'):
    process.build(OTHER, recipe())
