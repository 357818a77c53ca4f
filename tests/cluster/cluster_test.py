"""Runs, a sweep and jobs on three machines that share nothing but a disk.

No worker has this mmdist: one has none, the other an old one. The head has no
CPUs, so whatever reserves one is on a worker.
"""

import json
import re
import signal
import subprocess
import time

import pytest

from mmdist.core import source_hash
from tests.cluster import three_machines
from tests.end_to_end import launching

# Two legs of as many steps as an experiment of the smallest kind has.
LEGS = """
from experiments import smoke
from mmdist.config import trajectory_schema

def get_config(preset=''):
  legs = [
    trajectory_schema.LegConfig('a portrait of a happy man', name='a'),
    trajectory_schema.LegConfig('a portrait of a sad man', name='b'),
  ]
  return trajectory_schema.TrajectoryConfig(smoke.get_config(), legs)
"""

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def words_of(trained, workdir, *more) -> list[str]:
  """Returns the flags of a run of two steps whose priors are Ray actors."""
  words = launching.words(trained, workdir, *more)
  return [word for word in words if word != '--executor=inline']


def error_of(done) -> str:
  """Returns the one line that a command that failed has said."""
  assert done.returncode == 1, done.stderr
  assert 'Traceback' not in done.stderr
  (line,) = [x for x in done.stderr.splitlines() if x.startswith('error: ')]
  return line


@pytest.fixture(name='submit')
def fixture_submit(machines, call):
  """Calls `mmdist submit` from outside of the cluster."""

  def submit(job, *words, **variables):
    address = f'--ray_address={machines.job_server}'
    return call('submit', address, f'--job={job}', *words, **variables)

  return submit


def test_priors_run_on_workers_that_have_no_mmdist(
  machines, trained, tmp_path, call
):
  workdir = tmp_path / 'run'
  address = f'--ray_address={machines.ray_address}'
  words = words_of(trained, workdir, address)
  done = call('optimize', *words, on_head=True)
  assert done.returncode == 0, done.stderr
  assert launching.read_steps(workdir) == [0, 1]
  assert (workdir / 'report.html').stat().st_size > 0


def test_a_learner_of_three_hosts_renders_on_all_machines(
  machines, trained, tmp_path, call
):
  address = f'--ray_address={machines.ray_address}'
  hosts = '--config.learner.num_hosts=3'
  workdir = tmp_path / 'run'
  one = '--config.learner.num_devices=1'
  words = words_of(trained, workdir, address, hosts, one)
  done = call('optimize', *words, on_head=True)
  assert done.returncode == 0, done.stderr
  assert launching.read_steps(workdir) == [0, 1]
  path = workdir / 'checkpoints' / '2' / 'identity' / 'metadata'
  assert json.loads(path.read_text())['fingerprint']['processes'] == '3'

  # 2 CPUs on each of two workers leave 1 of 5, and two priors want one each.
  more = words_of(trained, tmp_path / 'more', address, hosts)
  line = error_of(call('optimize', *more, on_head=True))
  assert 'the run reserves 6 CPU and Ray has 5' in line

  more[-1] = '--config.learner.num_hosts=4'
  line = error_of(call('optimize', *more, on_head=True))
  assert 'learner.num_hosts=4 wants 3 machine(s) beside this one' in line
  assert 'of the 2 others in the cluster 2 have that' in line
  assert not (tmp_path / 'more').exists()


def test_workers_of_other_code_are_refused_in_one_line(
  machines, trained, tmp_path, call
):
  # Both workers have to be refused; which is heard of first is Ray's choice.
  address = f'--ray_address={machines.ray_address}'
  words = words_of(trained, tmp_path / 'run', address, '--noship_code')
  done = call('optimize', *words, on_head=True)
  line = error_of(done)
  ours = re.escape(source_hash.name_code())
  old = rf'has mmdist 9\.\S+ \(\w+\) and the learner has {ours}'
  assert re.search(f'{old}|a worker has no mmdist', line)


def test_a_sweep_runs_its_cells_on_the_workers(
  machines, trained, tmp_path, call
):
  workdir = tmp_path / 'sweep'
  address = f'--ray_address={machines.ray_address}'
  words = words_of(trained, workdir, address, '--cores_per_cell=1')
  done = call('sweep', *words, '--seeds=0,1', on_head=True)
  assert done.returncode == 0, done.stderr + done.stdout
  rows = json.loads((workdir / 'table.json').read_text())
  assert [row['state'] for row in rows] == ['finished', 'finished']


def test_a_job_is_followed_and_its_log_kept(trained, tmp_path, submit):
  workdir = tmp_path / 'run'
  flags = tmp_path / 'flags'
  flags.write_text('\n'.join(words_of(trained, workdir)))
  command = ('--', 'optimize', f'--flagfile={flags}', f'--workdir={workdir}')
  done = submit('green', *command)
  assert done.returncode == 0, done.stderr + done.stdout
  assert 'green-attempt-1 succeeded' in done.stdout
  assert launching.read_steps(workdir) == [0, 1]
  log = (tmp_path / 'run.green-attempt-1.log').read_text()
  assert str(workdir / 'report.html') in log
  assert log in done.stdout

  again = submit('green', *command)
  assert again.returncode == 0, again.stderr
  assert 'green-attempt-2 succeeded' in again.stdout
  assert 'is finished: 2 of 2 steps' in again.stdout

  shown = submit('green', '--reconnect')
  assert 'is finished: 2 of 2 steps' in shown.stdout
  listed = submit('green', '--status').stdout
  assert re.findall(r'(green-attempt-\d)  (\w+)', listed) == [
    ('green-attempt-1', 'SUCCEEDED'),
    ('green-attempt-2', 'SUCCEEDED'),
  ]


