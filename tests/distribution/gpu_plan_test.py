"""Who has which GPU: on paper, and in Ray with GPUs that are only names."""

import json
import os
import pathlib
import subprocess
import sys

import hypothesis
from hypothesis import strategies as st
import pytest

from mmdist.core import errors
from mmdist.distribution import gpu_plan

ROOT = pathlib.Path(__file__).resolve().parents[2]


def names(count: int) -> tuple[str, ...]:
  return tuple(map(str, range(count)))


def plan(num_gpus: int, *wanted: float, **options) -> gpu_plan.GpuPlan:
  return gpu_plan.plan(
    names(num_gpus),
    {f'prior{i}': number for i, number in enumerate(wanted)},
    **options,
  )


@pytest.mark.parametrize(
  'num_gpus, num_priors, learner, priors, share',
  [
    (0, 2, '', '', None),
    (1, 2, '0', '', 0),
    (2, 1, '0', '1', 1),
    (2, 2, '0', '1', 0.5),
    (2, 3, '0', '1', 0.3333),
    (4, 1, '012', '3', 1),
    (4, 2, '01', '23', 1),
    (4, 3, '0', '123', 1),
    (4, 4, '0', '123', 0.5),
    (8, 2, '012345', '67', 1),
    (8, 8, '0', '1234567', 0.5),
  ],
)
def test_the_learner_has_what_the_priors_leave(
  num_gpus, num_priors, learner, priors, share
):
  found = plan(num_gpus, *[0.0] * num_priors)
  assert found.learner == tuple(learner) and found.priors == tuple(priors)
  assert set(found.num_gpus.values()) == (
    {share} if share is not None else set()
  )


@pytest.mark.parametrize(
  'num_gpus, wanted, options, learner, priors',
  [
    (4, [1.0, 0.0], {}, '01', '23'),
    (4, [2.0, 0.0], {}, '0', '123'),
    (4, [0.5, 0.5, 0.0], {}, '01', '23'),
    (4, [0.5, 0.7, 0.0], {}, '0', '123'),
    (8, [0.0], {'learner_devices': 4}, '0123', '7'),
    (4, [0.0, 0.0], {'learner_has_gpus': False}, '', '23'),
    (1, [0.5, 0.5], {}, '0', ''),
    (2, [0.0], {'learner_devices': 2}, '01', ''),
  ],
)
def test_what_is_asked_for_is_given(num_gpus, wanted, options, learner, priors):
  found = plan(num_gpus, *wanted, **options)
  assert found.learner == tuple(learner) and found.priors == tuple(priors)
  for name, number in zip(found.num_gpus, wanted):
    assert not number or found.num_gpus[name] == number


@pytest.mark.parametrize(
  'num_gpus, wanted, options',
  [
    (2, [1.0, 1.0], {}),
    (1, [1.0, 0.5], {}),
    (2, [0.6, 0.6], {}),
    (2, [0.0], {'learner_devices': 3}),
    (4, [1.0, 1.0], {'learner_devices': 3}),
  ],
)
def test_more_than_there_are_is_refused(num_gpus, wanted, options):
  with pytest.raises(errors.UserError, match=f'this machine has {num_gpus}'):
    plan(num_gpus, *wanted, **options)


@hypothesis.given(
  st.integers(0, 9),
  st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 0.7, 1.0, 2.0]), max_size=8),
  st.integers(0, 3),
  st.booleans(),
)
def test_nobody_has_the_gpu_of_another_and_all_find_room(
  num_gpus, wanted, learner_devices, has_gpus
):
  try:
    found = plan(
      num_gpus,
      *wanted,
      learner_devices=learner_devices,
      learner_has_gpus=has_gpus,
    )
  except errors.UserError:
    return
  assert set(found.learner + found.priors) <= set(names(num_gpus))
  assert bool(found.learner) == (has_gpus and num_gpus > 0)
  if found.priors:
    assert not set(found.learner) & set(found.priors)
    # Largest first, each on the fullest GPU that has room for it.
    free = [1.0] * len(found.priors)
    for number in sorted(found.num_gpus.values(), reverse=True):
      while number >= 1:
        free.remove(1.0)
        number -= 1
      if number:
        free.sort()
        index = next(i for i, left in enumerate(free) if left >= number - 1e-9)
        free[index] -= number


@pytest.mark.parametrize(
  'chosen, seen',
  [(None, '012'), ('1,2', '12'), ('', ''), ('0,-1,1', '0'), ('-1', '')],
)
def test_gpus_are_those_that_programs_would_see(
  chosen, seen, tmp_path, monkeypatch
):
  monkeypatch.delenv(gpu_plan.VISIBLE, raising=False)
  if chosen is not None:
    monkeypatch.setenv(gpu_plan.VISIBLE, chosen)
  assert gpu_plan.visible(tmp_path / 'no driver') == ()
  for number in range(3):
    (tmp_path / f'0000:0{number}:00.0').mkdir()
  assert gpu_plan.visible(tmp_path) == tuple(seen)


# In a process of its own: Ray sees GPUs by their names when it starts.
_SEEN = """
import json, os
import ray
from mmdist.distribution import cluster
from mmdist.distribution import hosting
from mmdist.distribution import ray_executor
from tests.distribution import fake_prior

class Seen:
  def gpus(self):
    return os.environ['CUDA_VISIBLE_DEVICES']

hosting.actor_lib.PriorActor = Seen
base = ray_executor.actor_options(fake_prior.recipe('generic').spec)
options = {i: base | {'num_gpus': n} for i, n in enumerate([1, 0.5, 0.5, 0])}
with_gpus = cluster.Cluster(None, options, gpus=('5', '3', '7'))
actors = [hosting.Owned(one) for one in options.values()]
print(json.dumps([ray.get(one.actor.gpus.remote()) for one in actors]))
print(json.dumps(os.environ.get('CUDA_VISIBLE_DEVICES')))
with_gpus.close()
"""


@pytest.mark.slow
def test_actors_see_the_gpus_of_the_priors_and_no_other():
  done = subprocess.run(
    [sys.executable, '-c', _SEEN],
    cwd=ROOT,
    env=os.environ | {gpu_plan.VISIBLE: '0,5,3,7'},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr
  (alone, one, other, sharing), ours = map(json.loads, done.stdout.splitlines())
  assert one == other != alone
  assert {alone, one} < {'5', '3', '7'}
  # It reserves none, so it sees all of the priors'.
  assert sharing.split(',') == ['5', '3', '7']
  assert ours == '0,5,3,7'  # As it was.
