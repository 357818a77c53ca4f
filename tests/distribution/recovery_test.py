"""A lost prior comes back as it was, to the last bit, or the run ends."""

import os
import signal
import threading
import time
from unittest import mock

import numpy as np
import pytest
import ray

from mmdist.core import messages
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor
from mmdist.distribution import faults
from mmdist.distribution import limits as limits_lib
from mmdist.distribution import processes
from mmdist.distribution import ray_executor
from mmdist.distribution import supervisor
from mmdist.run import stopping
from tests.chaos import injection
from tests.chaos import network
from tests.distribution import fake_prior
from tests.distribution import rooms

NAMES = ('generic', 'normal')
ALONE = ('normal',)  # Where a second prior would only take time.
NUM_STEPS = 5


@pytest.fixture(scope='module')
def cluster():
  started = cluster_lib.Cluster(None, rooms.many())
  yield started
  started.close()


@pytest.fixture(scope='module')
def expected():
  """Answers, fits and proxies of a run in which nothing goes wrong."""
  with executor.InlineExecutor(list(map(fake_prior.recipe, NAMES))) as running:
    return run_steps(running)


def run_steps(running, names=NAMES):
  answers = []
  for step in range(NUM_STEPS):
    replies = running.submit(fake_prior.requests(step, *names)).result()
    answers.append({n: np.array(r.cotangent) for n, r in replies.items()})
    answers[-1]['fits'] = running.fit_metrics()
    if step == 1:
      running.save_proxies()
  return answers, running.save_proxies()


def assert_same(found, expected):
  (answers, proxies), (other_answers, others) = found, expected
  assert tuple(sorted(proxies)) in (NAMES, ALONE)
  for answer, other in zip(answers, other_answers, strict=True):
    for name in proxies:
      assert answer['fits'].get(name) == other['fits'].get(name)
      np.testing.assert_array_equal(answer[name], other[name])
  for name in proxies:
    assert proxies[name].step == others[name].step == NUM_STEPS
    np.testing.assert_array_equal(
      proxies[name].arrays['lora/target'], others[name].arrays['lora/target']
    )


def faulty(
  plan, folder, check_stop=None, names=NAMES, **limits
) -> ray_executor.RayExecutor:
  recipes = [
    injection.with_faults(fake_prior.recipe(name), plan, folder)
    for name in names
  ]
  options = {'check_stop': check_stop} if check_stop else {}
  return ray_executor.RayExecutor(
    recipes, limits=limits_lib.Limits(**limits), **options
  )


PLANS = {
  'before its first score': [('normal', 0, 'score:before')],
  'after a score, not sent': [('normal', 2, 'score:after')],
  'before a fit': [('normal', 3, 'fit:before')],
  'after a fit, not told': [('normal', 2, 'fit:after')],
  'in the last step': [('normal', NUM_STEPS - 1, 'score:after')],
  'in the last fit': [('normal', NUM_STEPS - 1, 'fit:after')],
  'while its proxy is saved': [('normal', 1, 'save:before')],
  'two at once': [('normal', 2, 'score:before'), ('generic', 2, 'score:after')],
  'and again as it comes back': [
    ('normal', 3, 'score:before'),
    ('normal', -1, 'restore:after'),
  ],
}


QUICK = ('after a fit, not told', 'two at once')


@pytest.mark.parametrize(
  'name',
  [
    p if p in QUICK else pytest.param(p, marks=pytest.mark.chaos) for p in PLANS
  ],
)
def test_a_prior_that_dies_comes_back_as_it_was(
  name, cluster, expected, tmp_path
):
  plan = [injection.Fault(*fault) for fault in PLANS[name]]
  with faulty(plan, tmp_path) as running:
    assert_same(run_steps(running), expected)
  injection.assert_fired(plan, tmp_path)


def test_a_prior_that_dies_between_two_calls_comes_back(
  cluster, expected, tmp_path
):
  with faulty([], tmp_path, names=ALONE) as running:
    running.wait_until_ready()
    one = running.supervisors['normal']
    os.kill(one._process.pid, signal.SIGKILL)
    wait_until_restarted(one._actor, one._session)
    # Ray's new process answers, but has no prior yet.
    assert_same(run_steps(running, ALONE), expected)


def test_an_actor_that_ray_has_given_up_is_started_anew(
  cluster, expected, tmp_path
):
  with faulty([], tmp_path, names=ALONE) as running:
    running.wait_until_ready()
    ray.kill(running.supervisors['normal']._actor, no_restart=True)
    assert_same(run_steps(running, ALONE), expected)


def wait_until_restarted(actor, session):
  while True:
    try:
      ray.get(actor.save_proxy.remote(session))
    except ray.exceptions.RayTaskError as error:
      assert 'its process was restarted' in str(error)
      return
    except ray.exceptions.RayActorError:
      continue


