"""One local Ray for the whole module: starting it takes seconds."""

import dataclasses
import functools
import os
import signal
import socket
import sys
import time
import types

import numpy as np
import pytest
import ray

from mmdist.core import errors
from mmdist.distribution import actor as actor_lib
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor
from mmdist.distribution import faults
from mmdist.distribution import hosting
from mmdist.distribution import memory_shares
from mmdist.distribution import placement
from mmdist.distribution import ray_executor
from tests.distribution import fake_prior
from tests.distribution import rooms


@pytest.fixture(scope='module')
def cluster():
  """A Ray with room for every test's actors, also those not yet gone."""
  started = cluster_lib.Cluster(None, rooms.many())
  yield started
  started.close()


def on_ray(*recipes, **settings) -> ray_executor.RayExecutor:
  return ray_executor.RayExecutor(recipes, **settings)


def test_inline_and_ray_agree_bit_for_bit(cluster):
  names = ('normal', 'generic')
  recipes = [fake_prior.recipe(name) for name in names]
  with executor.InlineExecutor(recipes) as inline, on_ray(*recipes) as remote:
    for step in range(4):
      requests = fake_prior.requests(step, *names)
      expected = inline.submit(requests).result()
      answers = remote.submit(requests).result()
      assert list(answers) == list(expected) == sorted(names)
      for name in names:
        np.testing.assert_array_equal(
          answers[name].cotangent, expected[name].cotangent
        )
      assert remote.fit_metrics() == inline.fit_metrics()
    states = [running.save_proxies() for running in (inline, remote)]
    for name in names:
      np.testing.assert_array_equal(
        states[0][name].arrays['lora/target'],
        states[1][name].arrays['lora/target'],
      )
    # Restored proxies go on as the saved ones would have.
    remote.restore_proxies(states[0])
    inline.restore_proxies(states[1])
    requests = fake_prior.requests(4, *names)
    first, second = (r.submit(requests).result() for r in (inline, remote))
    for name in names:
      np.testing.assert_array_equal(
        first[name].cotangent, second[name].cotangent
      )
    processes = {a.metrics['process'] for a in second.values()}
    assert len(processes) == 2 and os.getpid() not in processes
    assert {a.metrics['threads'] for a in second.values()} == {1.0}


def test_the_answer_comes_before_the_fit(cluster, tmp_path):
  mark = tmp_path / 'fitted'
  with on_ray(fake_prior.recipe('generic', f'slow_fit:{mark}')) as running:
    running.submit(fake_prior.requests(0, 'generic')).result()
    assert not mark.exists()
    assert running.save_proxies()['generic'].step == 1
    assert mark.exists()


def test_requests_may_overlap(cluster):
  recipe = fake_prior.recipe('generic')
  with executor.InlineExecutor([recipe]) as inline, on_ray(recipe) as remote:
    pending = [
      [running.submit(fake_prior.requests(step, 'generic')) for step in (0, 1)]
      for running in (inline, remote)
    ]
    # The later one may even be asked for first.
    answers = [[p.result()['generic'] for p in pair[::-1]] for pair in pending]
  for ours, theirs in zip(*answers, strict=True):
    np.testing.assert_array_equal(ours.cotangent, theirs.cotangent)


def test_a_prior_that_raises_is_named_with_its_step(cluster):
  with on_ray(fake_prior.recipe('normal', 'raise_score')) as running:
    with pytest.raises(faults.PriorFailed) as error:
      running.submit(fake_prior.requests(0, 'normal')).result()
  assert str(error.value) == (
    "prior 'normal' failed at step 0: FloatingPointError: the score exploded"
  )


def test_a_fit_that_raises_surfaces_at_the_next_call(cluster):
  with on_ray(fake_prior.recipe('generic', 'raise_fit')) as running:
    running.submit(fake_prior.requests(0, 'generic')).result()
    with pytest.raises(faults.PriorFailed, match='at step 0: .*the fit expl'):
      running.submit(fake_prior.requests(1, 'generic')).result()


def test_a_prior_that_cannot_be_built_is_named(cluster):
  with on_ray(fake_prior.recipe('generic', 'raise_build')) as running:
    with pytest.raises(
      faults.PriorFailed,
      match="'generic' failed: .*FileNotFoundError: no unet/",
    ):
      running.wait_until_ready()


def test_an_unknown_prior_is_one_line(cluster):
  with on_ray(fake_prior.recipe('generic')) as running:
    with pytest.raises(ValueError, match="'generc'; did you mean 'generic'?"):
      running.submit(fake_prior.requests(0, 'generc'))


