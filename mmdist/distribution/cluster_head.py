"""The head of a cluster: whether it answers, lets us in, and is still there.

Ray itself keeps trying for most of a minute, and says little. So the head is
asked first, by a client of Ray's that does nothing else.
"""

import json
import platform
import queue
import socket
import threading
import time
from typing import Any

import ray

from mmdist.distribution import faults
from mmdist.distribution import tokens

CONNECT_WITHIN_S = 10.0
# Between two looks at the head of a cluster, and how long it may be silent.
_LOOK_EVERY_S = 2.0
_LOST_AFTER_S = 6.0
_INLINE = '--executor=inline works without it.'


def check(address: str) -> None:
  """Checks that a head answers, lets this process in and has its versions.

  Args:
    address: 'HOST:PORT'. Another one, such as 'auto', is not checked.

  Raises:
    ClusterUnavailable: in one line, within some seconds.
  """
  host, _, port = address.removeprefix('ray://').rpartition(':')
  if not port.isdecimal():
    return
  _check_listening(address, host, int(port))
  # A client of Ray ends its process if it has no token. `ray.init` does not,
  # and says so at once.
  if not address.startswith('ray://') and tokens.may_ask():
    _check_versions(address, _ask(address))


def _check_listening(address: str, host: str, port: int) -> None:
  try:
    socket.create_connection((host, port), CONNECT_WITHIN_S).close()
  except (OSError, OverflowError) as error:
    raise faults.ClusterUnavailable(
      f"nobody answers at '{address}' ({faults.describe(error)}); expected the "
      f'HOST:PORT that `ray start --head` prints; {_INLINE}'
    ) from error


def _ask(address: str) -> dict[str, Any]:
  """Returns what a head says about its cluster.

  Raises:
    ClusterUnavailable: it is no head of Ray, or it asks for another token.
  """
  answers: queue.Queue[dict[str, Any] | Exception] = queue.Queue()

  def ask() -> None:
    try:
      answers.put(_metadata(address))
    except Exception as error:  # noqa: BLE001 - it is raised below.
      answers.put(error)

  # In a thread of its own, since the client tries for 40 s and takes no limit.
  threading.Thread(target=ask, daemon=True).start()
  try:
    answer = answers.get(timeout=CONNECT_WITHIN_S)
  except queue.Empty:
    answer = TimeoutError(f'nothing was said for {CONNECT_WITHIN_S:g} s')
  if isinstance(answer, ray.exceptions.AuthenticationError):
    raise faults.ClusterUnavailable(
      f"the Ray cluster at '{address}' asks for another token than yours; put "
      f'its token into {tokens.TOKEN}, or name its file in {tokens.TOKEN_PATH}.'
    ) from answer
  if isinstance(answer, Exception):
    raise faults.ClusterUnavailable(
      f"no head of a Ray cluster answers at '{address}' "
      f'({faults.describe(answer)}); expected the HOST:PORT that `ray start '
      f'--head` prints; {_INLINE}'
    ) from answer
  return answer


def _metadata(address: str) -> dict[str, Any]:
  # Ray's own commands ask in the same way; there is no public one. Its types
  # do not know the compiled module.
  from ray._raylet import GcsClient  # type: ignore[attr-defined]

  client = GcsClient(address=address)
  found = client.internal_kv_get(
    b'CLUSTER_METADATA', b'cluster', timeout=CONNECT_WITHIN_S
  )
  return json.loads(found) if found else {}


def _check_versions(address: str, metadata: dict[str, Any]) -> None:
  """Raises ClusterUnavailable if processes of both could not work together."""
  theirs = metadata.get('ray_version'), metadata.get('python_version')
  ours = ray.__version__, platform.python_version()
  if None in theirs:
    return  # Ray itself compares them, too.

  def decisive(versions: Any) -> tuple[str, list[str]]:
    return versions[0], versions[1].split('.')[:2]

  if decisive(theirs) != decisive(ours):
    raise faults.ClusterUnavailable(
      f"the cluster at '{address}' has Ray {theirs[0]} with Python {theirs[1]} "
      f'and this process has Ray {ours[0]} with Python {ours[1]}; expected the '
      'same Ray, and the same Python but for its last number.'
    )


class Watch:
  """Notices that the head of a cluster is gone.

  Ray itself says nothing for a minute, and then ends the whole process.

  Args:
    address: of the head, 'HOST:PORT'.
  """

  def __init__(self, address: str):
    host, _, port = address.rpartition(':')
    self._place = host.strip('[]'), int(port)
    self._looked = time.monotonic()
    self._silent_since: float | None = None

  def is_lost(self) -> bool:
    """Returns whether nobody answers now."""
    return self._knock() is not None

  def _knock(self) -> OSError | None:
    """Returns why nobody answers; None if somebody does."""
    try:
      socket.create_connection(self._place, _LOOK_EVERY_S).close()
    except OSError as error:
      return error
    return None

  def check(self) -> None:
    """Raises ClusterLost once nobody has answered for some seconds."""
    now = time.monotonic()
    if now - self._looked < _LOOK_EVERY_S:
      return
    self._looked = now
    error = self._knock()
    if error is None:
      self._silent_since = None
      return
    self._silent_since = self._silent_since or now
    if now - self._silent_since >= _LOST_AFTER_S:
      raise faults.ClusterLost(
        f'the head of the Ray cluster at {":".join(map(str, self._place))} '
        f'is gone ({faults.describe(error)}); start the cluster again, and '
        'the same command goes on from the last checkpoint.'
      ) from error
