"""A learner that compiles in a thread of its own."""

import dataclasses
import threading

import pytest

from mmdist.learner import distill
from mmdist.learner import warming


@pytest.fixture
def learner():
  functions = dataclasses.fields(distill.Learner)
  return distill.Learner(*[lambda *_: None for _ in functions])


def test_the_caller_goes_on_until_it_waits(learner):
  may_end, given = threading.Event(), []

  def warm_up(params):
    may_end.wait(60)
    given.append(params)

  begun = warming.begin(dataclasses.replace(learner, warm_up=warm_up), 'params')
  assert not given
  may_end.set()
  begun.warm_up('params')
  assert given == ['params']  # Once.
  assert begun.render_views is learner.render_views


def test_an_error_is_raised_where_it_is_waited_for(learner):
  def warm_up(params):
    raise ValueError('not finite')

  begun = warming.begin(dataclasses.replace(learner, warm_up=warm_up), None)
  with pytest.raises(ValueError, match='not finite'):
    begun.warm_up(None)


def test_processes_that_compute_together_keep_their_order(learner, monkeypatch):
  monkeypatch.setattr(warming.jax, 'process_count', lambda: 2)
  assert warming.begin(learner, None) is learner
