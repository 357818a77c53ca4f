"""What is said of a head that is not there, not Ray's, another's, or gone."""

import contextlib
import os
import socket
import sys
import threading
import time

import pytest
import ray

from mmdist.distribution import cluster_head
from mmdist.distribution import faults
from mmdist.distribution import knocking
from mmdist.distribution import tokens
from tests.distribution import fake_head

TOKEN = 'ab' * 32


@pytest.fixture(autouse=True)
def person(tmp_path, monkeypatch):
  """A person without a token, who has not said whether there are any."""
  # Taken back at the end, also what is set here.
  for name in (tokens.MODE, tokens.TOKEN, tokens.TOKEN_PATH):
    monkeypatch.setenv(name, '')
    monkeypatch.delenv(name)
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.setattr(tokens, '_started_with', [])
  tokens._reread()
  yield
  tokens.show_no_more()
  monkeypatch.undo()
  tokens._reread()


def error_of(address: str) -> str:
  """Returns the one line that is said of an address."""
  with pytest.raises(faults.ClusterUnavailable) as error:
    cluster_head.check(address)
  assert '\n' not in str(error.value)
  assert TOKEN not in str(error.value)
  return str(error.value)


@contextlib.contextmanager
def listener(reply: bytes | None, host: str = '127.0.0.1'):
  """An address at which somebody says something and hangs up, or is silent."""

  def serve() -> None:
    with contextlib.suppress(OSError):
      while True:
        connection, _ = server.accept()
        kept.append(connection)
        if reply is not None:
          connection.sendall(reply)
          connection.shutdown(socket.SHUT_WR)

  kept: list[socket.socket] = []
  with socket.create_server((host, 0)) as server:
    threading.Thread(target=serve, daemon=True).start()
    yield f'{host}:{server.getsockname()[1]}'


def test_an_address_where_nobody_listens_is_one_line():
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))  # And does not listen.
    address = f'127.0.0.1:{taken.getsockname()[1]}'
    assert f"nobody answers at '{address}' (Conn" in error_of(address)


@pytest.mark.parametrize(
  'address',
  ['', 'head', ':', 'head:', ':6379', 'ray://head', 'ray://head:10001']
  + ['http://head:8265', 'head:0', 'head:65536', 'a b:6379', '::1:6379']
  + ['head:6379\n', 'local', 'me@head:6379'],
)
def test_what_is_no_address_is_told_with_what_one_is(address):
  with pytest.raises(faults.ClusterUnavailable) as error:
    cluster_head.check(address)
  line = str(error.value)
  assert line.startswith(f"the address of the Ray cluster is '{address}'; exp")
  assert '10.0.0.1:6379' in line and "'auto'" in line
  assert ('Ray Client' in line) is address.startswith('ray://')


def test_a_name_that_can_be_no_hosts_is_one_line():
  assert 'nobody answers at' in error_of(f'{"a" * 70}.b:6379')


def test_somebody_silent_is_told_within_one_budget(monkeypatch):
  assert knocking.WITHIN_S == 10.0
  monkeypatch.setattr(knocking, 'WITHIN_S', 0.5)
  began = time.monotonic()
  with listener(None) as address:
    assert '(TimeoutError: nothing was said for 0.5 s)' in error_of(address)
  assert time.monotonic() - began < 3


def test_a_name_that_is_looked_up_for_ever_is_told_within_one_budget(
  monkeypatch,
):
  monkeypatch.setattr(knocking, 'WITHIN_S', 0.5)
  begun = threading.Event()

  def look_up(*given):
    begun.wait(30)

  monkeypatch.setattr(socket, 'create_connection', look_up)
  began = time.monotonic()
  assert "nobody answers at 'head:1' (silent for 0.5 s)" in error_of('head:1')
  assert time.monotonic() - began < 3
  begun.set()


@pytest.mark.parametrize(
  'reply',
  [
    b'',
    b'SSH-2.0-OpenSSH_9.2\r\n',
    b'HTTP/1.1 400 Bad Request\r\n\r\n',
    b'abc',
  ],
)
def test_somebody_who_is_no_head_is_told_at_once(reply):
  began = time.monotonic()
  with listener(reply) as address:
    line = error_of(address)
  assert line.startswith(f"no head of a Ray cluster answers at '{address}' (")
  assert time.monotonic() - began < 5


def test_a_head_that_says_nothing_more_is_told_within_one_budget(monkeypatch):
  monkeypatch.setattr(knocking, 'WITHIN_S', 1.0)
  monkeypatch.setattr(fake_head.FakeHead, '_answer', lambda *given: b'')
  began = time.monotonic()
  with contextlib.closing(fake_head.FakeHead()) as head:
    assert 'no head of a Ray cluster answers' in error_of(head.address)
  assert time.monotonic() - began < 5


def has_ipv6() -> bool:
  with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
    probe.bind(('::1', 0))
    return True
  return False