def test_a_reservation_without_room_does_not_wait_for_ever(cluster):
  with pytest.raises(
    faults.ClusterUnavailable, match='the run reserves 99 GPU and Ray has'
  ):
    on_ray(
      fake_prior.recipe('generic'),
      reservations={'generic': placement.Reservation(num_gpus=99)},
    )
  assert ray.is_initialized()  # It was not that executor's to stop.


def test_closing_twice_is_harmless_and_leaves_others_running(cluster):
  running = on_ray(fake_prior.recipe('generic'))
  running.close()
  running.close()
  assert ray.is_initialized()


@pytest.mark.parametrize('asked', [False, True])
def test_a_dashboard_is_off_unless_asked(asked, monkeypatch):
  settings = {'dashboard': True} if asked else {}
  wanted = []

  def start(address, options, dashboard, ship_code, gpus):
    del address, options, ship_code, gpus
    wanted.append(dashboard)
    raise faults.ClusterUnavailable('no Ray in this test')

  monkeypatch.setattr(ray_executor.cluster_lib, 'Cluster', start)
  with pytest.raises(faults.ClusterUnavailable):
    on_ray(fake_prior.recipe('generic'), **settings)
  assert wanted == [asked]


def test_options_set_threads_before_the_libraries_load():
  spec = fake_prior.recipe('generic').spec
  half = placement.Reservation(num_gpus=0.5)
  options = ray_executor.actor_options(spec, half)
  assert options['runtime_env']['env_vars']['OMP_NUM_THREADS'] == '1'
  assert options['num_gpus'] == 0.5
  # A replayed call would meet a fresh proxy: silent loss of state.
  assert options['max_task_retries'] == 0


def test_a_start_that_is_broken_off_gives_its_room_back(monkeypatch):
  closed = []

  class Cluster:
    def __init__(self, *_):
      pass

    def check_alive(self):
      pass

    def is_lost(self):
      return False

    def close(self):
      closed.append('cluster')

  class Room(Cluster):
    def wait(self, check_stop, tell):
      check_stop()

    def close(self):
      closed.append('room')

  def interrupted():
    raise KeyboardInterrupt

  monkeypatch.setattr(ray_executor.cluster_lib, 'Cluster', Cluster)
  monkeypatch.setattr(ray_executor.placement, 'Room', Room)
  with pytest.raises(KeyboardInterrupt):
    on_ray(
      fake_prior.recipe('generic'),
      address='head:6379',
      check_stop=interrupted,
    )
  assert closed == ['room', 'cluster']


def test_a_shared_actor_reserves_what_each_of_its_priors_needs():
  wants = [
    placement.Reservation(num_cpus=2, resources={'large': 1.0}),
    placement.Reservation(num_gpus=1, node_labels={'zone': 'a'}),
    placement.Reservation(resources={'large': 2.0, 'fast': 1.0}),
  ]
  options = [one.options(1) for one in wants]
  most = ray_executor.most_of(options)
  assert most == {
    'num_cpus': 2,
    'num_gpus': 1,
    'resources': {'large': 2.0, 'fast': 1.0},
    'label_selector': {'zone': 'a'},
  }
  other = placement.Reservation(node_labels={'zone': 'b'}).options(1)
  with pytest.raises(errors.UserError, match="zone 'a' and 'b' for priors"):
    ray_executor.most_of([*options, other])


def shareable(name, files='same'):
  recipe = fake_prior.recipe(name)
  return dataclasses.replace(
    recipe, spec=dataclasses.replace(recipe.spec, files=files)
  )


def test_priors_of_the_same_files_share_a_process(cluster):
  names = ('generic', 'negative', 'normal')
  alone = [fake_prior.recipe(name) for name in names]
  recipes = [
    shareable('generic'),
    shareable('negative'),
    shareable('normal', 'others'),
  ]
  with executor.InlineExecutor(alone) as inline, on_ray(*recipes) as remote:
    for step in range(3):
      requests = fake_prior.requests(step, *names)
      expected = inline.submit(requests).result()
      answers = remote.submit(requests).result()
      for name in names:
        np.testing.assert_array_equal(
          answers[name].cotangent, expected[name].cotangent
        )
    process = {name: answers[name].metrics['process'] for name in names}
    assert process['generic'] == process['negative'] != process['normal']
    # Their process dies, and all of its priors come back as they were.
    os.kill(int(process['generic']), signal.SIGKILL)
    requests = fake_prior.requests(3, *names)
    expected = inline.submit(requests).result()
    answers = remote.submit(requests).result()
    for name in names:
      np.testing.assert_array_equal(
        answers[name].cotangent, expected[name].cotangent
      )
    again = {name: answers[name].metrics['process'] for name in names}
    assert again['generic'] == again['negative'] != process['generic']
    assert again['normal'] == process['normal']


