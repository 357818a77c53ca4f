"""The learner's process dies, is told to stop, or has no room left."""

import os
import random
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest

from mmdist.run import checkpointing
from mmdist.run import workdir as workdir_lib
from tests.chaos import processes
from tests.chaos import saver
from tests.chaos import victim

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
STEPS, EVERY = 8, 3
# Checkpoints are after steps 3, 6 and 8.
KILLS = (
  'render:0',
  'render:4',
  'score:0',
  'score:3',
  'score:7',
  'update:3',
  'update:4',
  'update:7',
  'save:3',
  'save:8',
  'commit:3',
  'commit:6',
  'committed:6',
  'committed:8',
)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('jax')


@pytest.fixture(scope='module')
def whole(tmp_path_factory, cache):
  """The digest of a run that nothing happened to."""
  return processes.digest(tmp_path_factory.mktemp('whole'), cache=cache)


def committed(workdir) -> list[int]:
  folders = (workdir / 'checkpoints').glob('*')
  return sorted(int(f.name) for f in folders if f.name.isdecimal())


@pytest.mark.parametrize('kill', KILLS)
def test_a_killed_learner_resumes_to_the_last_bit(kill, tmp_path, cache, whole):
  code, _, errors = processes.run(tmp_path, f'--die={kill}', cache=cache)
  assert code == -signal.SIGKILL, errors
  point, step = kill.split(':')
  steps = committed(tmp_path) if (tmp_path / 'checkpoints').exists() else []
  # At most one interval is lost: what was due before the last one is there.
  due = [s for s in (3, 6, 8) if s <= int(step) - EVERY]
  assert set(due) <= set(steps)
  if point == 'committed':
    assert int(step) in steps
  assert processes.digest(tmp_path, cache=cache) == whole
  left = [p.name for p in (tmp_path / 'checkpoints').iterdir()]
  assert sorted(left) == ['3', '6', '8']


@pytest.fixture(scope='module')
def whole_in_parts(tmp_path_factory, cache):
  """The digest of a run whose steps have two parts."""
  folder = tmp_path_factory.mktemp('parts')
  return processes.digest(folder, '--parts=2', cache=cache)


@pytest.mark.parametrize('kill', ['render:4', 'score:3', 'update:7'])
def test_a_killed_learner_resumes_steps_in_parts_to_the_last_bit(
  kill, tmp_path, cache, whole_in_parts
):
  code, _, errors = processes.run(
    tmp_path, '--parts=2', f'--die={kill}', cache=cache
  )
  assert code == -signal.SIGKILL, errors
  found = processes.digest(tmp_path, '--parts=2', cache=cache)
  assert found == whole_in_parts


@pytest.mark.parametrize('number', range(20))
def test_a_kill_while_saving_leaves_the_newest_whole(number, tmp_path):
  process = subprocess.Popen(
    [os.sys.executable, '-m', 'tests.chaos.saver', str(tmp_path)],
    cwd=processes.ROOT,
    env={**os.environ, 'PYTHONPATH': str(processes.ROOT)},
    stdout=subprocess.PIPE,
    text=True,
  )
  for _ in range(3):
    asked = int(process.stdout.readline())
  time.sleep(random.Random(number).uniform(0, 0.6))
  process.kill()
  process.wait()
  steps = committed(tmp_path)
  assert steps and steps[-1] >= asked - 1
  template = saver.make_state(0)
  run = saver.make_run()
  with checkpointing.CheckpointStore(tmp_path, run) as store:
    executor = saver.Proxies(0)
    state = store.restore_or_init(template, executor)
    # The one before was whole before the next began.
    assert int(state.step) == steps[-1]
    jax.tree.map(
      np.testing.assert_array_equal, state, saver.make_state(steps[-1])
    )
    assert executor.proxies['generic'].step == steps[-1]
  left = [p.name for p in (tmp_path / 'checkpoints').iterdir()]
  assert all(name.isdecimal() for name in left), left


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_run_goes_on(number, tmp_path, cache):
  arguments = ('--steps=400', '--every=150')
  process = processes.start(tmp_path / 'parts', *arguments, cache=cache)
  processes.wait_for_steps(tmp_path / 'parts', 20, process)
  started = time.monotonic()
  process.send_signal(number)
  code, out, errors = processes.finish(process)
  assert code == 0, errors
  assert time.monotonic() - started < 30
  step = int(out.split()[0])
  assert 20 <= step < 400 and committed(tmp_path / 'parts')[-1] == step
  assert processes.digest(
    tmp_path / 'parts', *arguments, cache=cache
  ) == processes.digest(tmp_path / 'whole', *arguments, cache=cache)


def test_a_second_signal_ends_at_once(tmp_path, cache):
  marks = tmp_path / 'marks'
  marks.mkdir()
  process = processes.start(
    tmp_path / 'run',
    '--executor=ray',
    f'--hang={marks}',
    '--steps=50',
    cache=cache,
  )
  processes.wait_for_file(marks, process)
  process.send_signal(signal.SIGTERM)
  time.sleep(1.5)  # Two signals of one kind that are not heard are one.
  process.send_signal(signal.SIGTERM)
  # Its pipes stay open for a minute, in the hands of Ray's agents.
  assert process.wait(timeout=5) == 128 + signal.SIGTERM


def test_a_signal_while_a_prior_hangs_saves_the_last_snapshot(tmp_path, cache):
  marks = tmp_path / 'marks'
  marks.mkdir()
  process = processes.start(
    tmp_path / 'run', '--executor=ray', f'--hang={marks}', cache=cache
  )
  processes.wait_for_file(marks, process)
  process.send_signal(signal.SIGTERM)
  code, _, errors = processes.finish(process)
  assert code == 0, errors
  assert 'SIGTERM: saving after this step' in errors
  assert committed(tmp_path / 'run')[-1] == EVERY


@pytest.fixture
def small_disk(tmp_path):
  """A file system of 4 MiB."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  subprocess.run(
    ['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', folder], check=True
  )
  yield folder
  subprocess.run(['umount', folder], check=True)


def test_a_full_disk_is_said_and_loses_nothing(small_disk, cache, whole):
  workdir = small_disk / 'run'
  code, _, errors = processes.run(workdir, '--die=render:7', cache=cache)
  assert code == -signal.SIGKILL, errors
  assert committed(workdir)[0] == 3
  room = shutil.disk_usage(small_disk).free
  (small_disk / 'filler').write_bytes(bytes(max(room - 20_000, 0)))
  code, _, errors = processes.run(workdir, cache=cache)
  assert code != 0
  assert 'No space left' in errors or 'is full' in errors
  assert committed(workdir)[0] == 3
  (small_disk / 'filler').unlink()
  assert processes.digest(workdir, cache=cache) == whole


def test_a_read_only_disk_is_said_before_anything(small_disk):
  subprocess.run(['mount', '-o', 'remount,ro', small_disk], check=True)
  with pytest.raises(PermissionError, match='cannot be written; give'):
    workdir_lib.check(small_disk / 'run', victim.make_run(8, 3))
