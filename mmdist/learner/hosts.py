"""The hosts of one learner: how they join, what they are told, who is lost.

A host is a process with devices of its own. Host 0 runs the loop and asks the
priors; the others follow its orders (`mirror.py`). Orders are small texts in
the key-value store that JAX's processes share, since a host may wait for one
for minutes; arrays go through the devices' own network.
"""

import atexit
from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import json
import os
import socket
import sys
import threading
import time
from typing import Any, TypeVar

import jax
from jax._src import distributed  # JAX has no public door to its store.
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from mmdist.config import serialization
from mmdist.core import errors
from mmdist.core import platforms

_Tree = TypeVar('_Tree')  # Any pytree of arrays.

JOIN_S = 300.0  # For all hosts to join.
SILENT_S = 30.0  # After which a host that says nothing is taken for lost.
_BEAT_S = 1.0  # Between two signs of life.
_SLICE_S = 10.0  # For which an order is waited for at a time.
# JAX's own patience. A lost host is found here much sooner.
_HEARTBEAT_S = 100
_SHUTDOWN_S = 5
_KEPT_ORDERS = 16  # Every host has long read those before.
_SPACE = 'mmdist/learner'

# What JAX raises where a host is gone in the middle of a computation.
COMPUTING = (jax.errors.JaxRuntimeError, ValueError, RuntimeError)


