"""The head of a cluster: whether it answers, lets us in, and is still there.

Ray itself keeps trying for most of a minute, and says little. So the head is
asked first: whether anybody listens, whether it speaks as Ray does, and what
its versions are. Ray is imported only for the last question, so that a wrong
address is told at once.
"""

from collections.abc import Iterator
import contextlib
import json
import os
import platform
import socket
import sys
import time
from typing import Any

from mmdist.distribution import faults
from mmdist.distribution import knocking
from mmdist.distribution import tokens

# Between two looks at the head of a cluster, and how long it may be silent.
_LOOK_EVERY_S = 2.0
_LOST_AFTER_S = 6.0


def check_first(address: str | None) -> None:
  """Checks an address before anything slow begins; see `check`.

  Args:
    address: None if Ray is to be started here: then there is nothing to check,
      and nothing either where this process has joined a Ray before.

  Raises:
    ClusterUnavailable, UserError: in one line.
  """
  ray = sys.modules.get('ray')
  if address is not None and not (ray and ray.is_initialized()):
    check(address)


def check(address: str) -> None:
  """Checks that a head answers, lets this process in and has its versions.

  If it asks for a token and the person has one, Ray in this process shows it
  from then on.

  Args:
    address: 'HOST:PORT'; or 'auto', which is left to Ray.

  Raises:
    ClusterUnavailable: in one line, within `knocking.WITHIN_S`.
    UserError: the person's token cannot be read.
  """
  place = knocking.split(address)
  if not tokens.may_join():
    raise faults.ClusterUnavailable(
      f"this process cannot join the Ray cluster at '{address}': it has "
      'started a Ray of its own before, and keeps the token of that one; '
      'begin anew in another process (of a notebook, restart the kernel).'
    )
  if place is None:
    return
  until = time.monotonic() + knocking.WITHIN_S
  knocking.check_greets(address, knocking.connect(address, place), until)
  left = until - time.monotonic()
  import ray  # It may take longer than the head has.

  metadata = _ask(address, time.monotonic() + left)
  _check_versions(address, metadata, ray.__version__)


def _ask(address: str, until: float) -> dict[str, Any]:
  """Returns what a head says about its cluster.

  Raises:
    ClusterUnavailable: it is no head of Ray, or it asks for a token that this
      process has not.
    UserError: the person's token cannot be read.
  """
  from ray.exceptions import AuthenticationError

  tokens.show_no_more()
  token, mode = tokens.find(), tokens.mode()
  if mode and not tokens.is_off() and not token:
    # A client of Ray would now end this process.
    raise faults.ClusterUnavailable(
      f'{tokens.MODE} is set to token and there is none to show to the Ray '
      f"cluster at '{address}'; {tokens.REMEDY}."
    )
  try:
    try:
      return _metadata(address, until)
    except AuthenticationError:
      if mode is not None or not token:
        raise
      tokens.show()
      return _metadata(address, until)
  except AuthenticationError as error:
    asks, has = 'another token than yours', ''
    if not token:
      asks, has = 'a token', ' and you have none'
      if tokens.is_off():
        has = f', and {tokens.MODE} is {mode!r} here'
    tokens.show_no_more()
    raise faults.ClusterUnavailable(
      f"the Ray cluster at '{address}' asks for {asks}{has}; {tokens.REMEDY}."
    ) from error
  except Exception as error:
    tokens.show_no_more()
    raise knocking.no_head(
      address, tokens.hide(faults.describe(error))
    ) from error


def _metadata(address: str, until: float) -> dict[str, Any]:
  # Ray's own commands ask in the same way; there is no public one. Its types
  # do not know the compiled module.
  from ray._raylet import GcsClient  # type: ignore[attr-defined]

  def ask() -> bytes | None:
    client = GcsClient(address=address)
    return client.internal_kv_get(
      b'CLUSTER_METADATA', b'cluster', timeout=knocking.WITHIN_S
    )

  with _unheard():
    # The client tries for 40 s and takes no limit.
    found = knocking.within(until - time.monotonic(), ask)
  return json.loads(found) if found else {}


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
  """Keeps what Ray's compiled part prints off the terminal.

  It prints a warning whenever it is refused, also where the token is shown a
  moment later. What there is to say is in the error.
  """
  try:
    kept = os.dup(2)
  except OSError:  # This process has no stderr.
    yield
    return
  try:
    with open(os.devnull, 'wb') as nowhere:
      os.dup2(nowhere.fileno(), 2)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)


def _check_versions(address: str, metadata: dict[str, Any], ray: str) -> None:
  """Raises ClusterUnavailable if processes of both could not work together.

  Args:
    address: for the error.
    metadata: what the head says.
    ray: version of this process's.
  """
  theirs = metadata.get('ray_version'), metadata.get('python_version')
  ours = ray, platform.python_version()
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
