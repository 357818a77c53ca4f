"""What is reserved, what can never be, and what is waited for."""

import threading

import pytest
import ray
from ray import cluster_utils

from mmdist.distribution import faults
from mmdist.distribution import placement
from mmdist.distribution import ray_executor
from tests.distribution import fake_prior

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
  monkeypatch.setattr(placement, '_this_machine', lambda: 'node:10.0.0.1')


def reserve(**wants):
  return placement.Reservation(**wants)


@pytest.mark.parametrize(
  'wanted',
  [
    [reserve(num_cpus=8), reserve(num_cpus=4, num_gpus=1)],
    [reserve(num_gpus=0.5), reserve(num_gpus=0.5)],
    [reserve(resources={'fast': 2}), reserve(node_labels={'rack': 'b'})],
    [reserve(colocate='learner', num_cpus=8)],
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
      r'reserve 16 CPU and Ray has 12 \(head 8, worker 4\); lower their num_c',
    ),
    ([reserve(num_gpus=1)] * 2, r'reserve 2 GPU and Ray has 1 \(head 0, work'),
    (
      [reserve(num_cpus=6, num_gpus=1)],
      'reserves 6 CPU, 1 GPU, and no machine',
    ),
    ([reserve(resources={'fats': 1})], 'reserve 1 fats and Ray has 0'),
    (
      [reserve(node_labels={'rack': 'c'})],
      r"reserves 1 CPU with the labels \{'rack': 'c'\}, and no machine",
    ),
    ([reserve(colocate='learner', num_gpus=1)], 'and no machine has all of it'),
  ],
)
def test_what_can_never_be_placed_is_said(wanted, line, machines):
  with pytest.raises(faults.ClusterUnavailable, match=line) as error:
    placement.check_room(options(*wanted))
  assert '\n' not in str(error.value)


@pytest.fixture(scope='module')
def cluster():
  """A cluster of two machines, of which one has what the other has not."""
  made = cluster_utils.Cluster(
    initialize_head=True, head_node_args={'num_cpus': 1}
  )
  made.add_node(num_cpus=2, resources={'fast': 1}, labels={'rack': 'b'})
  yield made
  made.shutdown()


@pytest.mark.slow
def test_a_run_waits_for_its_room_and_says_so(cluster, monkeypatch):
  monkeypatch.setattr(placement, '_SAY_AFTER_S', 0.0)
  names = ('generic', 'normal')
  wants = {
    'generic': reserve(resources={'fast': 1}),
    'normal': reserve(node_labels={'rack': 'b'}),
  }
  recipes = [fake_prior.recipe(name) for name in names]
  running = ray_executor.RayExecutor(
    recipes, address=cluster.address, reservations=wants
  )
  try:
    answers = running.submit(fake_prior.requests(0, *names)).result()
    assert sorted(answers) == sorted(names)
    nodes = {one._process.node for one in running.supervisors.values()}
    assert len(nodes) == 1  # The machine that has both.
    # Another run wants the same, and waits until this one has ended.
    said = []
    room = placement.Room(options(wants['generic']))
    waiter = threading.Thread(target=room.wait, kwargs={'tell': said.append})
    waiter.start()
    waiter.join(timeout=3.0)
    assert waiter.is_alive()
    assert said[0].startswith('waiting for room, ')
    assert '1 fast wanted, 0 free of' in said[0]
    running.supervisors['generic'].close()
    running._room.close()
    waiter.join(timeout=30.0)
    assert not waiter.is_alive()
    room.close()
  finally:
    running.close()


@pytest.mark.slow
def test_waiting_for_room_can_be_stopped(cluster):
  class Stopped(Exception):
    pass

  def check_stop():
    raise Stopped

  taken = ray.init(cluster.address, ignore_reinit_error=True)
  room = placement.Room({'a': {'num_cpus': 2}, 'b': {'num_cpus': 2}})
  with pytest.raises(Stopped):
    room.wait(check_stop)
  room.close()
  assert taken is not None
  ray.shutdown()
