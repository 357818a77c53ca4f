"""What is reserved, what can never be, and what is waited for."""

import pathlib
import subprocess
import sys

import pytest
import ray

from mmdist.distribution import faults
from mmdist.distribution import placement

ROOT = pathlib.Path(__file__).resolve().parents[2]
MACHINES = [
  {
    'Alive': True,
    'NodeManagerHostname': 'head',
    'Resources': {'CPU': 8.0, 'node:10.0.0.1': 1.0},
    'Labels': {'rack': 'a'},
  },
  {
    'Alive': True,
    'NodeManagerHostname': 'worker',
    'Resources': {'CPU': 4.0, 'GPU': 1.0, 'fast': 2.0},
    'Labels': {'rack': 'b'},
  },
  {'Alive': False, 'NodeManagerHostname': 'gone', 'Resources': {'CPU': 64.0}},
]


def options(*reservations):
  return {
    number: reservation.options(num_threads=1)
    for number, reservation in enumerate(reservations)
  }


@pytest.fixture
def machines(monkeypatch):
  monkeypatch.setattr(ray, 'nodes', lambda: MACHINES)
  monkeypatch.setattr(placement, 'this_machine', lambda: 'node:10.0.0.1')


def reserve(**wants):
  return placement.Reservation(**wants)


@pytest.mark.parametrize(
  'wanted',
  [
    [reserve(num_cpus=8), reserve(num_cpus=4, num_gpus=1)],
    [reserve(num_gpus=0.5), reserve(num_gpus=0.5)],
    [reserve(resources={'fast': 2}), reserve(node_labels={'rack': 'b'})],
    [reserve(colocate='learner', num_cpus=8)],
    # Only one way to deal them out has room for all: 5 and 3, 4.
    [reserve(num_cpus=3), reserve(num_cpus=4), reserve(num_cpus=5)],
    [],
  ],
)
def test_what_has_room_passes(wanted, machines):
  placement.check_room(options(*wanted))


@pytest.mark.parametrize(
  'wanted, line',
  [
    (
      [reserve(num_cpus=9)],
      r'a prior reserves 9 CPU, and no machine has all of it \(head has 8 CPU; '
      r'worker has 4 CPU\); lower its num_cpus',
    ),
    (
      [reserve(num_cpus=8)] * 2,
      r'reserves 16 CPU and Ray has 12 \(head 8, worker 4\); lower their num_c',
    ),
    ([reserve(num_gpus=1)] * 2, r'reserves 2 GPU and Ray has 1 \(head 0, work'),
    (
      [reserve(num_cpus=6, num_gpus=1)],
      'reserves 6 CPU, 1 GPU, and no machine',
    ),
    ([reserve(resources={'fats': 1})], 'reserves 1 fats and Ray has 0'),
    (
      [reserve(node_labels={'rack': 'c'})],
      r"reserves 1 CPU with the labels \{'rack': 'c'\}, and no machine",
    ),
    ([reserve(colocate='learner', num_gpus=1)], 'and no machine has all of it'),
    (
      [reserve(num_cpus=3)] * 2 + [reserve(num_cpus=6)],
      r'reserves 3 CPU, 3 CPU, 6 CPU, and the machines cannot hold all of it '
      r'side by side \(head has 8 CPU; worker has 4 CPU\); lower num_cpus',
    ),
  ],
)
def test_what_can_never_be_placed_is_said(wanted, line, machines):
  with pytest.raises(faults.ClusterUnavailable, match=line) as error:
    placement.check_room(options(*wanted))
  assert '\n' not in str(error.value)


def test_what_others_use_is_said(machines, monkeypatch):
  named = [m | {'NodeID': m['NodeManagerHostname']} for m in MACHINES]
  monkeypatch.setattr(ray, 'nodes', lambda: named)
  free = {'head': {'CPU': 2.0}, 'worker': {'CPU': 4.0, 'GPU': 1.0}}
  monkeypatch.setattr(placement, '_free', lambda: free)
  with pytest.raises(faults.ClusterUnavailable) as error:
    placement.check_room(options(reserve(num_cpus=16)))
  assert '(head 8 (2 free), worker 4)' in str(error.value)
  with pytest.raises(faults.ClusterUnavailable) as error:
    placement.check_room(options(reserve(num_cpus=9)))
  assert 'head has 8 (2 free) CPU; worker has 4 CPU' in str(error.value)


@pytest.mark.slow
def test_a_run_waits_for_its_room_and_says_so():
  # In a process of its own, which has joined no other Ray before.
  done = subprocess.run(
    [sys.executable, '-m', 'tests.distribution.two_machines'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.split() == ['waited', 'seated', 'stopped']
