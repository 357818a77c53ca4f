"""A head that answers Ray's own client, as far as it is asked before joining.

It speaks as much HTTP/2 and gRPC as that takes: each request has its answer,
and nothing else is ever said.
"""

from collections.abc import Iterator
import contextlib
import json
import platform
import socket
import struct
import threading

import ray

_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
_UNAUTHENTICATED = b'16'
OURS = {
  'ray_version': ray.__version__,
  'python_version': platform.python_version(),
}


class FakeHead:
  """Listens until it is closed.

  Attributes:
    address: 'HOST:PORT'.
    asked: of each request, whether it showed a token.

  Args:
    token: that is asked for; '' asks for none.
    versions: of Ray and Python that it tells.
    host: that it listens at.
  """

  def __init__(
    self,
    token: str = '',
    versions: dict | None = None,
    host: str = '127.0.0.1',
  ):
    self.asked: list[bool] = []
    self._token = token.encode()
    self._told = json.dumps(OURS if versions is None else versions).encode()
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    self._server = socket.create_server((host, 0), family=family)
    port = self._server.getsockname()[1]
    self.address = f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
    threading.Thread(target=self._accept, daemon=True).start()

  def close(self) -> None:
    self._server.close()

  def _accept(self) -> None:
    with contextlib.suppress(OSError):  # It was closed.
      while True:
        connection, _ = self._server.accept()
        threading.Thread(
          target=self._serve, args=(connection,), daemon=True
        ).start()

  def _serve(self, connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError, EOFError):
      stream = connection.makefile('rb')
      _read(stream, len(_PREFACE))
      connection.sendall(_frame(_SETTINGS, 0, 0, b''))
      for kind, flags, number, payload in _frames(stream):
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
          answer = payload if kind == _PING else b''
          connection.sendall(_frame(kind, _ACK, 0, answer))
        if kind == _HEADERS:
          connection.sendall(self._answer(number, payload))

  def _answer(self, stream: int, headers: bytes) -> bytes:
    has_token = b'Bearer ' in headers
    is_right = b'Bearer ' + self._token in headers
    self.asked.append(has_token)
    begin = _header(b':status', b'200')
    begin += _header(b'content-type', b'application/grpc')
    if self._token and not is_right:
      end = _header(b'grpc-status', _UNAUTHENTICATED)
      end += _header(b'grpc-message', b'InvalidAuthToken: of a fake head')
      flags = _END_HEADERS | _END_STREAM
      return _frame(_HEADERS, flags, stream, begin + end)
    # The second field of either reply: the id of the cluster, which has 28
    # bytes, or the value that was asked for.
    value = b'i' * 28 if b'GetClusterId' in headers else self._told
    message = bytes([2 << 3 | 2, len(value)]) + value
    body = struct.pack('>BI', 0, len(message)) + message
    return (
      _frame(_HEADERS, _END_HEADERS, stream, begin)
      + _frame(_DATA, 0, stream, body)
      + _frame(
        _HEADERS,
        _END_HEADERS | _END_STREAM,
        stream,
        _header(b'grpc-status', b'0'),
      )
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
  begin = struct.pack('>I', len(payload))[1:] + bytes([kind, flags])
  return begin + struct.pack('>I', stream) + payload


def _header(name: bytes, value: bytes) -> bytes:
  """Returns a header as a literal without a place in the table."""
  return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def _frames(stream) -> Iterator[tuple[int, int, int, bytes]]:
  while True:
    begin = _read(stream, 9)
    (length,) = struct.unpack('>I', b'\0' + begin[:3])
    (number,) = struct.unpack('>I', begin[5:])
    yield begin[3], begin[4], number, _read(stream, length)


def _read(stream, size: int) -> bytes:
  data = stream.read(size)
  if len(data) < size:
    raise EOFError
  return data
