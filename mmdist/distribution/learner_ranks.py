"""The other hosts of a learner, as Ray actors: one on each of other machines.

Host 0 is the process that was started by a person, and is no actor. The room of
the others is reserved at once, like that of priors, and no machine has two.
"""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import logging
import socket
from typing import Any

import ray
import ray.util
from ray.util import scheduling_strategies

from mmdist.distribution import actor_environment
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import code_shipping
from mmdist.distribution import faults
from mmdist.distribution import ray_errors
from mmdist.distribution import waiting

_SAY_EVERY_S = 30.0
_SLICE_S = 0.5
_READY_S = 600.0  # For the packages to be sent and imported.
_END_S = 10.0  # For a host to leave after it was told to.


class _Rank:
  """The process of one host."""

  def get_ready(self, code: str) -> None:
    """Raises OtherCode unless this process runs the learner's code."""
    code_shipping.check_same(code)

  def follow(self, function: Callable[[int, str], None], rank: int) -> None:
    """Returns when host 0 has ended the run."""
    function(rank, socket.gethostname())


@dataclasses.dataclass(frozen=True)
class Cluster:
  """Where the hosts are to be; see `ray_executor.RayExecutor`."""

  address: str
  ship_code: bool = True
  code: str = ''


class Ranks:
  """The hosts 1 to N - 1 of a learner.

  Attributes:
    coordinator: HOST:PORT at which host 0 has to wait for them.
  """

  def __init__(
    self,
    num_others: int,
    cluster: Cluster,
    resources: Mapping[str, float],
    check_stop: Callable[[], None],
  ):
    """Reserves their room and starts them; they load what they import.

    Args:
      num_others: how many, beside host 0.
      cluster: the Ray that they run in.
      resources: 'CPU' and 'GPU' that each reserves.
      check_stop: called now and then while it waits; may raise.

    Raises:
      ClusterUnavailable: there are fewer other machines with these resources.
      OtherCode: one of them has another mmdist.
    """
    self._group: Any = None
    self._actors: list[Any] = []
    self._running: list[ray.ObjectRef] = []
    self._cluster = cluster_lib.Cluster(
      cluster.address, {}, ship_code=cluster.ship_code
    )
    try:
      self.coordinator = f'{ray.util.get_node_ip_address()}:{_free_port()}'
      here = ray.get_runtime_context().get_node_id()
      _check_machines(num_others, resources, here)
      self._group = ray.util.placement_group(
        [dict(resources)] * num_others,
        strategy='STRICT_SPREAD',
        bundle_label_selector=[{'ray.io/node-id': f'!{here}'}] * num_others,
      )
      self._wait_for_room(num_others, check_stop)
      self._actors = [
        ray.remote(_Rank).options(**self._options(i, resources)).remote()
        for i in range(num_others)
      ]
      for actor in self._actors:
        waiting.get(
          actor.get_ready.remote(cluster.code), _READY_S, check_stop, _say
        )
    except ray.exceptions.RayError as error:
      self.close()
      raise faults.ClusterUnavailable(
        f'a host of the learner did not start: {ray_errors.last_line(error)}'
      ) from error
    except BaseException:
      self.close()
      raise

  def follow(self, function: Callable[[int, str], None]) -> None:
    """Has every host call a function of its rank and its machine's name.

    Args:
      function: picklable.
    """
    self._running = [
      actor.follow.remote(function, rank)
      for rank, actor in enumerate(self._actors, start=1)
    ]

  def close(self) -> None:
    """Ends the hosts, which have been told before; harmless when repeated."""
    if self._running and not self._cluster.is_lost():
      ray.wait(self._running, num_returns=len(self._running), timeout=_END_S)
    with contextlib.ExitStack() as closing:
      closing.callback(self._cluster.close)
      if self._group is not None:
        closing.callback(ray.util.remove_placement_group, self._group)
      for actor in self._actors:
        closing.callback(ray.kill, actor)
    self._actors, self._running, self._group = [], [], None

  def _options(
    self, index: int, resources: Mapping[str, float]
  ) -> dict[str, Any]:
    strategy = scheduling_strategies.PlacementGroupSchedulingStrategy(
      self._group, placement_group_bundle_index=index
    )
    return {
      'num_cpus': resources.get('CPU', 0),
      'num_gpus': resources.get('GPU', 0),
      'max_restarts': 0,  # A new one could not join those that compute.
      'scheduling_strategy': strategy,
      'runtime_env': actor_environment.runtime_env(1),
    }

  def _wait_for_room(
    self, num_others: int, check_stop: Callable[[], None]
  ) -> None:
    patience = waiting.Patience(_SAY_EVERY_S)
    while not self._group.wait(_SLICE_S):
      check_stop()
      if waited := patience.due():
        logging.warning(
          'waiting for room for %d more hosts of the learner, %s so far',
          *(num_others, waited),
        )


def _check_machines(
  num_others: int, resources: Mapping[str, float], here: str
) -> None:
  others = [n for n in ray.nodes() if n['Alive'] and n['NodeID'] != here]
  fitting = [
    node
    for node in others
    if all(node['Resources'].get(k, 0.0) >= v for k, v in resources.items())
  ]
  if len(fitting) < num_others:
    wants = ', '.join(f'{v:g} {k}' for k, v in resources.items() if v)
    raise faults.ClusterUnavailable(
      f'learner.num_hosts={num_others + 1} wants {num_others} machine(s) '
      f'beside this one, with {wants} each; of the {len(others)} others in the '
      f'cluster {len(fitting)} have that. Add machines, or lower '
      'learner.num_hosts.'
    )


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('', 0))
    port: int = probe.getsockname()[1]
    return port


def _say() -> None:
  """Nothing is said: hosts are there within seconds."""
