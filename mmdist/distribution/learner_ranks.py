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

from mmdist.core import errors
from mmdist.distribution import actor_environment
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import code_shipping
from mmdist.distribution import faults
from mmdist.distribution import placement
from mmdist.distribution import ray_errors
from mmdist.distribution import waiting

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
    room: of these hosts, and of the others that were given.
  """

  def __init__(
    self,
    num_others: int,
    cluster: Cluster,
    resources: Mapping[str, float],
    beside: Callable[[], Mapping[Any, dict[str, Any]]],
    check_stop: Callable[[], None],
  ):
    """Reserves room for everybody, and starts the hosts.

    Args:
      num_others: how many, beside host 0.
      cluster: the Ray that they run in.
      resources: 'num_cpus' and 'num_gpus' that each reserves.
      beside: returns actor -> Ray's options, of those that need room with them;
        called once Ray is there.
      check_stop: called now and then while it waits; may raise.

    Raises:
      ClusterUnavailable: there are fewer other machines with these resources.
      OtherCode: one of them has another mmdist.
    """
    self.room: placement.Room | None = None
    self._actors: list[Any] = []
    self._running: list[ray.ObjectRef] = []
    self._cluster = cluster_lib.Cluster(
      cluster.address, {}, ship_code=cluster.ship_code
    )
    options = {
      **resources,
      'max_restarts': 0,  # A new one could not join those that compute.
      'runtime_env': actor_environment.runtime_env(1),
    }
    try:
      self.coordinator = f'{ray.util.get_node_ip_address()}:{_free_port()}'
      others = beside()
      machines = placement.choose_machines(num_others, options, others)
      hosts = placement.on_machines(options, machines)
      self.room = placement.Room({**others, **hosts})
      self.room.wait(check_stop, logging.warning)
      self._actors = [
        ray.remote(_Rank).options(**self.room.place(name, one)).remote()
        for name, one in hosts.items()
      ]
      for actor in self._actors:
        ready = actor.get_ready.remote(cluster.code)
        waiting.get(ready, _READY_S, check_stop, lambda: None)
    except ray.exceptions.RayError as error:
      self.close()
      cause = getattr(error, 'cause', None)
      if isinstance(cause, errors.UserError):
        raise cause from error
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
      if self.room is not None and not self._cluster.is_lost():
        closing.callback(self.room.close)
      for actor in self._actors:
        closing.callback(ray.kill, actor)
    self._actors, self._running, self.room = [], [], None


def _free_port() -> int:
  with socket.socket() as probe:
    probe.bind(('', 0))
    port: int = probe.getsockname()[1]
    return port
