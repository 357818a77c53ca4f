"""Four machines in one, and a prior whose machine vanishes.

  python -m tests.chaos.machines

Prints 'came back' if the prior answered on as if nothing had happened.
"""

import contextlib
import os
import time

import numpy as np
import ray
from ray import cluster_utils

from mmdist.distribution import executor as executor_lib
from mmdist.distribution import ray_executor
from tests.distribution import fake_prior

NAMES = ('generic', 'normal')


@contextlib.contextmanager
def machines():
  """A head without room, and three machines with room for one prior each."""
  cluster = cluster_utils.Cluster(
    initialize_head=True, head_node_args={'num_cpus': 0}
  )
  nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
  cluster.wait_for_nodes()
  ray.init(address=cluster.address, log_to_driver=False, logging_level='ERROR')
  try:
    yield cluster, nodes
  finally:
    ray.shutdown()
    cluster.shutdown()


def lose_a_machine(cluster, nodes) -> None:
  recipes = [fake_prior.recipe(name) for name in NAMES]
  with executor_lib.InlineExecutor(recipes) as inline:
    expected = [
      inline.submit(fake_prior.requests(step, *NAMES)).result()
      for step in range(6)
    ]
  with ray_executor.RayExecutor(recipes) as running:
    for step in range(6):
      if step == 3:
        running.wait_until_ready()
        there = running.supervisors['normal']._process.node
        (lost,) = [node for node in nodes if node.node_id == there]
        pid = running.supervisors['normal']._process.pid
        cluster.remove_node(lost, allow_graceful=False)
        # Its processes notice by and by, as if a cable had been cut.
        with contextlib.suppress(ProcessLookupError):
          while True:
            os.kill(pid, 0)
            time.sleep(0.1)
      answers = running.submit(fake_prior.requests(step, *NAMES)).result()
      for name in NAMES:
        np.testing.assert_array_equal(
          answers[name].cotangent, expected[step][name].cotangent
        )
    assert running.supervisors['normal']._process.node != there


if __name__ == '__main__':
  with machines() as started:
    lose_a_machine(*started)
    print('came back')
