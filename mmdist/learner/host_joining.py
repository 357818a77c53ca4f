"""How the hosts of a learner find each other, and what they have to share."""

from collections.abc import Mapping, Sequence
import json
import os
import socket
import sys
import threading
from typing import Any

import jax

from mmdist.config import serialization
from mmdist.core import errors
from mmdist.core import platforms
from mmdist.core import strict_json
from mmdist.learner import host_store
from mmdist.learner import hosts as hosts_lib

JOIN_S = 300.0  # For all hosts to join.
# JAX's own patience. A lost host is found by `hosts` much sooner.
_HEARTBEAT_S = 100


def join(
  count: int,
  facts: Mapping[str, Any],
  name: str,
  address: str | None = None,
  rank: int | None = None,
) -> hosts_lib.Hosts:
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
  # JAX would end this process with a page of addresses.
  patience = threading.Timer(JOIN_S, _give_up, (count,))
  patience.daemon = True
  patience.start()
  try:
    jax.distributed.initialize(
      address,
      count if address else None,
      rank,
      initialization_timeout=int(JOIN_S) + 60,
      heartbeat_timeout_seconds=_HEARTBEAT_S,
      shutdown_timeout_seconds=hosts_lib.SHUTDOWN_S,
    )
  except (RuntimeError, ValueError, TypeError) as error:
    raise errors.UserError(
      f'learner.num_hosts={count}: this host could not join the others: '
      f'{hosts_lib.first_line(error)}; start {count} processes, each new and '
      'with JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID or what Slurm sets.'
    ) from error
  finally:
    patience.cancel()
  mine, there = host_store.me()
  if there != count:
    host_store.leave(hosts_lib.SHUTDOWN_S)
    raise errors.UserError(
      f'learner.num_hosts={count}, but {there} processes were started; '
      'expected as many.'
    )
  found = {**facts, 'host': name, 'problem': _unreachable(name)}
  names = _compare(mine, count, found)
  return hosts_lib.Hosts(mine, count, names)


def _give_up(count: int) -> None:
  """Ends this process, of which nothing is written yet."""
  sys.stderr.write(
    f'error: num_hosts={count}, and not all hosts have joined within '
    f'{JOIN_S:.0f} s; start as many processes, and see that they reach the '
    'port of the first.\n'
  )
  sys.stderr.flush()
  os._exit(1)


def _unreachable(name: str) -> str:
  """Returns a line if the other hosts could not reach this one, or ''.

  On a CPU JAX listens at the address that the machine's own name stands for.
  """
  coordinator = host_store.coordinator()
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
  host_store.put(f'facts/{rank}', strict_json.dumps(facts))
  if rank == 0:
    verdict = _judge([_read(f'facts/{other}') for other in range(count)])
    host_store.put('verdict', strict_json.dumps(verdict))
  verdict = _read('verdict')
  if verdict['line']:
    host_store.leave(hosts_lib.SHUTDOWN_S)
    raise errors.UserError(verdict['line'])
  return dict(enumerate(verdict['names']))


def _read(name: str) -> Any:
  text = host_store.get(name, JOIN_S)
  if text is None:
    raise errors.UserError(
      f'another host of the learner joined and then said nothing for '
      f'{JOIN_S:.0f} s; look at what it has printed.'
    )
  return json.loads(text)


def _judge(everybody: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Returns the names of the hosts, and a line if they cannot work together."""
  names = [one.pop('host') for one in everybody]
  line = ''.join(one.pop('problem') for one in everybody)
  for other, one in enumerate(everybody):
    changed = serialization.differences(one, everybody[0])
    if changed and not line:
      line = (
        f'host {other} of the learner ({names[other]}) is not as host 0: '
        f'{"; ".join(changed)}; start all with the same code and command.'
      )
  return {'line': line, 'names': names}