def test_a_prior_that_hangs_is_found_by_the_deadline(
  cluster, expected, tmp_path
):
  plan = [injection.Fault('normal', 2, 'score:before', 'stop')]
  with faulty(plan, tmp_path, names=ALONE) as running:
    running.wait_until_ready()
    for one in running.supervisors.values():
      one.limits = limits_lib.Limits(deadline_s=2.0)
    stopped = running.supervisors['normal']._process.pid
    assert_same(run_steps(running, ALONE), expected)
    assert running.supervisors['normal']._process.pid != stopped
  injection.assert_fired(plan, tmp_path)
  with pytest.raises(ProcessLookupError):
    os.kill(stopped, 0)


def test_a_prior_that_hangs_as_it_loads_is_named_and_started_again(
  cluster, expected, tmp_path, monkeypatch, caplog
):
  monkeypatch.setattr(supervisor, '_SAY_LOADING_S', 1.0)
  plan = [injection.Fault('normal', -1, 'build', 'stop')]
  with faulty(plan, tmp_path, names=ALONE, build_deadline_s=6.0) as running:
    one = running.supervisors['normal']
    hung = ray.get(one._where)
    running.wait_until_ready()
    assert one._process != hung
    with pytest.raises(ProcessLookupError):
      os.kill(hung.pid, 0)
    assert_same(run_steps(running, ALONE), expected)
  injection.assert_fired(plan, tmp_path)
  said = [r.getMessage() for r in caplog.records]
  line = "prior 'normal' is still loading, 1 s so far; it is lost after 6 s"
  assert line in said


@pytest.mark.chaos
@pytest.mark.parametrize('when', ['twice at first', 'as it is brought back'])
def test_every_process_that_hangs_as_it_loads_is_ended(
  when, cluster, expected, tmp_path
):
  again = when == 'as it is brought back'
  hang = injection.Fault('normal', -1, 'build', 'stop', 1 if again else 2)
  plan = [hang] + again * [injection.Fault('normal', 2, 'score:before')]
  mark = tmp_path / injection.mark_of(hang)
  if again:
    mark.touch()  # The first time it loads well.
  seen = set()
  with faulty(
    plan, tmp_path, names=ALONE, build_deadline_s=5.0, max_losses=4
  ) as running:
    one = running.supervisors['normal']
    end = processes.end_process

    def note(process):
      seen.add(process.pid)
      end(process)

    with mock.patch.object(processes, 'end_process', note):
      running.wait_until_ready()
      if again:
        mark.unlink()
      assert_same(run_steps(running, ALONE), expected)
    seen.discard(one._process.pid)
  injection.assert_fired(plan, tmp_path)
  assert len(seen) == 2
  for pid in seen:
    with pytest.raises(ProcessLookupError):
      os.kill(pid, 0)


def test_no_process_that_hangs_as_it_loads_is_left(cluster, tmp_path):
  plan = [injection.Fault('normal', -1, 'build', 'stop', times=0)]
  with faulty(plan, tmp_path, names=ALONE) as running:
    hung = ray.get(running.supervisors['normal']._where)
    while not (tmp_path / injection.mark_of(plan[0])).exists():
      time.sleep(0.05)
  until = time.monotonic() + 10
  with pytest.raises(ProcessLookupError):
    while time.monotonic() < until:
      os.kill(hung.pid, 0)
      time.sleep(0.05)


def test_a_signal_is_heard_while_a_prior_hangs(cluster, tmp_path):
  plan = [injection.Fault('normal', 1, 'score:before', 'stop')]
  stop = stopping.Stopper(1.0)
  with (
    faulty(plan, tmp_path, names=ALONE, check_stop=stop.check_stop) as running,
    stop,
  ):
    running.wait_until_ready()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(stopping.Overdue):
      run_steps(running, ALONE)
  injection.assert_fired(plan, tmp_path)


def test_a_prior_that_always_dies_ends_the_run(cluster, tmp_path):
  plan = [injection.Fault('normal', 1, 'score:before', times=0)]
  with faulty(plan, tmp_path, names=ALONE, max_losses=2) as running:
    with pytest.raises(faults.PriorLost) as error:
      run_steps(running, ALONE)
  assert (error.value.prior, error.value.step) == ('normal', 1)
  assert 'its process died' in str(error.value)
  assert 'loss number 3 within 3600 s, and 2 are allowed' in str(error.value)
  assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize('kind', [network.Lossy, network.Silent])
