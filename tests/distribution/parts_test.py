"""A step asked in parts: inline, on Ray, and with faults between them."""

import dataclasses
import os

import numpy as np
import pytest

from mmdist.distribution import actor as actor_lib
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor
from mmdist.distribution import faults
from mmdist.distribution import hosting
from mmdist.distribution import limits as limits_lib
from mmdist.distribution import ray_executor
from mmdist.distribution import supervisor
from tests.chaos import injection
from tests.chaos import network
from tests.distribution import fake_prior
from tests.distribution import rooms

NAMES = ('generic', 'normal')
NUM_STEPS = 4


@pytest.fixture(scope='module')
def cluster():
  started = cluster_lib.Cluster(None, rooms.many())
  yield started
  started.close()


def parts_of(step, names=NAMES):
  """Returns the requests of a step's two parts, of a view each."""
  whole = fake_prior.requests(step, *names)
  return [
    {name: fake_prior.part(one, first, 1) for name, one in whole.items()}
    for first in (0, 1)
  ]


def run_steps(running, names=NAMES):
  """Submits all parts of each step before any answer is taken, as the loop."""
  answers = []
  for step in range(NUM_STEPS):
    pending = [running.submit(part) for part in parts_of(step, names)]
    replies = [one.result() for one in pending]
    answers.append(
      {n: [np.array(reply[n].cotangent) for reply in replies] for n in names}
    )
    answers[-1]['fits'] = running.fit_metrics()
    if step == 1:
      running.save_proxies()
  return answers, running.save_proxies()


@pytest.fixture(scope='module')
def expected():
  with executor.InlineExecutor(list(map(fake_prior.recipe, NAMES))) as running:
    return run_steps(running)


def assert_same(found, expected):
  for one, other in zip(found[0], expected[0], strict=True):
    for name in found[1]:
      np.testing.assert_array_equal(one[name], other[name])
      assert one['fits'].get(name) == other['fits'].get(name)
  for name, proxy in found[1].items():
    assert proxy.step == NUM_STEPS
    np.testing.assert_array_equal(
      proxy.arrays['lora/target'], expected[1][name].arrays['lora/target']
    )


def on_ray(plan=(), folder=None, names=NAMES, **limits):
  recipes = [
    injection.with_faults(fake_prior.recipe(name), plan, folder)
    for name in names
  ]
  return ray_executor.RayExecutor(recipes, limits=limits_lib.Limits(**limits))


def test_there_is_one_fit_a_step_and_it_is_told_a_step_later(expected):
  answers, proxies = expected
  assert {proxy.step for proxy in proxies.values()} == {NUM_STEPS}
  assert not answers[0]['fits']
  told = [one['fits']['generic']['proxy_loss'] for one in answers[1:]]
  prior = fake_prior.FakePrior(fake_prior.recipe('generic').spec)
  losses = []
  for step in range(NUM_STEPS):
    prior.score(fake_prior.requests(step, 'generic')['generic'])
    losses.append(prior.fit()['proxy_loss'])
  # On the renders of both parts, as on those of the whole.
  assert told == pytest.approx(losses[:-1])


def test_inline_and_ray_agree_bit_for_bit(cluster, expected):
  with on_ray() as running:
    assert_same(run_steps(running), expected)


def dealt(step):
  """Returns three parts; each prior has its last view before the end."""
  whole = fake_prior.requests(step, *NAMES)
  generic, normal = (whole[name] for name in NAMES)
  part = fake_prior.part
  return [
    {'generic': part(generic, 0, 2)},
    {'normal': part(normal, 0, 1)},
    {'normal': part(normal, 1, 1)},
  ]


def test_no_fit_of_a_step_is_waited_for_in_it(cluster, tmp_path):
  mark = tmp_path / 'fitted'
  recipes = [
    fake_prior.recipe('generic', f'slow_fit:{mark}'),
    fake_prior.recipe('normal'),
  ]
  with executor.InlineExecutor(recipes) as inline:
    for step in range(2):
      expected = [inline.submit(part) for part in dealt(step)]
    expected, fits = [p.result() for p in expected], inline.fit_metrics()
  mark.unlink()
  with ray_executor.RayExecutor(recipes) as running:
    running.wait_until_ready()
    pending = [running.submit(part) for part in dealt(0)]
    for one in pending:
      one.result()
    # 'generic' had its last part first, and fits for half a second.
    assert not mark.exists() and running.fit_metrics() == {}
    pending = [running.submit(part) for part in dealt(1)]
    found = [one.result() for one in pending]
    assert mark.exists() and running.fit_metrics() == fits
  assert fits.keys() == set(NAMES)
  for one, other in zip(found, expected, strict=True):
    for name, answer in other.items():
      np.testing.assert_array_equal(one[name].cotangent, answer.cotangent)


