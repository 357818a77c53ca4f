"""One process holds a lock, and its death, however sudden, is enough."""

import errno
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from mmdist.run import locks

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Holds the lock named by its argument until it is killed. Its child outlives
# it, and must not keep the lock for it.
HOLDER = """
import subprocess, sys
from mmdist.run import locks
with locks.holding(sys.argv[1]):
  child = subprocess.Popen(['sleep', '60'], close_fds=False)
  print(child.pid, flush=True)
  sys.stdin.read()
"""


@pytest.fixture(name='path')
def fixture_path(tmp_path) -> pathlib.Path:
  return tmp_path / '.lock'


@pytest.fixture(name='holder')
def fixture_holder(path):
  """Yields a process that holds the lock, and the pid of its child."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(path)],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  child = int(process.stdout.readline())
  yield process, child
  os.kill(child, signal.SIGKILL)
  process.kill()
  process.communicate()


def test_the_file_says_who_holds_it_and_goes_afterwards(path):
  with locks.holding(path):
    holder = json.loads(path.read_text())
    assert holder == {'host': socket.gethostname(), 'pid': os.getpid()}
  assert not path.exists()


def test_the_file_goes_after_an_error_too(path):
  with pytest.raises(KeyError), locks.holding(path):
    raise KeyError
  assert not path.exists()
  with locks.holding(path):
    pass


def test_another_process_is_named_and_keeps_its_lock(path, holder):
  words = f'in use by process {holder[0].pid} on host {socket.gethostname()};'
  with pytest.raises(locks.InUse, match=words) as caught:
    with locks.holding(path):
      pass
  assert '\n' not in str(caught.value)
  assert json.loads(path.read_text())['pid'] == holder[0].pid


def test_a_killed_holder_is_no_obstacle_even_if_its_child_lives(path, holder):
  process, child = holder
  process.kill()
  process.wait()
  os.kill(child, 0)
  assert path.exists()
  with locks.holding(path):
    assert json.loads(path.read_text())['pid'] == os.getpid()


@pytest.mark.parametrize('text', ['', 'x', '[]', '{"pid": 1}', '{"pid": "x"}'])
def test_a_holder_that_cannot_be_read_is_refused_all_the_same(path, text):
  with locks.holding(path):
    path.write_text(text)
    with pytest.raises(locks.InUse, match='in use by another process'):
      with locks.holding(path):
        pass


def test_a_file_that_its_holder_is_removing_is_not_locked(path, monkeypatch):
  # We have opened the file; before we lock it, its holder ends.
  path.write_text('')
  real, removed = fcntl.flock, []

  def flock(descriptor, how):
    if not removed:
      removed.append(path.unlink())
    real(descriptor, how)

  monkeypatch.setattr(fcntl, 'flock', flock)
  with locks.holding(path):
    assert removed
    with pytest.raises(locks.InUse), locks.holding(path):
      pass


def test_the_lock_of_a_folder_made_anew_is_left_to_its_new_holder(path):
  with locks.holding(path):
    path.unlink()
    path.write_text('of another')
  assert path.read_text() == 'of another'


@pytest.mark.parametrize('code', [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of(path, monkeypatch, code):
  def flock(descriptor, how):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(fcntl, 'flock', flock)
  entered = []
  with pytest.warns(UserWarning, match='file system without locks'):
    with locks.holding(path):
      entered.append(True)
  assert entered


def test_a_link_is_not_written_through(path, tmp_path):
  (tmp_path / 'precious').write_text('precious')
  path.symlink_to('precious')
  with pytest.raises(OSError), locks.holding(path):
    pass
  assert (tmp_path / 'precious').read_text() == 'precious'


def test_nothing_stays_open(path):
  before = len(os.listdir('/proc/self/fd'))
  for _ in range(3):
    with locks.holding(path):
      with pytest.raises(locks.InUse), locks.holding(path):
        pass
  assert len(os.listdir('/proc/self/fd')) == before