def test_a_lost_reply_is_asked_for_again(
  kind, cluster, expected, tmp_path, monkeypatch, caplog
):
  monkeypatch.setattr(supervisor, 'PriorSupervisor', kind)
  with faulty([], tmp_path) as running:
    running.wait_until_ready()
    supervisors = running.supervisors.values()
    before = [one._process.pid for one in supervisors]
    assert_same(run_steps(running), expected)
    # Answered from memory, by the process that is well; else by a new one.
    same = [
      h._process.pid == pid for h, pid in zip(supervisors, before, strict=True)
    ]
    assert same == [kind is network.Lossy] * 2
    for one in supervisors:
      assert one.lost == ['ScoreGradient']
  # What was answered before is remembered: nothing is built or replayed.
  brought_back = 'bringing it back' in caplog.text
  assert brought_back == (kind is network.Silent)


def test_a_reply_that_ray_lost_is_told_from_a_process_that_died(
  cluster, expected, tmp_path, monkeypatch
):
  get, lost = ray.get, []

  def lose(reference, **options):
    value = get(reference, **options)
    if isinstance(value, messages.ScoreGradient) and not lost:
      lost.append(value.prior)
      raise ray.exceptions.ObjectLostError(reference.hex(), None, '')
    return value

  with faulty([], tmp_path) as running:
    running.wait_until_ready()
    before = {name: one._process for name, one in running.supervisors.items()}
    monkeypatch.setattr(supervisor.ray, 'get', lose)
    assert_same(run_steps(running), expected)
    assert lost == ['generic']
    assert before == {n: one._process for n, one in running.supervisors.items()}


def test_what_arrives_too_late_has_no_effect(
  cluster, expected, tmp_path, monkeypatch
):
  monkeypatch.setattr(supervisor, 'PriorSupervisor', network.Echo)
  with faulty([], tmp_path) as running:
    assert_same(run_steps(running), expected)
    late = [x for one in running.supervisors.values() for x in one.late]
    assert len(late) == 2 * len(NAMES) * (NUM_STEPS - 1)
    for reference in late:
      with pytest.raises(ray.exceptions.RayTaskError, match='OutOfStep'):
        ray.get(reference)


def test_what_arrives_twice_is_done_once(
  cluster, expected, tmp_path, monkeypatch
):
  monkeypatch.setattr(supervisor, 'PriorSupervisor', network.Stutterer)
  with faulty([], tmp_path) as running:
    assert_same(run_steps(running), expected)


def test_the_journal_is_bounded(cluster, monkeypatch, tmp_path):
  monkeypatch.setattr(ray_executor, 'MAX_JOURNAL', 3)
  with faulty([], tmp_path, names=ALONE) as running:
    lengths = []
    for step in range(8):
      running.submit(fake_prior.requests(step, *ALONE)).result()
      lengths.append(len(running.supervisors['normal'].journal.entries))
  assert lengths == [1, 2, 3, 1, 2, 3, 1, 2]


def test_a_replay_that_answers_otherwise_is_an_error(cluster, tmp_path):
  plan = [injection.Fault('normal', 2, 'score:before')]
  with faulty(plan, tmp_path, names=ALONE) as running:
    for step in range(2):
      running.submit(fake_prior.requests(step, *ALONE)).result()
    running.supervisors['normal'].journal.entries[0].digest = 'another'
    with pytest.raises(faults.PriorFailed, match='answers otherwise than'):
      running.submit(fake_prior.requests(2, *ALONE)).result()


def test_restoring_undoes_what_was_submitted(cluster, expected, tmp_path):
  plan = [injection.Fault('normal', 2, 'score:after', 'raise')]
  with faulty(plan, tmp_path, names=ALONE) as running:
    safe = running.save_proxies()
    for step in range(2):
      running.submit(fake_prior.requests(step, *ALONE)).result()
    with pytest.raises(faults.PriorNotFinite, match='at step 2: Floating'):
      running.submit(fake_prior.requests(2, *ALONE)).result()
    running.restore_proxies(safe)
    assert_same(run_steps(running, ALONE), expected)


def test_a_prior_lost_after_a_restore_is_made_from_it(
  cluster, expected, tmp_path
):
  plan = [injection.Fault('normal', -1, 'restore:after')]
  with faulty(plan, tmp_path, names=ALONE) as running:
    safe = running.save_proxies()
    for step in range(2):
      running.submit(fake_prior.requests(step, *ALONE)).result()
    # Dies as soon as it is restored; what was asked before is not replayed.
    running.restore_proxies(safe)
    assert_same(run_steps(running, ALONE), expected)
  injection.assert_fired(plan, tmp_path)


def test_no_process_is_left(cluster, tmp_path):
  with faulty([], tmp_path) as running:
    running.wait_until_ready()
    pids = [one._process.pid for one in running.supervisors.values()]
    os.kill(pids[0], signal.SIGSTOP)  # Hears no wish of Ray's.
  # Ray alone would give the stopped one 5 s.
  until = time.monotonic() + 4
  for pid in pids:
    with pytest.raises(ProcessLookupError):
      while time.monotonic() < until:
        os.kill(pid, 0)
  assert ray.is_initialized()