@pytest.mark.parametrize('host', ['127.0.0.1', '::1'])
@pytest.mark.parametrize(
  'versions',
  [
    fake_head.OURS,
    fake_head.OURS
    | {'python_version': f'{sys.version_info[0]}.{sys.version_info[1]}.99'},
    {},
  ],
)
def test_a_head_of_our_versions_is_left_to_ray(host, versions):
  if host == '::1' and not has_ipv6():
    pytest.skip('this machine has no IPv6')
  with contextlib.closing(fake_head.FakeHead('', versions, host)) as head:
    cluster_head.check(head.address)
    assert head.asked
  assert tokens.MODE not in os.environ


@pytest.mark.parametrize(
  'theirs, words',
  [
    ({'ray_version': '2.1.0'}, 'has Ray 2.1.0 with Python '),
    ({'python_version': '3.9.18'}, 'with Python 3.9.18 and this process has '),
  ],
)
def test_a_cluster_of_other_versions_is_refused(theirs, words):
  versions = fake_head.OURS | theirs
  with contextlib.closing(fake_head.FakeHead('', versions)) as head:
    line = error_of(head.address)
  assert words in line and ray.__version__ in line


@pytest.mark.parametrize(
  'variables, words',
  [
    ({}, 'asks for a token and you have none; set RAY_AUTH_TOKEN to'),
    (
      {tokens.MODE: 'disabled'},
      "asks for a token, and RAY_AUTH_MODE is 'disabled' here; set",
    ),
    (
      {tokens.MODE: 'disabled', tokens.TOKEN: TOKEN},
      "asks for a token, and RAY_AUTH_MODE is 'disabled' here; set",
    ),
    ({tokens.MODE: 'token'}, 'RAY_AUTH_MODE is set to token and there is none'),
    ({tokens.TOKEN: 'cd' * 32}, 'asks for another token than yours; set RAY_'),
    (
      {tokens.TOKEN: 'cd' * 32, tokens.MODE: 'token'},
      'asks for another token than yours; set RAY_',
    ),
  ],
)
def test_a_head_that_asks_for_a_token_is_told_with_what_to_set(
  variables, words, monkeypatch, capfd
):
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  tokens._reread()
  began = time.monotonic()
  with contextlib.closing(fake_head.FakeHead(TOKEN)) as head:
    line = error_of(head.address)
  assert time.monotonic() - began < 5
  assert words in line and 'RAY_AUTH_TOKEN_PATH' in line
  assert 'RAY_AUTH_MODE=token' in line
  assert 'cdcd' not in line
  assert os.environ.get(tokens.MODE) == variables.get(tokens.MODE)
  assert not capfd.readouterr().err  # Ray's compiled part would print.


@pytest.mark.parametrize('where', ['variable', 'file', 'home'])
def test_a_token_is_shown_to_a_head_that_asks_for_one_and_to_no_other(
  where, monkeypatch, tmp_path, capfd
):
  if where == 'variable':
    monkeypatch.setenv(tokens.TOKEN, TOKEN)
  else:
    path = tmp_path / '.ray' / 'auth_token'
    path.parent.mkdir()
    path.write_text(TOKEN + '\n')
    path.chmod(0o600)
    if where == 'file':
      monkeypatch.setenv(tokens.TOKEN_PATH, str(path))
      monkeypatch.setenv('HOME', '/')
  with (
    contextlib.closing(fake_head.FakeHead(TOKEN)) as guarded,
    contextlib.closing(fake_head.FakeHead()) as open_to_all,
  ):
    for _ in range(2):
      cluster_head.check(guarded.address)
      # Ray is now asked to join, and shows it as well.
      assert os.environ[tokens.MODE] == 'token'
      assert guarded.asked[-1]
      cluster_head.check(open_to_all.address)
      assert tokens.MODE not in os.environ
    assert not any(open_to_all.asked)
  assert not capfd.readouterr().err


def test_an_address_is_checked_first_only_where_it_decides(monkeypatch):
  checked = []
  monkeypatch.setattr(cluster_head, 'check', checked.append)
  cluster_head.check_first(None)
  cluster_head.check_first('')
  cluster_head.check_first('head:1')
  assert checked == ['', 'head:1']
  monkeypatch.setattr(ray, 'is_initialized', lambda: True)
  cluster_head.check_first('head:1')
  assert checked == ['', 'head:1']


def test_a_head_that_is_gone_is_noticed_and_one_that_is_slow_is_not(
  monkeypatch,
):
  now = [0.0]
  monkeypatch.setattr(cluster_head.time, 'monotonic', lambda: now[0])
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
    watch = cluster_head.Watch(f'127.0.0.1:{port}')
    now[0] = 3.0
    watch.check()
  for now[0] in (6.0, 9.0, 11.9):
    watch.check()
  with socket.create_server(('127.0.0.1', port)):
    now[0] = 14.0
    watch.check()  # It is there again.
  for now[0] in (17.0, 20.0):
    watch.check()
  now[0] = 23.1
  with pytest.raises(faults.ClusterLost, match=f'at 127.0.0.1:{port} is gone'):
    watch.check()