PLANS = {
  'between two parts': ('score:before', 1),
  'after the last part, not sent': ('score:after', 1),
  'after the first part, not sent': ('score:after', 0),
  'after the fit, not told': ('fit:after', 1),
}


@pytest.mark.parametrize(
  'name',
  [
    p if p == 'between two parts' else pytest.param(p, marks=pytest.mark.chaos)
    for p in PLANS
  ],
)
def test_a_prior_that_dies_within_a_step_comes_back(
  name, cluster, expected, tmp_path
):
  point, first_view = PLANS[name]
  plan = [injection.Fault('normal', 2, point, first_view=first_view)]
  with on_ray(plan, tmp_path) as running:
    assert_same(run_steps(running), expected)
  injection.assert_fired(plan, tmp_path)


@pytest.mark.parametrize(
  'kind, lost',
  [
    (network.Lossy, 'ScoreGradient'),
    (network.LossyLater, 'ScoreGradient'),
    (network.LossyFits, 'dict'),
    (network.Silent, 'ScoreGradient'),
  ],
)
def test_a_lost_reply_of_a_part_is_asked_for_again(
  kind, lost, cluster, expected, monkeypatch
):
  monkeypatch.setattr(supervisor, 'PriorSupervisor', kind)
  with on_ray() as running:
    assert_same(run_steps(running), expected)
    for one in running.supervisors.values():
      assert one.lost == [lost]


def test_what_arrives_twice_is_done_once(cluster, expected, monkeypatch):
  monkeypatch.setattr(supervisor, 'PriorSupervisor', network.Stutterer)
  with on_ray() as running:
    assert_same(run_steps(running), expected)


def test_no_proxy_is_saved_between_two_parts(cluster, expected, monkeypatch):
  monkeypatch.setattr(ray_executor, 'MAX_JOURNAL', 1)
  with on_ray(names=('normal',)) as running:
    journal = running.supervisors['normal'].journal
    lengths = []
    for step in range(3):
      for part in parts_of(step, ('normal',)):
        running.submit(part).result()
        lengths.append((len(journal.entries), journal.num_steps))
  assert lengths == [(1, 1), (2, 1)] * 3


@pytest.mark.parametrize('make', [executor.InlineExecutor, None])
def test_a_step_that_fails_in_a_part_leaves_nothing(
  make, cluster, expected, tmp_path
):
  plan = [injection.Fault('normal', 0, 'score:before', 'raise', first_view=1)]
  if make is None:
    running = on_ray(plan, tmp_path)
  else:
    recipes = [
      injection.with_faults(fake_prior.recipe(name), plan, tmp_path)
      for name in NAMES
    ]
    running = make(recipes)
  with running:
    safe = running.save_proxies()
    first, second = [running.submit(part) for part in parts_of(0)]
    first.result()
    with pytest.raises(faults.PriorNotFinite, match='at step 0'):
      second.result()
    running.restore_proxies(safe)
    assert_same(run_steps(running), expected)
    # Nor does one whose later part was never submitted.
    running.restore_proxies(safe)
    running.submit(parts_of(0)[0])
    running.restore_proxies(safe)
    assert_same(run_steps(running), expected)
  injection.assert_fired(plan, tmp_path)


def test_the_parts_of_two_learners_interleave_on_one_actor(cluster):
  recipe = fake_prior.recipe('generic')
  recipe = dataclasses.replace(
    recipe, spec=dataclasses.replace(recipe.spec, files='same')
  )
  actor = hosting.Owned(ray_executor.actor_options(recipe.spec))
  shared = {recipe.spec.sharing_key: actor.actor}
  names = ('generic',)
  with executor.InlineExecutor([recipe]) as inline:
    expected, _ = run_steps(inline, names)
  learners = [
    ray_executor.RayExecutor([recipe], shared=shared, learner=name)
    for name in ('one', 'two')
  ]
  processes = set()
  for step in range(2):
    pending = [
      [learner.submit(part) for learner in learners]
      for part in parts_of(step, names)
    ]
    for number, of_part in enumerate(pending):
      for one in of_part:
        answer = one.result()['generic']
        processes.add(answer.metrics['process'])
        np.testing.assert_array_equal(
          answer.cotangent, expected[step]['generic'][number]
        )
  assert len(processes) == 1 and os.getpid() not in processes
  for learner in learners:
    assert learner.save_proxies()['generic'].step == 2
    learner.close()
  actor.leave(actor_lib.SessionId('two', 'generic'), None)
