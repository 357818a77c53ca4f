"""The hosts of a run's learner: who starts them, and what the others do.

With `learner.num_hosts` above 1 the hosts are started from outside, each with
the same command, and find each other by their environment (Slurm, a TPU pod,
or JAX_COORDINATOR_ADDRESS); or, on a Ray cluster, this process starts the
others as actors.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from mmdist.api import executors
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import representation as representation_lib
from mmdist.core import source_hash
from mmdist.objectives import binding
from mmdist.run import host_environment

if TYPE_CHECKING:  # Not at run time, because they import JAX and Ray.
  from mmdist.distribution import learner_ranks
  from mmdist.distribution.placement import Room
  from mmdist.learner import hosts as hosts_lib

_HOW = (
  'start this command on each host with srun, on all workers of a TPU pod, or '
  'with JAX_COORDINATOR_ADDRESS=HOST:PORT of the first and JAX_PROCESS_ID; or '
  'give --ray_address of a cluster'
)


def follows(config: schema.RunConfig) -> bool:
  """Returns whether this process is to follow host 0 of a run."""
  return config.learner.num_hosts > 1 and bool(host_environment.rank_here())


def check(config: schema.RunConfig, executor: executors.ExecutorLike) -> None:
  """Raises UserError if nobody starts the other hosts of a run."""
  count, rank = config.learner.num_hosts, host_environment.rank_here()
  if count == 1:
    return
  if isinstance(executor, executors.SharedActors):
    raise errors.UserError(
      f'learner.num_hosts={count}, and a cell of a sweep runs on one host; '
      'expected 1.'
    )
  by_ray = isinstance(executor, executors.RayOptions) and executor.address
  if rank is None and not by_ray:
    raise errors.UserError(
      f'learner.num_hosts={count}, and nobody starts the others: {_HOW}.'
    )
  if rank is not None:
    host_environment.check(count)


@contextlib.contextmanager
def joined(
  config: schema.RunConfig,
  executor: executors.ExecutorLike,
  recipes: Sequence[messages.PriorRecipe],
  representation: representation_lib.Representation | None,
  num_devices: int,
  check_stop: Callable[[], None],
) -> Iterator['tuple[hosts_lib.Hosts | None, Room | None]']:
  """Yields the hosts that this process leads, and room for the priors.

  It yields None for the hosts if this process is alone, and for the room unless
  it was reserved together with that of hosts.

  Args:
    config: checked, see `check`.
    executor: of the run.
    recipes: of its priors.
    representation: what is optimised; None is the one of `config`.
    num_devices: CPU devices of a host that has no GPU.
    check_stop: called now and then while it waits; may raise.

  Raises:
    UserError: not all came, or they differ from each other.
    ClusterUnavailable: the cluster has too few machines.
  """
  count = config.learner.num_hosts
  if count == 1:
    yield None, None
    return
  with contextlib.ExitStack() as stack:
    if host_environment.rank_here() is not None:
      hosts, room = _join(config), None
    else:
      ranks = _start_through_ray(
        config, executor, recipes, num_devices, check_stop
      )
      stack.callback(ranks.close)
      room = ranks.room
      ranks.follow(
        functools.partial(
          _follow_as_actor,
          *(config, representation, num_devices, ranks.coordinator),
        )
      )
      hosts = _join(config, (ranks.coordinator, 0, socket.gethostname()))
    stack.callback(hosts.close)
    yield hosts, room


def follow(
  config: schema.RunConfig,
  representation: representation_lib.Representation | None,
  num_devices: int,
) -> None:
  """Does what host 0 says until its run ends; for the other hosts.

  Args:
    config: of the run.
    representation: as of `joined`.
    num_devices: as of `joined`.

  Raises:
    HostLost: host 0, or another host, is gone.
    UserError: see `joined`.
  """
  _set_up(num_devices)
  hosts = _join(config)

  with _asking(hosts):
    _obey(config, representation, hosts)


@contextlib.contextmanager
def _asking(hosts: 'hosts_lib.Hosts') -> Iterator[None]:
  """Hands signals to host 0, which decides when the run ends.

  Those who end a job send them to all of its processes, or to any.
  """
  before = {}
  # Python allows handlers in the main thread only.
  if threading.current_thread() is threading.main_thread():
    for number in (signal.SIGTERM, signal.SIGINT):
      before[number] = signal.signal(number, lambda *_: hosts.ask())
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _follow_as_actor(
  config: schema.RunConfig,
  representation: representation_lib.Representation | None,
  num_devices: int,
  coordinator: str,
  rank: int,
  name: str,
) -> None:
  """Is `follow` in the process of a Ray actor."""
  _set_up(num_devices)
  _obey(config, representation, _join(config, (coordinator, rank, name)))


def _set_up(num_devices: int) -> None:
  # Here, because it imports JAX.
  from mmdist.run import device_setup

  device_setup.set_up_jax(num_devices)


def _obey(
  config: schema.RunConfig,
  representation: representation_lib.Representation | None,
  hosts: 'hosts_lib.Hosts',
) -> None:
  from mmdist.learner import hosts as learner_hosts
  from mmdist.learner import mirror
  from mmdist.run import opening

  try:
    if representation is None:
      representation = opening.representation_of(config)
    objective = binding.bind_config(config)
    learner = mirror.make_learner(
      representation,
      config,
      with_normals='normal' in objective.channels,
      hosts=hosts,
    )
    mirror.follow(learner, representation, config, hosts)
  except BaseException as error:
    hosts.fail(f'{type(error).__name__}: {learner_hosts.first_line(error)}')
    raise
  finally:
    hosts.close()


def _join(
  config: schema.RunConfig, given: tuple[str, int, str] | None = None
) -> 'hosts_lib.Hosts':
  return host_environment.join(
    config.learner.num_hosts, serialization.to_dict(config), given
  )


def _start_through_ray(
  config: schema.RunConfig,
  executor: executors.ExecutorLike,
  recipes: Sequence[messages.PriorRecipe],
  num_devices: int,
  check_stop: Callable[[], None],
) -> 'learner_ranks.Ranks':
  """Starts the other hosts on other machines of a cluster."""
  # Here, because importing Ray takes a second.
  from mmdist.distribution import learner_ranks
  from mmdist.distribution import ray_executor
  from mmdist.run import resuming

  if not isinstance(executor, executors.RayOptions) or not executor.address:
    raise TypeError(f'no cluster in {executor!r}')  # `check` has refused it.
  gpus = executors.learner_gpus(config)

  def beside() -> dict[Any, dict[str, Any]]:
    # Which priors share an actor follows from their files.
    shared = resuming.with_files(recipes, resuming.weight_digests(recipes))
    priors = ray_executor.options_of_actors(
      {recipe.spec.name: recipe for recipe in shared},
      executors.reservations_of(config),
    )
    return ray_executor.with_seat(priors, gpus)

  cpus = config.learner.num_devices or num_devices
  return learner_ranks.Ranks(
    config.learner.num_hosts - 1,
    learner_ranks.Cluster(
      executor.address, executor.ship_code, source_hash.name_code()
    ),
    {'num_gpus': len(gpus), 'num_cpus': 1 if gpus else cpus},
    beside,
    check_stop,
  )
