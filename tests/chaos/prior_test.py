"""Priors die, hang and answer nonsense under the whole loop, through Ray."""

import dataclasses
import resource

import jax
import numpy as np
import pytest

from mmdist import loop
from mmdist.core import errors
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import faults
from mmdist.distribution import limits as limits_lib
from mmdist.distribution import ray_executor
from mmdist.distribution import supervisor
from tests.chaos import injection
from tests.chaos import network
from tests.chaos import victim
from tests.distribution import fake_prior
from tests.distribution import rooms
from tests.learner import tiny_field

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
STEPS, EVERY = 8, 3
LAST = STEPS - 1
CASES = {
  'first step, before scoring': [('normal', 0, 'score:before')],
  'first step, while scoring': [('normal', 0, 'score:after')],
  'first step, after fitting': [('normal', 0, 'fit:after')],
  'middle, before scoring': [('generic', 4, 'score:before')],
  'middle, while scoring': [('generic', 4, 'score:after')],
  'middle, before fitting': [('generic', 4, 'fit:before')],
  'middle, after fitting': [('generic', 4, 'fit:after')],
  'checkpoint step, before scoring': [('normal', 2, 'score:before')],
  'checkpoint step, after fitting': [('normal', 2, 'fit:after')],
  'checkpoint step, while saving': [('normal', 2, 'save:before')],
  'last step, before scoring': [('normal', LAST, 'score:before')],
  'last step, while scoring': [('normal', LAST, 'score:after')],
  'last step, after fitting': [('normal', LAST, 'fit:after')],
  'two at once': [('normal', 4, 'score:before'), ('generic', 4, 'score:after')],
  'two at once, fitting': [
    ('normal', 5, 'fit:after'),
    ('generic', 5, 'fit:before'),
  ],
  'again while it comes back': [
    ('normal', 5, 'score:before'),
    ('normal', -1, 'restore:after'),
  ],
  'while it is built': [('normal', -1, 'build')],
  'hung while scoring': [('normal', 4, 'score:before', 'stop')],
  'hung while fitting': [('generic', 3, 'fit:before', 'stop')],
}


# Of steps in two parts of one view each.
CASES_IN_PARTS = {
  'before the first part': ('score:before', 'kill', 0),
  'between the parts': ('score:before', 'kill', 1),
  'after the first part, not sent': ('score:after', 'kill', 0),
  'after the last part, not sent': ('score:after', 'kill', 1),
  'before the fit': ('fit:before', 'kill', 1),
  'after the fit': ('fit:after', 'kill', 1),
  'hung between the parts': ('score:before', 'stop', 1),
}


@pytest.fixture(scope='module')
def cluster():
  started = cluster_lib.Cluster(None, rooms.many())
  yield started
  started.close()


def make_run(**fault_fields):
  run = victim.make_run(STEPS, EVERY)
  for name, value in fault_fields.items():
    setattr(run.faults, name, value)
  return run


def run_loop(run, workdir, executor):
  workdir.mkdir(exist_ok=True)
  params = tiny_field.init(jax.random.key(0))
  with executor:
    executor.wait_until_ready()
    for one in getattr(executor, 'supervisors', {}).values():
      # Not before: a process takes longer to start than to answer.
      one.limits = limits_lib.Limits(deadline_s=3.0)
    state = loop.optimize(
      run, workdir, executor, tiny_field.tiny_field(), params
    )
    return state, executor.save_proxies()


def inline():
  return executor_lib.InlineExecutor(
    [fake_prior.recipe(name) for name in victim.NAMES]
  )


def on_ray(plan, marks, **limits):
  marks.mkdir()
  recipes = [
    injection.with_faults(fake_prior.recipe(name), plan, marks)
    for name in victim.NAMES
  ]
  return ray_executor.RayExecutor(recipes, limits=limits_lib.Limits(**limits))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  return run_loop(make_run(), tmp_path_factory.mktemp('whole'), inline())


def assert_same(one, two):
  (state, proxies), (other, others) = one, two
  jax.tree.map(np.testing.assert_array_equal, state, other)
  for name, proxy in proxies.items():
    assert proxy.step == others[name].step
    np.testing.assert_array_equal(
      proxy.arrays['lora/target'], others[name].arrays['lora/target']
    )


@pytest.mark.parametrize('case', CASES)
def test_learner_and_proxies_end_as_if_nothing_had_happened(
  case, cluster, whole, tmp_path
):
  plan = [injection.Fault(*fault) for fault in CASES[case]]
  running = on_ray(plan, tmp_path / 'marks')
  assert_same(run_loop(make_run(), tmp_path / 'run', running), whole)
  injection.assert_fired(plan, tmp_path / 'marks')


def make_run_in_parts():
  run = make_run()
  run.views.micro_batches = 2
  return run


