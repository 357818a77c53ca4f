"""Who listens at an address: found out in seconds, and without Ray.

Ray's own client tries for half a minute whatever listens there, and prints
lines of its own meanwhile.
"""

from collections.abc import Callable
import os
import queue
import re
import socket
import threading
import time
from typing import TypeVar

from mmdist.distribution import faults

WITHIN_S = 10.0  # For everything that is asked of a head together.
_EXPECTED = 'expected the HOST:PORT that `ray start --head` prints'
_INLINE = '--executor=inline works without it.'
_ADDRESS = re.compile(r'(\[[\w:.%]+\]|[^\s\[\]:/@]+):([0-9]{1,5})')
# How a client of HTTP/2, which Ray speaks, begins; the server answers with a
# frame of its settings.
_GREETING = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'\0\0\0\4\0\0\0\0\0'
_FRAME_BYTES, _SETTINGS = 9, 4

_T = TypeVar('_T')


def split(address: str) -> tuple[str, int] | None:
  """Returns host and port; None for 'auto'.

  Raises:
    ClusterUnavailable: it is neither 'HOST:PORT' nor 'auto'.
  """
  if address == 'auto':
    return None
  match = _ADDRESS.fullmatch(address)
  if not match or not 0 < int(match[2]) < 65536:
    client = ''
    if address.startswith('ray://'):
      client = ' (a learner cannot be a Ray Client, which is what ray:// means)'
    raise faults.ClusterUnavailable(
      f"the address of the Ray cluster is '{address}'; {_EXPECTED}, such as "
      f"10.0.0.1:6379 or [::1]:6379, or 'auto'{client}."
    )
  return match[1].strip('[]'), int(match[2])


def connect(address: str, place: tuple[str, int]) -> socket.socket:
  """Returns a connection to whoever listens at an address.

  Args:
    address: for the error.
    place: host and port.

  Raises:
    ClusterUnavailable: nobody does, within `WITHIN_S`.
  """

  def connect() -> socket.socket:
    return socket.create_connection(place, WITHIN_S)

  try:
    # Looking up a name takes no limit, and a host may have several addresses.
    return within(WITHIN_S, connect)
  except (OSError, UnicodeError) as error:
    why = faults.describe(error)
    if isinstance(error, TimeoutError):
      why = f'silent for {WITHIN_S:g} s'
    raise faults.ClusterUnavailable(
      f"nobody answers at '{address}' ({why}); {_EXPECTED}; {_INLINE}"
    ) from error


def check_greets(address: str, connection: socket.socket, until: float) -> None:
  """Checks that who listens speaks HTTP/2, as every head of Ray does.

  Args:
    address: for the error.
    connection: is closed.
    until: `time.monotonic()` at which the waiting ends.

  Raises:
    ClusterUnavailable: somebody else listens there.
  """
  with connection:
    if os.environ.get('RAY_USE_TLS', '0').lower() in ('1', 'true'):
      return  # It waits for another greeting.
    said = b''
    try:
      connection.sendall(_GREETING)
      while len(said) < _FRAME_BYTES:
        connection.settimeout(max(until - time.monotonic(), 0.1))
        part = connection.recv(4096)
        if not part:
          break
        said += part
    except OSError as error:
      if isinstance(error, TimeoutError):
        error = TimeoutError(f'nothing was said for {WITHIN_S:g} s')
      raise no_head(address, faults.describe(error)) from error
  if len(said) < _FRAME_BYTES or said[3] != _SETTINGS:
    raise no_head(address, 'who listens there does not speak as Ray does')


def within(seconds: float, function: Callable[[], _T]) -> _T:
  """Returns what a function returns, or raises what it raises.

  Raises:
    TimeoutError: it takes longer; a thread then goes on with it.
  """
  answers: queue.Queue[_T | Exception] = queue.Queue()

  def run() -> None:
    try:
      answers.put(function())
    except Exception as error:  # noqa: BLE001 - it is raised below.
      answers.put(error)

  threading.Thread(target=run, daemon=True).start()
  try:
    answer = answers.get(timeout=max(seconds, 0.0))
  except queue.Empty:
    raise TimeoutError(f'nothing was said for {WITHIN_S:g} s') from None
  if isinstance(answer, Exception):
    raise answer
  return answer


def no_head(address: str, why: str) -> faults.ClusterUnavailable:
  """Returns the error about an address at which somebody else listens."""
  return faults.ClusterUnavailable(
    f"no head of a Ray cluster answers at '{address}' ({why}); {_EXPECTED}; "
    f'{_INLINE}'
  )
