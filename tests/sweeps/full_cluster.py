"""Four machines in one, with room for a prior and two cells, and no more.

  python -m tests.sweeps.full_cluster

Prints 'reserved' if cells left room for the prior that they wait for, and
'gave way' if one gave its room up after the prior's machine was lost.
"""

import pathlib
import tempfile
import time

import ray
from ray import cluster_utils

from mmdist.config import schema
from mmdist.distribution import placement
from mmdist.sweeps import cell_runner
from mmdist.sweeps import ray_slots
from tests.sweeps import slow_runner

SIZE = ray_slots.Size(2)


@ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)
class Prior:
  """Says where it is."""

  def node(self) -> str:
    return ray.get_runtime_context().get_node_id()


def wait_for(condition, slots, seconds=60.0) -> list:
  """Waits until a condition holds; returns the cells that ended meanwhile."""
  ended, until = [], time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < until
    ended += slots.wait(0.2)
  return ended


def run(cluster, folder: pathlib.Path) -> None:
  """Fills the machines, and takes that of the prior away."""
  room = placement.Room({'prior': {'num_cpus': 1}, 'cell': SIZE.options()})
  said = []
  room.wait(tell=said.append)
  said.clear()

  def make_task(job):
    log = str(folder / 'log')
    config = schema.RunConfig()
    return cell_runner.Task(job.name, config, str(folder / job.name), log)

  # Cells come first, as they do in a sweep.
  slots = ray_slots.RaySlots(
    SIZE,
    3,
    make_task,
    runner=slow_runner.SlowRunner,
    reserved=room.place('cell', SIZE.options()),
    is_whole=lambda: room.is_whole(said.append),
  )
  wait_for(lambda: slots.free() == 2, slots)
  prior = Prior.options(**room.place('prior', {})).remote()
  node = ray.get(prior.node.remote(), timeout=30)
  print('reserved')

  jobs = [ray_slots.scheduling.Job(f'hang-{number}') for number in range(2)]
  for job in jobs:
    slots.start(job)
  (lost,) = [one for one in cluster.list_all_nodes() if one.node_id == node]
  cluster.remove_node(lost)
  answer = prior.node.remote()

  def is_back():
    return bool(ray.wait([answer], timeout=0)[0])

  ended = wait_for(is_back, slots)
  assert ray.get(answer) != node
  assert said and said[0].startswith('waiting for room, '), said
  # One of the two, and it may be tried again.
  ((job, outcome),) = ended
  assert job in jobs and outcome.kind == 'failed' and outcome.may_pass
  print('gave way')
  slots.close()
  room.close()


def main() -> None:
  placement._SAY_AFTER_S = 0.0
  ray_slots._LOOK_FOR_ROOM_EVERY_S = 0.2
  ray_slots._GIVE_WAY_AFTER_S = 1.0
  cluster = cluster_utils.Cluster(
    initialize_head=True, head_node_args={'num_cpus': 0}
  )
  for _ in range(3):
    cluster.add_node(num_cpus=2)
  ray.init(cluster.address, log_to_driver=False)
  with tempfile.TemporaryDirectory() as folder:
    run(cluster, pathlib.Path(folder))
  ray.shutdown()
  cluster.shutdown()


if __name__ == '__main__':
  main()