def test_learners_share_an_actor_and_leave_it_to_each_other(cluster):
  recipe = shareable('generic')
  options = ray_executor.actor_options(recipe.spec)
  actor = hosting.Owned(options)
  shared = {recipe.spec.sharing_key: actor.actor}
  with executor.InlineExecutor([recipe]) as inline:
    expected = [
      inline.submit(fake_prior.requests(step, 'generic')).result()['generic']
      for step in range(2)
    ]
  learners = [
    on_ray(recipe, shared=shared, learner=name) for name in ('one', 'two')
  ]
  for step in range(2):
    requests = fake_prior.requests(step, 'generic')
    pending = [learner.submit(requests) for learner in learners]
    for answer in pending:
      np.testing.assert_array_equal(
        answer.result()['generic'].cotangent, expected[step].cotangent
      )
  learners[0].close()
  sessions = ray.get(actor.actor.sessions.remote())
  assert [session.learner for session in sessions] == ['two']
  assert learners[1].save_proxies()['generic'].step == 2
  # The other one is taken for dead, and is not.
  ray.get(actor.actor.end_learner.remote('two'))
  with pytest.raises(faults.PriorFailed, match='two was given up'):
    learners[1].submit(fake_prior.requests(2, 'generic')).result()
  learners[1].close()
  actor.leave(actor_lib.SessionId('two', 'generic'), None)


def test_a_machine_that_cannot_import_is_an_error_at_once(cluster, monkeypatch):
  here = types.ModuleType('only_here')
  actor = type(
    'PriorActor', (actor_lib.PriorActor,), {'__module__': 'only_here'}
  )
  here.PriorActor = actor
  monkeypatch.setitem(sys.modules, 'only_here', here)
  monkeypatch.setattr(hosting.actor_lib, 'PriorActor', actor)
  with on_ray(fake_prior.recipe('generic')) as running:
    with pytest.raises(
      faults.PriorFailed, match="cannot start: .*No module named 'only_here'"
    ):
      running.wait_until_ready()


def test_a_file_that_only_the_learner_has_names_the_machine(cluster):
  with on_ray(fake_prior.recipe('generic', 'raise_build')) as running:
    with pytest.raises(
      faults.PriorFailed, match=f'on machine {socket.gethostname()}: File'
    ):
      running.wait_until_ready()


def test_a_prior_that_listens_is_not_killed_at_the_end(cluster, monkeypatch):
  # Ray prints a long warning of a process that ends before Ray has ended it.
  running = on_ray(fake_prior.recipe('generic'))
  running.wait_until_ready()
  pid = running.supervisors['generic']._process.pid
  killed = []
  monkeypatch.setattr(
    hosting.processes.os, 'kill', lambda *words: killed.append(words)
  )
  running.close()
  assert not killed
  monkeypatch.undo()
  until = time.monotonic() + 10  # Its parent may still have to notice.
  with pytest.raises(ProcessLookupError):
    while time.monotonic() < until:
      os.kill(pid, 0)


def look(priors, needed):
  return [memory_shares.Share('here', 'GPU 0', priors, needed, 2**30)]


def test_on_a_cluster_no_prior_loads_where_there_is_no_memory(cluster):
  recipes = [fake_prior.recipe(name) for name in ('generic', 'normal')]
  address = ray.get_runtime_context().gcs_address

  def asks(needed):
    return lambda some: functools.partial(
      look, [one.spec.name for one in some], needed
    )

  with on_ray(*recipes, address=address, look=asks(2**29)) as running:
    running.wait_until_ready()
  with pytest.raises(errors.UserError, match='the priors generic, normal need'):
    on_ray(*recipes, address=address, look=asks(2**29 + 1))


def test_an_actor_that_cannot_look_is_left_to_its_build(cluster):
  recipes = [fake_prior.recipe('generic')]
  address = ray.get_runtime_context().gcs_address

  def fail():
    raise RuntimeError('no driver here')

  with on_ray(*recipes, address=address, look=lambda _: fail) as running:
    running.wait_until_ready()


def test_all_priors_are_let_go_also_where_one_of_them_fails(cluster):
  recipes = [fake_prior.recipe(name) for name in ('generic', 'normal')]
  running = ray_executor.RayExecutor(recipes)
  running.wait_until_ready()
  pids = [one._process.pid for one in running.supervisors.values()]

  def fail():
    raise RuntimeError('cannot be closed')

  running.supervisors['normal'].close = fail
  with pytest.raises(RuntimeError, match='cannot be closed'):
    running.close()
  until = time.monotonic() + 10
  with pytest.raises(ProcessLookupError):
    while time.monotonic() < until:
      os.kill(pids[0], 0)
      time.sleep(0.05)
  os.kill(pids[1], signal.SIGKILL)
  running.close()  # A second time does nothing.
