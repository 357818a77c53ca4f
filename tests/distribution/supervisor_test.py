"""What a supervisor does about losses, on an actor in this process.

With real processes of Ray: `recovery_test.py`.
"""

import dataclasses
import types

import numpy as np
import pytest
import ray

from mmdist.distribution import actor as actor_lib
from mmdist.distribution import faults
from mmdist.distribution import hosting
from mmdist.distribution import limits as limits_lib
from mmdist.distribution import processes
from mmdist.distribution import supervisor
from tests.distribution import fake_prior

HERE = processes.ProcessId(1, 'here')


class Method:
  """A method of an actor: its result, or what it raised, is the reference."""

  def __init__(self, function):
    self._function = function

  def remote(self, *arguments):
    try:
      return self._function(*arguments), None
    except (actor_lib.OutOfStep, faults.PriorLost) as error:
      return None, error


class Handle:
  """Looks like Ray's handle of an actor; calls are carried out at once."""

  def __init__(self, actor):
    self._actor = actor

  def __getattr__(self, name):
    return Method(getattr(self._actor, name))


class Supervisor(supervisor.PriorSupervisor):
  """Receives what a `Method` gave."""

  def receive(self, step, reference, deadline_s=0.0):
    reply, error = reference
    if isinstance(error, faults.PriorFault):
      raise error
    if error is not None:
      raise faults.PriorLost(self.name, step, str(error)) from error
    return reply

  def _last_known(self):
    return self._where[0] or self._process


class Gone:
  """An actor whose process is gone; counts what it is asked."""

  def __init__(self, error):
    self.num_builds = 0
    self._error = error

  def build(self, *arguments):
    self.num_builds += 1
    return self._lose()

  def where(self):
    return HERE

  def end_session(self, session):
    del session

  def save_proxy(self, session):
    del session
    return self._lose()

  def _lose(self):
    fault = faults.PriorLost('generic', None, 'its process died')
    fault.__cause__ = self._error
    raise fault


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch):
  context = types.SimpleNamespace(get_node_id=lambda: HERE.node)
  monkeypatch.setattr(ray, 'get_runtime_context', lambda: context)
  monkeypatch.setattr(processes, 'end_process', lambda process: None)


def supervise(handle, **limits) -> Supervisor:
  recipe = fake_prior.recipe('generic')
  return Supervisor(
    recipe, hosting.Shared(handle), 'learner', limits_lib.Limits(**limits)
  )


def test_a_prior_is_replayed_from_the_start_where_nothing_was_saved():
  one = supervise(Handle(actor_lib.PriorActor()), max_losses=2)
  one.wait_until_ready()
  requests = [fake_prior.request(step) for step in range(3)]
  asked = [one.ask_fit(one.ask(request)) for request in requests[:2]]
  # The first answer is lost on its way, and the actor remembers the second
  # alone. Its process is well, and its proxy has two fits behind it.
  lost = faults.ReplyLost('generic', 0, 'on its way')
  asked[0] = dataclasses.replace(asked[0], score=(None, lost))
  found = [one.answer(each) for each in asked]
  found.append(one.answer(one.ask_fit(one.ask(requests[2]))))
  prior = fake_prior.FakePrior(fake_prior.recipe('generic').spec)
  for request, answer in zip(requests, found, strict=True):
    np.testing.assert_array_equal(
      answer.cotangent, prior.score(request).cotangent
    )
    prior.fit()
  assert one.save().step == 3


def test_the_time_that_a_prior_has_follows_its_process():
  one = supervise(Handle(actor_lib.PriorActor()), max_losses=2)
  seconds = []

  def look():
    seconds.append(one._deadline.seconds(one.limits))

  look()  # It still loads.
  one.wait_until_ready()
  look()
  asked = one.ask_fit(one.ask(fake_prior.request(0)))
  lost = faults.PriorLost('generic', 0, 'no answer')
  one.answer(dataclasses.replace(asked, score=(None, lost)))
  look()  # Lost and brought back; the replay's answer is not of this call.
  one.answer(one.ask_fit(one.ask(fake_prior.request(1))))
  look()
  assert seconds == [1800, 600, 1200, 600]


def test_a_prior_that_never_comes_back_ends_the_run():
  one = supervise(
    Handle(Gone(ray.exceptions.ActorUnavailableError('away', None))),
    max_losses=2,
    window_s=-1.0,  # Each loss is older than the window when the next comes.
    build_deadline_s=0.0,
  )
  one._process = HERE
  with pytest.raises(faults.PriorLost) as error:
    one.save()
  assert str(error.value).endswith('that is loss number 3, and 2 are allowed')


def test_an_actor_that_nobody_replaces_is_not_waited_for():
  gone = Gone(ray.exceptions.ActorDiedError())
  one = supervise(Handle(gone), max_losses=2, build_deadline_s=600.0)
  one._process = HERE
  with pytest.raises(faults.PriorLost, match='its process died'):
    one.save()
  assert gone.num_builds == 1 + 2  # As it is made, and after each loss.