def test_a_job_goes_on_when_nobody_looks_and_saves_when_cancelled(
  machines, trained, tmp_path, call, submit
):
  workdir = tmp_path / 'run'
  many = '--config.num_steps=100000'
  command = [machines.python, '-m', 'launchers.submit', '--job=long']
  command += [f'--ray_address={machines.job_server}', '--', 'optimize']
  process = subprocess.Popen(
    [*command, *words_of(trained, workdir, many)],
    cwd=three_machines.ROOT,
    env=machines.variables(),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  metrics = workdir / 'metrics.jsonl'
  until = time.monotonic() + 240
  while not metrics.exists() and time.monotonic() < until:
    assert process.poll() is None, process.communicate()
    time.sleep(0.5)
  process.send_signal(signal.SIGINT)
  out, _ = process.communicate(timeout=30)
  assert process.returncode == 0
  assert 'detached; long-attempt-1 goes on.' in out
  assert 'long-attempt-1  RUNNING' in submit('long', '--status').stdout

  running = error_of(submit('long', '--', 'optimize', f'--workdir={workdir}'))
  assert 'long-attempt-1 is running; --reconnect follows it' in running

  done = submit('long', '--cancel')
  assert done.returncode == 0, done.stderr
  assert 'long-attempt-1 stopped' in done.stdout
  log = (tmp_path / 'run.long-attempt-1.log').read_text()
  assert 'stopped and saved after step' in log
  ended = error_of(submit('long', '--cancel'))
  assert 'long-attempt-1 has ended already: stopped' in ended


def test_a_job_that_fails_says_why(trained, tmp_path, submit):
  words = words_of(trained, tmp_path / 'run', '--config.prompt=a happyy man')
  line = error_of(submit('wrong', '--', 'optimize', *words))
  assert 'wrong-attempt-1 failed' in line
  log = (tmp_path / 'run.wrong-attempt-1.log').read_text()
  assert "nearest: 'happy'" in log


@pytest.mark.parametrize(
  'variables, words',
  [
    ({'RAY_AUTH_TOKEN_PATH': ''}, 'asks for a token and you have none'),
    ({'RAY_AUTH_TOKEN': 'ab' * 32}, 'asks for another token than yours'),
  ],
)
def test_nobody_submits_without_the_token(submit, variables, words):
  began = time.monotonic()
  line = error_of(submit('green', '--status', **variables))
  assert words in line
  assert time.monotonic() - began < 15


@pytest.mark.parametrize(
  'variables, words',
  [
    ({'RAY_AUTH_TOKEN': 'ab' * 32}, 'asks for another token than yours'),
    (
      {'RAY_AUTH_TOKEN_PATH': None, 'RAY_AUTH_MODE': None},
      'asks for a token and you have none; set RAY_AUTH_TOKEN',
    ),
    (
      {'RAY_AUTH_TOKEN_PATH': None, 'RAY_AUTH_MODE': 'disabled'},
      "asks for a token, and RAY_AUTH_MODE is 'disabled' here",
    ),
  ],
)
def test_nobody_joins_without_the_token(
  machines, trained, tmp_path, call, variables, words
):
  address = f'--ray_address={machines.ray_address}'
  flags = words_of(trained, tmp_path / 'run', address)
  began = time.monotonic()
  assert words in error_of(call('optimize', *flags, on_head=True, **variables))
  assert time.monotonic() - began < 15
  assert not (tmp_path / 'run').exists()


def test_a_trajectory_has_its_priors_on_the_workers(
  machines, trained, tmp_path, call
):
  workdir = tmp_path / 'way'
  mine = tmp_path / 'mine.py'
  mine.write_text(LEGS)
  base = [
    word.replace('--config.', '--config.base.')
    for word in words_of(trained, workdir)
    if word.startswith('--config.') and 'prompt=' not in word
  ]
  words = [f'--config={mine}', *base, f'--workdir={workdir}']
  words.append(f'--ray_address={machines.ray_address}')
  # As most people have it: a token, and no word on whether there are any.
  done = call('trajectory', *words, on_head=True, RAY_AUTH_MODE=None)
  assert done.returncode == 0, done.stderr
  assert (workdir / 'sheet.png').stat().st_size > 0
  for leg in ('0-a', '1-b'):
    assert launching.read_steps(workdir / 'legs' / leg) == [0, 1]


def test_a_sweep_is_a_job_whose_learner_is_where_its_resources_are(
  trained, tmp_path, submit
):
  mine, workdir = tmp_path / 'mine', tmp_path / 'sweep'
  mine.mkdir()
  (mine / 'cells.yaml').write_text('- {seed: 0}\n- {seed: 1}\n')
  words = words_of(trained, workdir, '--cores_per_cell=1', '--max_running=1')
  done = submit(
    'grid',
    *('--detach', '--num_cpus=0.5', '--resource=small=1'),
    f'--working_dir={mine}',
    *('--', 'sweep', *words, '--cells=./cells.yaml'),
  )
  assert done.returncode == 0, done.stderr + done.stdout
  assert 'submitted grid-attempt-1; its log' in done.stdout
  assert '--job=grid --reconnect' in done.stdout
  followed = submit('grid', '--reconnect')
  assert followed.returncode == 0, followed.stderr + followed.stdout
  assert 'grid-attempt-1 succeeded' in followed.stdout
  rows = json.loads((workdir / 'table.json').read_text())
  assert [row['state'] for row in rows] == ['finished', 'finished']
  log = (tmp_path / 'sweep.grid-attempt-1.log').read_text()
  assert 'sweep    2 cells' in log
