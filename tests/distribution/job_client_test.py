import contextlib
import http.server
import importlib.util
import json
import os
import socket
import threading
import time

import pytest
import ray

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
  """Returns a function: every answer -> URL of a server, who asked it."""
  servers = []

  def start(status, body=b'', **headers):
    class Handler(http.server.BaseHTTPRequestHandler):
      def do_GET(self):
        asked.append(self.headers.get('Authorization'))
        self.send_response(status)
        for name, value in headers.items():
          self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

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
  + ['http://head:port', 'http://:8265', 'http://a b:8265', 'he\nad:8265']
  + ['http://me:word@head:8265', 'http://head:99999'],
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


@contextlib.contextmanager
def saying(reply):
  """An address of http where somebody says something and hangs up."""

  def serve():
    with contextlib.suppress(OSError):
      while True:
        connection, _ = server.accept()
        with connection:
          connection.recv(4096)
          connection.sendall(reply)

  with socket.create_server(('127.0.0.1', 0)) as server:
    threading.Thread(target=serve, daemon=True).start()
    yield f'http://127.0.0.1:{server.getsockname()[1]}'


@pytest.mark.parametrize(
  'reply',
  [b'SSH-2.0-OpenSSH_9.2\r\n', bytes([0, 0, 18, 4, 0, 0, 0, 0, 0]) + b'a' * 18]
  + [b'', b'HTTP/1.1 200 OK\r\n' + b'a' * 70000],
)
def test_a_port_that_speaks_no_http_is_one_line(reply):
  with saying(reply) as address:
    with pytest.raises(faults.ClusterUnavailable) as error:
      job_client.JobServer(address)
  line = str(error.value)
  assert "no job server of Ray's (it speaks no HTTP); expected" in line
  assert '\n' not in line


@pytest.mark.parametrize(
  'body', [b'', b'<html>', b'[]', b'{"a": 1}', b'3', b'\xff', b'"ray_version"']
)
def test_a_web_server_that_is_no_job_server_is_one_line(serve, body):
  address, _ = serve(200, body)
  with pytest.raises(faults.ClusterUnavailable, match='no version of Ray') as e:
    job_client.JobServer(address)
  assert '\n' not in str(e.value)


def test_the_token_follows_no_redirection(serve, monkeypatch):
  monkeypatch.setenv(tokens.TOKEN, 'ab' * 32)
  elsewhere, asked = serve(200)
  address, _ = serve(302, Location=f'{elsewhere}/api/version')
  with pytest.raises(faults.ClusterUnavailable, match="of Ray's \\(302 Found"):
    job_client.JobServer(address)
  assert not asked


def test_a_cluster_of_another_ray_is_refused_with_both_versions(serve):
  reply = {'version': '4', 'ray_version': '2.1.0', 'ray_commit': 'x'}
  address, _ = serve(200, json.dumps(reply).encode())
  with pytest.raises(faults.ClusterUnavailable) as error:
    job_client.JobServer(address)
  assert (
    f'has Ray 2.1.0 and this process has Ray {ray.__version__}; expected the '
    'same'
  ) in str(error.value)


@pytest.mark.parametrize('token', ['ab\ncd', 'ab cd'])
def test_a_token_that_can_be_none_is_one_line_and_stays_unsaid(
  serve, monkeypatch, token
):
  monkeypatch.setenv(tokens.TOKEN, token)
  address, asked = serve(200)
  with pytest.raises(errors.UserError, match=f'{tokens.TOKEN} holds no') as e:
    job_client.JobServer(address)
  assert token not in str(e.value) and repr(token)[1:-1] not in str(e.value)
  assert not asked


@pytest.mark.parametrize(
  'error',
  [RuntimeError('500: Bearer TOKEN'), KeyError('job_id'), TypeError('a\nb')]
  + [ValueError('TOKEN'), ConnectionResetError('gone')],
)
def test_what_rays_client_raises_is_one_line_without_the_token(
  monkeypatch, error
):
  class Client:
    def list_jobs(self):
      raise error

  token = 'ab' * 32
  monkeypatch.setenv(tokens.TOKEN, token)
  error.args = tuple(str(a).replace('TOKEN', token) for a in error.args)
  monkeypatch.setattr(job_client, '_ask_version', lambda *given: b'')
  monkeypatch.setattr(job_client, '_check_version', lambda *given: None)
  monkeypatch.setattr(job_client, '_connect', lambda *given: Client())
  server = job_client.JobServer('head:8265')
  with pytest.raises(faults.ClusterUnavailable, match='list_jobs') as told:
    server.attempts('green')
  assert token not in str(told.value) and '\n' not in str(told.value)


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
