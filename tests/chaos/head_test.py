"""The head of a cluster dies under a run that has joined the cluster."""

import contextlib
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest

from tests.chaos import processes

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
STEPS, EVERY = 200, 150


def free_port() -> int:
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))
    return taken.getsockname()[1]


def children(pid: int) -> dict[str, int]:
  """Returns name -> id of the processes that a process has started."""
  found = {}
  for folder in pathlib.Path('/proc').glob('[0-9]*'):
    with contextlib.suppress(OSError):
      # The name, which may hold spaces, stands in brackets.
      before, _, after = (folder / 'stat').read_text().rpartition(')')
      if int(after.split()[1]) == pid:
        found[before.partition('(')[2]] = int(folder.name)
  return found


@pytest.fixture(name='head')
def fixture_head(monkeypatch):
  """A Ray of another process, with room for two priors, and its address."""
  monkeypatch.setenv('RAY_AUTH_MODE', 'token')
  monkeypatch.setenv('RAY_AUTH_TOKEN', secrets.token_hex(16))
  address = f'127.0.0.1:{free_port()}'
  with tempfile.TemporaryDirectory(dir='/tmp') as folder:
    # `--block` ends everything that it has started when a part of it dies, as
    # if its machine had gone.
    command = [sys.executable, '-m', 'ray.scripts.scripts', 'start', '--head']
    command += ['--block', '--num-cpus=4', '--include-dashboard=false']
    command += ['--node-ip-address=127.0.0.1', f'--temp-dir={folder}']
    command += [f'--port={address.rpartition(":")[2]}']
    started = subprocess.Popen(
      command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
      yield started, address
    finally:
      started.send_signal(signal.SIGTERM)
      started.wait(timeout=60)


def wait_until_listening(address: str) -> None:
  host, _, port = address.rpartition(':')
  until = time.monotonic() + 60
  while True:
    try:
      socket.create_connection((host, int(port)), 1).close()
      return
    except OSError:
      assert time.monotonic() < until, 'Ray did not start'
      time.sleep(0.1)


@pytest.mark.parametrize('part', ['gcs_server', 'raylet'])
def test_a_run_whose_cluster_died_saves_says_so_and_goes_on(
  part, head, tmp_path, tmp_path_factory
):
  started, address = head
  wait_until_listening(address)
  cache = tmp_path_factory.mktemp('jax')
  arguments = [f'--steps={STEPS}', f'--every={EVERY}']
  process = processes.start(
    tmp_path / 'parts',
    *arguments,
    '--executor=ray',
    f'--address={address}',
    '--pace=0.2',
    cache=cache,
  )
  processes.wait_for_steps(tmp_path / 'parts', 20, process)
  os.kill(children(started.pid)[part], signal.SIGKILL)
  killed = time.monotonic()
  code, out, errors = processes.finish(process)
  assert time.monotonic() - killed < 30
  assert code not in (0, -signal.SIGKILL, -signal.SIGABRT), errors
  assert 'is gone' in errors
  saved = [int(p.name) for p in (tmp_path / 'parts/checkpoints').iterdir()]
  assert len(saved) == 1 and 10 <= saved[0] < STEPS, (saved, out)
  assert processes.digest(
    tmp_path / 'parts', *arguments, cache=cache
  ) == processes.digest(tmp_path / 'whole', *arguments, cache=cache)
