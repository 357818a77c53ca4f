"""However a run ends, none of its processes is left."""

import signal
import time

import pytest

from tests.chaos import processes

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
WITHIN_S = 90.0  # Two of Ray's own agents take a minute to notice a kill -9.


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('jax')


def end(way: str, tmp_path, cache):
  """Runs a victim through Ray and ends it; returns it, ended."""
  workdir = tmp_path / 'run'
  arguments = [workdir, '--executor=ray', '--steps=2000', '--every=500']
  if way == 'finish':
    arguments = [workdir, '--executor=ray']
  if way == 'hang':
    (tmp_path / 'marks').mkdir()
    arguments += [f'--hang={tmp_path / "marks"}']
  process = processes.start(*arguments, cache=cache)
  if way != 'finish':
    processes.wait_for_steps(workdir, 4, process)
  if way == 'hang':
    processes.wait_for_file(tmp_path / 'marks', process)
  if way != 'finish':
    assert processes.survivors(process.mark)
    process.send_signal(signal.SIGKILL if way == 'kill' else signal.SIGTERM)
  if way == 'twice':
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
  processes.finish(process)
  return process


@pytest.mark.parametrize('way', ['finish', 'stop', 'twice', 'kill', 'hang'])
def test_no_process_is_left(way, tmp_path, cache):
  process = end(way, tmp_path, cache)
  until = time.monotonic() + WITHIN_S
  while processes.survivors(process.mark) and time.monotonic() < until:
    time.sleep(0.5)
  assert not processes.survivors(process.mark)
