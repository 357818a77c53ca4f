"""Slots on one local Ray for the whole module."""

import os
import pathlib
import subprocess
import sys
import time

import pytest
import ray

from mmdist.config import schema
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import faults
from mmdist.sweeps import cell_runner
from mmdist.sweeps import ray_slots
from mmdist.sweeps import scheduling
from tests.sweeps import slow_runner

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module', autouse=True)
def cluster():
  room = {number: {'num_cpus': 1, 'num_gpus': 0} for number in range(2)}
  started = cluster_lib.Cluster(None, room)
  yield started
  started.close()


@pytest.fixture
def lost():
  return []


@pytest.fixture
def slots(tmp_path, lost):
  def make_task(job):
    return cell_runner.Task(
      job.name,
      schema.RunConfig(),
      str(tmp_path / job.name),
      str(tmp_path / 'l'),
    )

  running = ray_slots.RaySlots(
    ray_slots.Size(1), 2, make_task, lost.append, slow_runner.SlowRunner
  )
  yield running
  running.close()


def test_slots_are_used_again_and_all_cells_end(slots):
  names = [f'sleep-{i}' for i in range(12)]
  ended = scheduling.run_all(names, slots)
  assert {e.kind for e in ended.values()} == {'finished'}
  assert len({e.error for e in ended.values()}) <= 2  # Processes.
  assert slots.num_slots <= 2


def test_a_slot_that_dies_is_told_of_and_comes_back(slots, lost):
  names = ['die-0', 'sleep-0', 'die-1', 'sleep-1']
  ended = scheduling.run_all(names, slots)
  assert {e.kind for e in ended.values()} == {'finished'}
  assert {name: e.attempts for name, e in ended.items()} == {
    'die-0': 2,
    'sleep-0': 1,
    'die-1': 2,
    'sleep-1': 1,
  }
  assert sorted(job.name for job in lost) == ['die-0', 'die-1']


def test_each_slot_has_cores_of_its_own(slots):
  while slots.free() < 2:
    slots.wait(1.0)
  ended = scheduling.run_all([f'cores-{i}' for i in range(6)], slots)
  shares = {e.error for e in ended.values()}
  own = sorted(os.sched_getaffinity(0))
  assert shares <= {str(own[index % len(own)]) for index in range(2)}
  assert len(shares) == min(2, len(own))


def test_running_cells_are_heard_and_stopped(slots):
  heard, told = [], []

  def on_poll():
    heard.extend(slots.progress().items())
    if heard:
      slots.stop()
      told.append(time.monotonic())

  ended = scheduling.run_all(
    ['hang-0', 'hang-1', 'hang-2'],
    slots,
    is_stopping=lambda: bool(heard),
    poll_s=0.2,
    on_poll=on_poll,
  )
  # A cell would go on for a minute; processes may take long to begin.
  assert time.monotonic() - told[0] < 30
  assert {name for name, _ in heard} <= {'hang-0', 'hang-1'}
  kinds = [e.kind for e in ended.values()]
  assert 'stopped' in kinds and kinds[-1] == 'left'


def test_processes_that_cannot_start_are_not_started_for_ever():
  class Broken(ray_slots.Runner):
    def __init__(self):
      raise ImportError('no yaml here')

  slots = ray_slots.RaySlots(
    ray_slots.Size(1), 1, lambda job: None, runner=Broken
  )
  with pytest.raises(
    faults.ClusterUnavailable, match='2 processes .* could not.*no yaml here'
  ):
    scheduling.run_all(['sleep-0'], slots)
  slots.close()


@pytest.mark.slow
def test_priors_have_room_where_cells_fill_the_cluster():
  # In a process of its own, which has joined no other Ray before.
  done = subprocess.run(
    [sys.executable, '-m', 'tests.sweeps.full_cluster'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=180,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines() == ['reserved', 'gave way']


def test_a_slot_too_large_for_the_machine_is_waited_for(tmp_path):
  slots = ray_slots.RaySlots(ray_slots.Size(64), 2, lambda job: None)
  assert slots.wait(0.1) == [] and slots.free() == 0
  slots.close()
  assert ray.is_initialized()
