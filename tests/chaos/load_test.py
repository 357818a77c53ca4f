"""Many priors, many steps: nothing depends on who answers first."""

import os
import pathlib
import time

import numpy as np
import pytest

from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import ray_executor
from mmdist.objectives import score_requests
from tests.distribution import fake_prior
from tests.distribution import rooms

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
NAMES = tuple(f'prior{number}' for number in range(8))
NUM_STEPS = 1000


class Dawdler(fake_prior.FakePrior):
  """Answers in its own time, so that the order of arrival changes."""

  def score(self, request):
    rng = np.random.default_rng([request.step, *self._spec.name.encode()])
    time.sleep(rng.uniform(0, 0.003))
    return super().score(request)


@pytest.fixture(scope='module')
def cluster():
  started = cluster_lib.Cluster(None, rooms.many())
  yield started
  started.close()


def recipes(build):
  made = [fake_prior.recipe(name) for name in NAMES]
  return [recipe.__class__(recipe.spec, build) for recipe in made]


def resident(pid: int) -> int:
  """Returns the bytes that a process has in memory."""
  pages = pathlib.Path(f'/proc/{pid}/statm').read_text().split()[1]
  return int(pages) * os.sysconf('SC_PAGE_SIZE')


def sum_of_all(running, every_step):
  """Returns the summed cotangents of all steps, summed."""
  total = np.zeros((2, 4, 4, 3), np.float64)
  for step in range(NUM_STEPS):
    answers = running.submit(fake_prior.requests(step, *NAMES)).result()
    total += score_requests.sum_cotangents(answers)['rgb']
    if step % 10 == 9:
      running.save_proxies()
    every_step(step)
  return total, running.save_proxies()


def test_eight_priors_and_a_thousand_steps(cluster):
  inline = executor_lib.InlineExecutor(recipes(fake_prior.FakePrior))
  with inline as running:
    expected, proxies = sum_of_all(running, lambda step: None)
  sizes = {}
  with ray_executor.RayExecutor(recipes(Dawdler)) as running:

    def measure(step):
      if step in (499, NUM_STEPS - 1):
        pids = [one._process.pid for one in running.supervisors.values()]
        sizes[step] = [resident(pid) for pid in (os.getpid(), *pids)]
      lengths = {len(h.journal.entries) for h in running.supervisors.values()}
      assert max(lengths) <= 10

    total, others = sum_of_all(running, measure)
  np.testing.assert_array_equal(total, expected)
  for name in NAMES:
    assert proxies[name].step == others[name].step == NUM_STEPS
    np.testing.assert_array_equal(
      proxies[name].arrays['lora/target'], others[name].arrays['lora/target']
    )
  half, end = (np.array(sizes[step]) for step in (499, NUM_STEPS - 1))
  growth = end / half - 1
  print(f'growth of memory over 500 steps: {growth.max():.2%}')
  assert growth.max() < 0.02, growth