class Hosts:
  """The hosts of a learner, as one of them sees them; see `join`.

  Attributes:
    rank: of this one; 0 leads.
    count: of all of them.
    on_asked: called on host 0 if another host was asked to stop.
  """

  def __init__(self, rank: int, count: int, names: Mapping[int, str]):
    self.rank = rank
    self.count = count
    self.on_asked: Callable[[], None] = lambda: None
    self._names = dict(names)
    self._asked = False  # Whether this host was asked to stop.
    self._is_stuck = False  # Whether JAX waits for a host that is lost.
    atexit.register(self._leave_if_stuck)
    self._order = 0  # Of the next order.
    self._heard: dict[int, tuple[str, float]] = {}  # Rank -> sign, when.
    self._ended = threading.Event()
    self._beating = threading.Thread(target=self._beat, daemon=True)
    self._beating.start()

  @property
  def leads(self) -> bool:
    return self.rank == 0

  @functools.cached_property
  def _mesh(self) -> Mesh:
    """The first device of each host."""
    first = {d.process_index: d for d in reversed(jax.devices())}
    return Mesh([first[rank] for rank in range(self.count)], ('hosts',))

  def announce(self, order: Mapping[str, Any]) -> None:
    """Tells the other hosts what to do next; for host 0.

    Raises:
      HostLost: a host is gone.
    """
    self._raise_if_failed()
    if _directory('asked'):
      self.on_asked()
    store = _store()
    store.key_value_set(f'{_SPACE}/order/{self._order}', json.dumps(order))
    if self._order >= _KEPT_ORDERS:
      store.key_value_delete(f'{_SPACE}/order/{self._order - _KEPT_ORDERS}')
    self._order += 1

  def receive(self) -> dict[str, Any]:
    """Returns the next order, however long it takes; for the other hosts.

    Raises:
      HostLost: host 0 is gone.
    """
    key = f'{_SPACE}/order/{self._order}'
    while True:
      try:
        text = _store().blocking_key_value_get(key, int(1000 * _SLICE_S))
      except jax.errors.JaxRuntimeError as error:
        if 'DEADLINE_EXCEEDED' in str(error):
          continue
        raise errors.HostLost(
          f'host 0 of the learner ({self._names[0]}) is gone: '
          f'{_first_line(error)}'
        ) from error
      self._order += 1
      return dict(json.loads(text))

  def broadcast(self, tree: _Tree) -> _Tree:
    """Returns host 0's arrays, as numpy; all hosts have to call it.

    Args:
      tree: on the other hosts, arrays of the same shapes and dtypes.
    """
    # Not `multihost_utils.broadcast_one_to_all`, which waits for ever for a
    # host whose machine went down.
    spread = NamedSharding(self._mesh, PartitionSpec('hosts'))

    def put(leaf: Any) -> jax.Array:
      mine = np.asarray(leaf)[None]
      shape = (self.count, *mine.shape[1:])
      return jax.make_array_from_process_local_data(spread, mine, shape)

    firsts = _first_of_each(self._mesh)(jax.tree.map(put, tree))
    self.wait(firsts)
    return jax.tree.map(np.asarray, firsts)

  def wait(self, tree: Any) -> None:
    """Returns when arrays are computed, or cannot be any more.

    JAX would wait for ever for a host whose machine went down.

    Raises:
      HostLost: a host has been silent for `SILENT_S`.
    """
    begin = next_look = time.monotonic()
    for leaf in jax.tree.leaves(tree):
      while not leaf.is_ready():
        now = time.monotonic()
        time.sleep(0.0005 if now - begin < 0.1 else 0.002)
        if now >= next_look:
          try:
            self._raise_if_silent(SILENT_S)
          except errors.HostLost:
            self._is_stuck = True
            raise
          next_look = now + _BEAT_S

  @contextlib.contextmanager
  def blamed(self, step: int) -> Iterator[None]:
    """Turns what JAX raises for a host that is gone into `HostLost`.

    Args:
      step: of the run, for the error.
    """
    try:
      yield
    except (errors.UserError, errors.NotFinite):
      raise
    except COMPUTING as error:
      # The connection breaks at once; that it was the host is seen by its
      # silence, a little later.
      until = time.monotonic() + 4 * _BEAT_S
      while time.monotonic() < until:
        time.sleep(_BEAT_S / 4)
        self._raise_if_silent(3 * _BEAT_S, error, f' at step {step}')
      raise

  def ask(self) -> None:
    """Notes that this host was asked to stop; host 0 decides when.

    For a signal handler, so the thread that beats says it.
    """
    self._asked = True

  def fail(self, line: str) -> None:
    """Tells host 0 why this one ends."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      _store().key_value_set(f'{_SPACE}/failed/{self.rank}', line)

  def close(self) -> None:
    """Ends the orders, and leaves; closing twice is harmless."""
    if self._ended.is_set():
      return
    if self.leads:
      with contextlib.suppress(errors.HostLost, jax.errors.JaxRuntimeError):
        self.announce({'do': 'end'})
        self._await_leaving()
    else:
      self.fail('')  # It has left, and nothing was wrong.
    self._ended.set()
    self._beating.join()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      jax.distributed.shutdown()

  def _leave_if_stuck(self) -> None:
    """Ends this process without JAX, which would wait for ever at its exit.

    The handlers of whatever began later have run before.
    """
    if self._is_stuck:
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(1)

  def _await_leaving(self) -> None:
    """Waits a moment for the others: the store ends with host 0."""
    until = time.monotonic() + _SHUTDOWN_S
    while time.monotonic() < until:
      if len(_directory('failed')) == self.count - 1:
        return
      time.sleep(0.05)

  def _beat(self) -> None:
    number = 0
    while not self._ended.wait(_BEAT_S):
      number += 1
      with contextlib.suppress(jax.errors.JaxRuntimeError):
        _store().key_value_set(
          f'{_SPACE}/alive/{self.rank}', str(number), allow_overwrite=True
        )
        if self._asked:
          _store().key_value_set(
            f'{_SPACE}/asked/{self.rank}', '', allow_overwrite=True
          )

  def _raise_if_failed(
    self, cause: Exception | None = None, when: str = ''
  ) -> None:
    for rank, line in _directory('failed').items():
      raise errors.HostLost(
        f'host {rank} of the learner ({self._names[rank]}) has ended{when}: '
        f'{line or "it was stopped"}; {_REMEDY}'
      ) from cause

  def _raise_if_silent(
    self, limit_s: float, cause: Exception | None = None, when: str = ''
  ) -> None:
    self._raise_if_failed(cause, when)
    now = time.monotonic()
    signs = _directory('alive')
    for rank in range(1, self.count):
      sign, since = self._heard.get(rank, ('', now))
      if signs.get(rank, '') != sign or rank not in self._heard:
        self._heard[rank] = (signs.get(rank, ''), now)
      elif now - since > limit_s:
        raise errors.HostLost(
          f'host {rank} of the learner ({self._names[rank]}) was lost{when}: '
          f'it has said nothing for {now - since:.0f} s; {_REMEDY}'
        ) from cause


_REMEDY = (
  'what was done before is saved, and the same command goes on; on fewer '
  'hosts with a lower learner.num_hosts and '
  '--resume_with_changes=learner.num_hosts'
)


def join(
  count: int,
  facts: Mapping[str, Any],
  name: str,
  address: str | None = None,
  rank: int | None = None,
) -> Hosts:
  """Joins the hosts of a learner; before JAX computes anything.

  Args:
    count: of the hosts.
    facts: what has to be the same on all of them, as JSON can hold it.
    name: of this machine, for errors.
    address: HOST:PORT of host 0; None where the environment says it, as under
      Slurm and on a TPU pod.
    rank: of this host; None likewise.

  Raises:
    UserError: not all came, they disagree on a fact, or this process has
      computed with JAX before.
  """
  # One host's death must not end the others before they have saved; and
  # SIGTERM is heard by `mmdist.run.stopping`, not by JAX.
  jax.config.update('jax_enable_recoverability', True)
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
      address,
      count if address else None,
      rank,
      initialization_timeout=int(JOIN_S),
      heartbeat_timeout_seconds=_HEARTBEAT_S,
      shutdown_timeout_seconds=_SHUTDOWN_S,
    )
  except (RuntimeError, ValueError, TypeError) as error:
    raise errors.UserError(
      f'learner.num_hosts={count}: this host could not join the others: '
      f'{_first_line(error)}; start {count} processes, each new and with '
      'JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID or what Slurm sets.'
    ) from error
  state = distributed.global_state
  there, mine = state.num_processes, state.process_id
  if there != count:
    jax.distributed.shutdown()
    raise errors.UserError(
      f'learner.num_hosts={count}, but {there} processes were started; '
      'expected as many.'
    )
  found = {**facts, 'host': name, 'problem': _unreachable(name)}
  names = _compare(mine, count, found)
  return Hosts(mine, count, names)


def _unreachable(name: str) -> str:
  """Returns a line if the other hosts could not reach this one, or ''.

  On a CPU JAX listens at the address that the machine's own name stands for.
  """
  coordinator = distributed.global_state.coordinator_address
  if not platforms.is_cpu() or _is_loopback(coordinator.rpartition(':')[0]):
    return ''
  own = socket.gethostname()
  if not _is_loopback(own):
    return ''
  return (
    f"on {name} the machine's own name '{own}' stands for "
    f'{socket.gethostbyname(own)}, where no other host of the learner can '
    'reach it; give it the address of its network in /etc/hosts. '
  )


def _is_loopback(host: str) -> bool:
  try:
    return socket.gethostbyname(host.strip('[]')).startswith('127.')
  except OSError:  # An address that IPv4 does not know.
    return False


def _compare(rank: int, count: int, facts: Mapping[str, Any]) -> dict[int, str]:
  """Returns the names of all hosts, once they agree on everything else."""
  store = _store()
  store.key_value_set(f'{_SPACE}/facts/{rank}', json.dumps(facts))
  limit = int(1000 * JOIN_S)
  if rank == 0:
    everybody = [
      json.loads(store.blocking_key_value_get(f'{_SPACE}/facts/{i}', limit))
      for i in range(count)
    ]
    names = [one.pop('host') for one in everybody]
    line = ''.join(one.pop('problem') for one in everybody)
    for other, one in enumerate(everybody):
      if line:
        break
      if changed := serialization.differences(one, everybody[0]):
        line = (
          f'host {other} of the learner ({names[other]}) is not as host 0: '
          f'{"; ".join(changed)}; start all with the same code and command.'
        )
        break
    verdict = json.dumps({'line': line, 'names': names})
    store.key_value_set(f'{_SPACE}/verdict', verdict)
  verdict = json.loads(store.blocking_key_value_get(f'{_SPACE}/verdict', limit))
  if verdict['line']:
    # Host 0 holds the store, so it waits for the others to read this.
    if rank:
      store.key_value_set(f'{_SPACE}/failed/{rank}', verdict['line'])
    else:
      with contextlib.suppress(jax.errors.JaxRuntimeError):
        for other in range(1, count):
          store.blocking_key_value_get(f'{_SPACE}/failed/{other}', 5000)
    jax.distributed.shutdown()
    raise errors.UserError(verdict['line'])
  return dict(enumerate(verdict['names']))


@functools.cache
def _first_of_each(mesh: Mesh) -> Callable[[_Tree], _Tree]:
  """Returns the function that takes the first of what the hosts have."""
  whole = NamedSharding(mesh, PartitionSpec())
  return jax.jit(
    lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), out_shardings=whole
  )


def _store() -> Any:
  return distributed.global_state.client


def _directory(name: str) -> dict[int, str]:
  """Returns rank -> text of what the hosts have put under a name."""
  found = _store().key_value_dir_get(f'{_SPACE}/{name}/')
  return {int(key.rsplit('/', 1)[1]): text for key, text in found}


def _first_line(error: BaseException) -> str:
  return (str(error).strip().splitlines() or [type(error).__name__])[0]
