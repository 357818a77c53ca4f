"""The hosts of one learner: what they are told, and who is lost.

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
import sys
import threading
import time
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.learner import host_store

_Tree = TypeVar('_Tree')  # Any pytree of arrays.

SILENT_S = 30.0  # After which a host that says nothing is taken for lost.
_BEAT_S = 1.0  # Between two signs of life.
_SLICE_S = 2.0  # For which an order is waited for; signals are heard between.
SHUTDOWN_S = 5  # For the others to leave, when the run has ended.
_KEPT_ORDERS = 16  # Every host has long read those before.

# What JAX raises where a host is gone in the middle of a computation.
COMPUTING = (jax.errors.JaxRuntimeError, ValueError, RuntimeError)


class Hosts:
  """The hosts of a learner, as one of them sees them; see `host_joining.join`.

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
    self._has_said_why = False  # This one ends.
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
    if host_store.by_rank('asked'):
      self.on_asked()
    host_store.put(f'order/{self._order}', strict_json.dumps(order))
    if self._order >= _KEPT_ORDERS:
      host_store.drop(f'order/{self._order - _KEPT_ORDERS}')
    self._order += 1

  def receive(self) -> dict[str, Any]:
    """Returns the next order, however long it takes; for the other hosts.

    Raises:
      HostLost: host 0 is gone.
    """
    text = None
    while text is None:
      try:
        text = host_store.get(f'order/{self._order}', _SLICE_S)
      except host_store.ERRORS as error:
        raise errors.HostLost(
          f'host 0 of the learner ({self._names[0]}) is gone: '
          f'{first_line(error)}'
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
    """Tells host 0 why this one ends; the first reason counts."""
    if self._has_said_why:
      return
    self._has_said_why = True
    with contextlib.suppress(*host_store.ERRORS):
      host_store.put(f'failed/{self.rank}', line, again=True)

  def close(self) -> None:
    """Ends the orders, and leaves; closing twice is harmless."""
    if self._ended.is_set():
      return
    have_left = False
    if self.leads:
      with contextlib.suppress(errors.HostLost, *host_store.ERRORS):
        self.announce({'do': 'end'})
        have_left = self._await_leaving()
    else:
      self.fail('')  # It leaves, and nothing was wrong.
    self._ended.set()
    self._beating.join()
    host_store.leave(SHUTDOWN_S if have_left else 0)

  def _leave_if_stuck(self) -> None:
    """Ends this process without JAX, which would wait for ever at its exit.

    The handlers of whatever began later have run before.
    """
    if self._is_stuck:
      sys.stdout.flush()
      sys.stderr.flush()
      os._exit(1)

  def _await_leaving(self) -> bool:
    """Returns whether all others have said within a moment that they leave."""
    until = time.monotonic() + SHUTDOWN_S
    while time.monotonic() < until:
      if len(host_store.by_rank('failed')) == self.count - 1:
        return True
      time.sleep(0.05)
    return False

  def _beat(self) -> None:
    number = 0
    while not self._ended.wait(_BEAT_S):
      number += 1
      with contextlib.suppress(*host_store.ERRORS):
        host_store.put(f'alive/{self.rank}', str(number), again=True)
        if self._asked:
          host_store.put(f'asked/{self.rank}', '', again=True)

  def _raise_if_failed(
    self, cause: Exception | None = None, when: str = ''
  ) -> None:
    for rank, line in host_store.by_rank('failed').items():
      raise errors.HostLost(
        f'host {rank} of the learner ({self._names[rank]}) has ended{when}: '
        f'{line or "it was stopped"}; {_REMEDY}'
      ) from cause

  def _raise_if_silent(
    self, limit_s: float, cause: Exception | None = None, when: str = ''
  ) -> None:
    self._raise_if_failed(cause, when)
    now = time.monotonic()
    signs = host_store.by_rank('alive')
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


@functools.cache
def _first_of_each(mesh: Mesh) -> Callable[[_Tree], _Tree]:
  """Returns the function that takes the first of what the hosts have."""
  whole = NamedSharding(mesh, PartitionSpec())
  return jax.jit(
    lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), out_shardings=whole
  )


def first_line(error: BaseException) -> str:
  """Returns the first line of an error; of JAX's, the others are noise."""
  return (str(error).strip().splitlines() or [type(error).__name__])[0]
