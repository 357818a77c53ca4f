import http.server
import importlib.util
import os
import socket
import threading
import time

import pytest

from mmdist.core import errors
from mmdist.distribution import faults
from mmdist.distribution import job_client
from mmdist.distribution import tokens


@pytest.fixture(autouse=True)
def person(tmp_path, monkeypatch):
  """A person without a token, on a machine with ray[default]."""
  for name in (tokens.MODE, tokens.TOKEN, tokens.TOKEN_PATH):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.setattr(job_client, '_check_installed', lambda: None)


@pytest.fixture
def serve():
  """Returns a function: status of every answer -> URL of a server."""
  servers = []

  def start(status):
    class Handler(http.server.BaseHTTPRequestHandler):
      def do_GET(self):
        asked.append(self.headers.get('Authorization'))
        self.send_response(status)
        self.end_headers()

      def log_message(self, *arguments):
        pass

    asked = []
    server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    servers.append(server)
    return f'http://127.0.0.1:{server.server_address[1]}', asked

  yield start
  for server in servers:
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
  'address',
  ['', 'auto', 'head', 'ray://head:10001', 'http://head', 'file:///etc:80']
  + ['http://head:port', 'http://:8265'],
)
def test_an_address_that_can_be_none_is_one_line(address):
  with pytest.raises(errors.UserError, match='expected http://HEAD:8265'):
    job_client.JobServer(address)


def test_an_address_may_lack_its_scheme():
  assert job_client.check_address('head:8265/') == 'http://head:8265'


def test_nobody_there_is_one_line():
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))  # And does not listen.
    address = f'http://127.0.0.1:{taken.getsockname()[1]}'
    with pytest.raises(faults.ClusterUnavailable) as error:
      job_client.JobServer(address)
  assert f'nobody answers at {address} (' in str(error.value)
  assert '\n' not in str(error.value)


def test_somebody_silent_is_one_line_soon(monkeypatch):
  assert job_client.ANSWER_WITHIN_S <= 15
  monkeypatch.setattr(job_client, 'ANSWER_WITHIN_S', 0.2)
  with socket.create_server(('127.0.0.1', 0)) as server:
    address = f'http://127.0.0.1:{server.getsockname()[1]}'
    began = time.monotonic()
    with pytest.raises(faults.ClusterUnavailable, match='silent for 0.2 s'):
      job_client.JobServer(address)
  assert time.monotonic() - began < 5


def test_somebody_else_is_one_line(serve):
  address, _ = serve(404)
  with pytest.raises(faults.ClusterUnavailable, match="no job server of Ray's"):
    job_client.JobServer(address)


def test_a_token_that_is_missing_is_one_line(serve):
  address, asked = serve(401)
  with pytest.raises(errors.UserError, match='and you have none') as error:
    job_client.JobServer(address)
  assert asked == [None] and tokens.TOKEN_PATH in str(error.value)


def test_a_token_that_is_wrong_is_one_line_and_stays_unsaid(serve, monkeypatch):
  monkeypatch.setenv(tokens.TOKEN, 'ab' * 32)
  address, asked = serve(403)
  with pytest.raises(errors.UserError, match='another token than') as error:
    job_client.JobServer(address)
  assert asked == [f'Bearer {"ab" * 32}']
  assert 'abab' not in str(error.value)


def test_a_machine_without_the_dashboard_is_told_which_extra(monkeypatch):
  monkeypatch.undo()
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(
    errors.UserError, match=r"pip install 'mmdist\[cluster\]'"
  ):
    job_client.JobServer('http://head:8265')


def test_rays_own_variables_do_not_choose_another_server(monkeypatch):
  name = 'RAY_API_SERVER_ADDRESS'
  monkeypatch.setenv(name, 'http://other:8265')
  with job_client._preferred('http://head:8265'):
    assert os.environ[name] == 'http://head:8265'
  assert os.environ[name] == 'http://other:8265'
  monkeypatch.delenv(name)
  with job_client._preferred('http://head:8265'):
    pass
  assert name not in os.environ