@pytest.fixture(scope='module')
def whole_in_parts(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('parts')
  return run_loop(make_run_in_parts(), workdir, inline())


@pytest.mark.parametrize('step', [0, 4, LAST])
@pytest.mark.parametrize('case', CASES_IN_PARTS)
def test_a_step_in_parts_ends_as_if_nothing_had_happened(
  case, step, cluster, whole_in_parts, tmp_path
):
  point, kind, first_view = CASES_IN_PARTS[case]
  plan = [injection.Fault('normal', step, point, kind, 1, first_view)]
  running = on_ray(plan, tmp_path / 'marks')
  found = run_loop(make_run_in_parts(), tmp_path / 'run', running)
  assert_same(found, whole_in_parts)
  injection.assert_fired(plan, tmp_path / 'marks')


@pytest.mark.parametrize(
  'kind',
  [
    network.Lossy,
    network.LossyLater,
    network.LossyFits,
    network.Silent,
    network.Stutterer,
  ],
)
def test_a_reply_of_a_part_that_is_lost_or_doubled_counts_once(
  kind, cluster, whole_in_parts, tmp_path, monkeypatch
):
  monkeypatch.setattr(kind, 'step', 4)
  monkeypatch.setattr(supervisor, 'PriorSupervisor', kind)
  running = on_ray([], tmp_path / 'marks')
  supervisors = dict(running.supervisors)
  found = run_loop(make_run_in_parts(), tmp_path / 'run', running)
  assert_same(found, whole_in_parts)
  for one in supervisors.values():
    assert (one.sent if kind is network.Stutterer else len(one.lost)) == 1


KINDS = (network.Lossy, network.Silent, network.Stutterer)


@pytest.mark.parametrize('step', [0, 4, LAST])
@pytest.mark.parametrize('kind', KINDS)
def test_a_reply_lost_or_doubled_counts_once(
  kind, step, cluster, whole, tmp_path, monkeypatch
):
  monkeypatch.setattr(kind, 'step', step)
  monkeypatch.setattr(supervisor, 'PriorSupervisor', kind)
  running = on_ray([], tmp_path / 'marks')
  supervisors = dict(running.supervisors)
  assert_same(run_loop(make_run(), tmp_path / 'run', running), whole)
  for one in supervisors.values():
    assert (one.sent if kind is network.Stutterer else len(one.lost)) == 1


def test_a_prior_that_always_dies_ends_the_run_after_saving(cluster, tmp_path):
  plan = [injection.Fault('normal', 5, 'score:before', times=0)]
  running = on_ray(plan, tmp_path / 'marks', max_losses=3)
  run = make_run()
  run.checkpoints.snapshot_every = 5
  with pytest.raises(
    faults.PriorLost, match="'normal' was lost at step 5: its"
  ):
    run_loop(run, tmp_path / 'run', running)
  assert len(list((tmp_path / 'marks').iterdir())) == 4
  assert (tmp_path / 'run' / 'checkpoints' / '5').is_dir()


@pytest.mark.parametrize('kind', ['nan', 'inf'])
@pytest.mark.parametrize('policy', ['stop', 'reject'])
def test_what_is_not_finite_does_as_configured(kind, policy, cluster, tmp_path):
  plan = [injection.Fault('normal', 4, 'score:after', kind, times=0)]
  running = on_ray(plan, tmp_path / 'marks')
  run = make_run(on_nonfinite=policy)
  if policy == 'stop':
    with pytest.raises(errors.NotFinite, match="'normal' answered step 4"):
      run_loop(run, tmp_path / 'run', running)
    return
  state, proxies = run_loop(run, tmp_path / 'run', running)
  assert (int(state.step), int(state.rejected)) == (STEPS, 1)
  assert {proxy.step for proxy in proxies.values()} == {STEPS - 1}
  # Inline it is left out alike.
  (tmp_path / 'again').mkdir()
  recipes = [
    injection.with_faults(fake_prior.recipe(name), plan, tmp_path / 'again')
    for name in victim.NAMES
  ]
  other = run_loop(
    run, tmp_path / 'inline', executor_lib.InlineExecutor(recipes)
  )
  assert_same((state, proxies), other)


class Greedy(fake_prior.FakePrior):
  """Wants more memory than its process may have."""

  def score(self, request):
    if request.step == 4:
      resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
      np.ones(2**32, np.float64)
    return super().score(request)


def test_a_prior_out_of_memory_is_named_and_the_checkpoint_is_good(
  cluster, whole, tmp_path
):
  recipes = [fake_prior.recipe(name) for name in victim.NAMES]
  greedy = [recipes[0], dataclasses.replace(recipes[1], build=Greedy)]
  with pytest.raises(
    faults.PriorFailed, match="'normal' failed at step 4.*llo"
  ):
    run_loop(make_run(), tmp_path / 'run', ray_executor.RayExecutor(greedy))
  again = ray_executor.RayExecutor(recipes)
  assert_same(run_loop(make_run(), tmp_path / 'run', again), whole)
