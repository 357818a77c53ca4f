"""What is said of a head that is not there, not Ray's, another's, or gone."""

import platform
import socket
import sys
import time

import pytest
import ray

from mmdist.distribution import cluster_head
from mmdist.distribution import faults

OURS = {
  'ray_version': ray.__version__,
  'python_version': platform.python_version(),
}


@pytest.mark.parametrize('scheme', ['', 'ray://'])
def test_an_address_where_nobody_listens_is_one_line(scheme):
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))  # And does not listen.
    address = f'{scheme}127.0.0.1:{taken.getsockname()[1]}'
    with pytest.raises(faults.ClusterUnavailable, match='nobody answers at'):
      cluster_head.check(address)


def test_somebody_who_is_no_head_is_told_within_seconds(monkeypatch):
  monkeypatch.setenv('RAY_AUTH_MODE', 'disabled')
  monkeypatch.setattr(cluster_head, 'CONNECT_WITHIN_S', 1.0)
  started = time.monotonic()
  with socket.create_server(('127.0.0.1', 0)) as server:  # Says nothing.
    address = f'127.0.0.1:{server.getsockname()[1]}'
    with pytest.raises(faults.ClusterUnavailable, match='no head of a Ray clu'):
      cluster_head.check(address)
  assert time.monotonic() - started < 10


@pytest.fixture(name='says')
def fixture_says(monkeypatch):
  """A head at some address that says what it is given to say."""
  monkeypatch.setenv('RAY_AUTH_MODE', 'disabled')
  with socket.create_server(('127.0.0.1', 0)) as server:

    def says(answer) -> str:
      monkeypatch.setattr(cluster_head, '_metadata', lambda address: answer)
      return f'127.0.0.1:{server.getsockname()[1]}'

    yield says


@pytest.mark.parametrize(
  'answer',
  [
    OURS,
    OURS
    | {'python_version': f'{sys.version_info[0]}.{sys.version_info[1]}.99'},
    {},
  ],
)
def test_a_head_of_our_versions_is_left_to_ray(answer, says):
  cluster_head.check(says(answer))


@pytest.mark.parametrize(
  'theirs, words',
  [
    ({'ray_version': '2.1.0'}, 'has Ray 2.1.0 with Python '),
    ({'python_version': '3.9.18'}, 'with Python 3.9.18 and this process has '),
  ],
)
def test_a_cluster_of_other_versions_is_refused(theirs, words, says):
  with pytest.raises(faults.ClusterUnavailable) as error:
    cluster_head.check(says(OURS | theirs))
  assert words in str(error.value) and '\n' not in str(error.value)
  assert ray.__version__ in str(error.value)


def test_whoever_has_no_token_is_left_to_ray(monkeypatch, tmp_path, says):
  monkeypatch.setenv('RAY_AUTH_MODE', 'token')
  monkeypatch.setenv('HOME', str(tmp_path))
  for name in ('RAY_AUTH_TOKEN', 'RAY_AUTH_TOKEN_PATH'):
    monkeypatch.delenv(name, raising=False)
  # Asking without one would end this process.
  cluster_head.check(says({'ray_version': '2.1.0', 'python_version': '3.9.0'}))


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
