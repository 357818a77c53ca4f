"""Two machines in one, and runs that wait for room on the second.

  python -m tests.distribution.two_machines

Prints 'waited' and 'stopped' if a run waited as it should and could be stopped,
and 'seated' if the learner has its GPUs to itself.
"""

import os
import threading

import ray
from ray import cluster_utils

from mmdist.distribution import faults
from mmdist.distribution import gpu_plan
from mmdist.distribution import placement
from mmdist.distribution import ray_executor
from tests.distribution import fake_prior

FAST = placement.Reservation(resources={'fast': 1})


def wait_for_room(cluster) -> None:
  """Another run has what this one wants; it gets it, and then gives it back."""
  names = ('generic', 'normal')
  wants = {
    'generic': FAST,
    'normal': placement.Reservation(node_labels={'rack': 'b'}),
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
    said = []
    room = placement.Room({'another': FAST.options(num_threads=1)})
    waiter = threading.Thread(target=room.wait, kwargs={'tell': said.append})
    waiter.start()
    waiter.join(timeout=1.0)
    assert waiter.is_alive()
    assert said[0].startswith('waiting for room, ')
    assert '1 fast wanted, 0 free (' in said[0]
    assert '1 (0 free)' in said[0]  # The machine that has it.
    running.supervisors['generic'].close()
    running._room.close()
    waiter.join(timeout=30.0)
    assert not waiter.is_alive()
    room.close()
  finally:
    running.close()


def take_a_seat(cluster) -> None:
  """The learner's GPUs are given to nobody else, and have to be its own."""
  recipes = [fake_prior.recipe('generic')]
  wants = {'generic': placement.Reservation(num_gpus=1)}
  with ray_executor.RayExecutor(
    recipes,
    address=cluster.address,
    reservations=wants,
    learner_gpus=('5', '3'),
  ) as running:
    running.wait_until_ready()
    assert ray.available_resources().get('GPU', 0) == 0
    seen = ray.get(running._seat.gpus.remote())
    assert sorted(seen) == ['3', '5'], seen
  try:
    ray_executor.RayExecutor(
      recipes, address=cluster.address, learner_gpus=('0',)
    )
  except faults.ClusterUnavailable as error:
    assert 'which computes on GPU 0; set CUDA_VISIBLE_DEVICES=' in str(error)
    print('seated')


def stop_waiting(cluster) -> None:
  """A run is told to stop while it waits for room that is never free."""

  class Stopped(Exception):
    pass

  def check_stop():
    raise Stopped

  ray.init(cluster.address, ignore_reinit_error=True)
  room = placement.Room({'a': {'num_cpus': 2}, 'b': {'num_cpus': 2}})
  try:
    room.wait(check_stop)
  except Stopped:
    print('stopped')
  room.close()
  ray.shutdown()


def main() -> None:
  placement._SAY_AFTER_S = 0.0
  # The second has what the first has not.
  os.environ[gpu_plan.VISIBLE] = '5,3'  # What the first one's Ray sees.
  cluster = cluster_utils.Cluster(
    initialize_head=True, head_node_args={'num_cpus': 1, 'num_gpus': 2}
  )
  os.environ[gpu_plan.VISIBLE] = '0'
  cluster.add_node(
    num_cpus=2, num_gpus=1, resources={'fast': 1}, labels={'rack': 'b'}
  )
  try:
    wait_for_room(cluster)
    print('waited')
    take_a_seat(cluster)
    stop_waiting(cluster)
  finally:
    cluster.shutdown()


if __name__ == '__main__':
  main()
