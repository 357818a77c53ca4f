"""What a person reads, from a server of jobs that is made up."""

import pathlib

import pytest

from mmdist.core import errors
from mmdist.distribution import faults
from mmdist.distribution import job_client
from mmdist.distribution import job_submission

WORDS = ['optimize', '--config=smoke', '--workdir=/shared/run']
LOG = 'one\ntwo\n'


class Server:
  """Jobs in a dictionary; each is in the state that it is put in."""

  address = 'http://head:8265'

  def __init__(self):
    self.jobs: dict[str, str] = {}
    self.submitted: list = []
    self.becomes = 'SUCCEEDED'
    self.breaks: list[int] = []  # Where the next readings of a log break off.

  def attempts(self, name):
    return [self.get(id) for id in self.jobs if id.startswith(f'{name}-att')]

  def get(self, id):
    metadata = {'mmdist_log': f'/shared/run.{id}.log'}
    return job_client.Job(id, self.jobs[id], 'Its message.', metadata)

  def submit(self, id, entrypoint, **options):
    self.jobs[id] = 'RUNNING'
    self.submitted.append((id, entrypoint, options))

  def stop(self, id):
    self.jobs[id] = 'STOPPED'

  async def tail(self, id):
    if self.breaks:
      if shown := self.breaks.pop(0):
        yield LOG[:shown]
      raise faults.ClusterUnavailable('the log broke off')
    for line in LOG.splitlines(keepends=True):
      yield line
    self.jobs[id] = self.becomes


@pytest.fixture
def server(monkeypatch):
  made = Server()
  monkeypatch.setattr(job_client, 'JobServer', lambda address: made)
  monkeypatch.setattr(job_submission.code_shipping, 'stage', pathlib.Path)
  monkeypatch.setattr(job_submission, '_POLL_S', 0.0)
  return made


def run(words=(), **options):
  """Returns the lines that were reported and the log that was written."""
  lines, log = [], []
  options = job_submission.Options('head:8265', 'green', **options)
  job_submission.run(options, words, lines.append, log.append)
  return lines, ''.join(log)


def test_a_job_is_submitted_and_followed_to_its_end(server):
  lines, log = run(WORDS, num_gpus=1.0, resource=('large=2',))
  assert lines == [
    'submitted green-attempt-1; its log is kept in '
    '/shared/run.green-attempt-1.log',
    'green-attempt-1 succeeded',
  ]
  assert log == LOG
  ((_, entrypoint, options),) = server.submitted
  assert '--workdir=/shared/run' in entrypoint
  assert options['runtime_env'].keys() == {'working_dir', 'env_vars'}
  assert options['entrypoint_num_gpus'] == 1.0
  assert options['entrypoint_num_cpus'] is None
  assert options['entrypoint_resources'] == {'large': 2.0}


def test_an_id_is_never_used_twice(server):
  server.jobs |= {'green-attempt-9': 'FAILED', 'green-attempt-10': 'STOPPED'}
  run(WORDS, detach=True)
  assert server.submitted[0][0] == 'green-attempt-11'


def test_a_job_that_runs_has_no_second_attempt(server):
  server.jobs['green-attempt-1'] = 'RUNNING'
  with pytest.raises(errors.UserError, match='--reconnect follows it'):
    run(WORDS)
  assert not server.submitted


def test_a_job_that_failed_is_one_line_that_names_its_log(server):
  server.becomes = 'FAILED'
  with pytest.raises(errors.UserError) as error:
    run(WORDS)
  assert 'green-attempt-1 failed: Its message. Its log is' in str(error.value)
  assert '/shared/run.green-attempt-1.log' in str(error.value)


def test_reconnecting_shows_the_whole_log_of_the_newest_attempt(server):
  server.jobs |= {'green-attempt-1': 'FAILED', 'green-attempt-2': 'RUNNING'}
  lines, log = run(reconnect=True)
  assert lines == ['green-attempt-2 succeeded'] and log == LOG


def test_a_log_that_breaks_off_goes_on_where_it_was(server):
  server.breaks = [2, 5]
  _, log = run(WORDS)
  assert log == LOG


def test_a_head_that_stays_away_ends_the_following(server, monkeypatch):
  monkeypatch.setattr(job_submission, '_HEAD_GONE_S', 0.0)
  server.breaks = [0, 0]
  with pytest.raises(faults.ClusterUnavailable, match='broke off'):
    run(WORDS)


def test_a_log_that_came_for_long_may_break_off_and_go_on(server, monkeypatch):
  # Each time that something came, the head has all of its time again.
  monkeypatch.setattr(job_submission, '_HEAD_GONE_S', 0.0)
  server.breaks = [1, 2, 5]
  _, log = run(WORDS)
  assert log == LOG


def test_a_folder_that_is_sent_may_be_in_the_home_folder(
  server, monkeypatch, tmp_path
):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 'mine').mkdir()
  run(WORDS, working_dir='~/mine', detach=True)
  ((_, _, options),) = server.submitted
  assert options['runtime_env']['working_dir'] == str(tmp_path / 'mine')


def test_ctrl_c_leaves_the_job_and_says_how_to_come_back(server):
  async def interrupted(id):
    yield 'one\n'
    raise KeyboardInterrupt

  server.tail = interrupted
  lines, log = run(WORDS)
  assert log == 'one\n' and server.jobs == {'green-attempt-1': 'RUNNING'}
  assert lines[-1].endswith(
    'mmdist submit --ray_address=head:8265 --job=green --reconnect'
  )


def test_every_attempt_has_a_line(server):
  server.jobs |= {'green-attempt-1': 'FAILED', 'green-attempt-2': 'RUNNING'}
  lines, _ = run(status=True)
  assert lines[0].split() == [
    'green-attempt-1',
    'FAILED',
    '/shared/run.green-attempt-1.log',
  ]
  assert lines[1].split()[1] == 'RUNNING' and lines[2] == 'Its message.'


def test_a_job_is_cancelled_once(server):
  server.jobs['green-attempt-1'] = 'RUNNING'
  lines, _ = run(cancel=True)
  assert lines[-1] == 'green-attempt-1 stopped'
  with pytest.raises(errors.UserError, match='has ended already: stopped'):
    run(cancel=True)


@pytest.mark.parametrize(
  'words, options, line',
  [
    ([], {}, 'expected a command'),
    (WORDS, {'status': True}, '--status and a command are given'),
    ([], {'cancel': True, 'status': True}, '--status and --cancel are given'),
    (WORDS, {'resource': ('large',)}, "--resource is 'large'; expected NAME="),
    (
      WORDS,
      {'resource': ('TPU=-3',)},
      "--resource is 'TPU=-3'; expected NAME=",
    ),
    (
      WORDS,
      {'resource': ('TPU==2',)},
      "--resource is 'TPU==2'; expected NAME=",
    ),
    (WORDS, {'resource': ('TPU=0',)}, 'with an amount above 0, such as TPU=4'),
    (WORDS, {'resource': ('TPU=nan',)}, 'with an amount above 0'),
    (WORDS, {'resource': ('TPU=inf',)}, 'with an amount above 0'),
    (WORDS, {'resource': ('=2',)}, "--resource is '=2'; expected NAME="),
    (WORDS, {'resource': ('GPU=1',)}, 'expected --num_gpus=1, and here a name'),
    ([], {'status': True}, "knows no job 'green'"),
  ],
)
def test_a_mistake_is_one_line_and_submits_nothing(
  server, words, options, line
):
  with pytest.raises(errors.UserError) as error:
    run(words, **options)
  assert line in str(error.value) and '\n' not in str(error.value)
  assert not server.submitted


def test_a_name_of_a_job_is_no_path(server):
  options = job_submission.Options('head:8265', '../green', status=True)
  with pytest.raises(errors.UserError, match='the job is called'):
    job_submission.run(options, [])


@pytest.mark.parametrize('what', ['which is a file', 'where nothing is'])
def test_a_folder_that_is_none_is_told_before_any_server_is_asked(
  tmp_path, monkeypatch, what
):
  monkeypatch.setattr(job_client, 'JobServer', None)
  path = tmp_path / 'mine'
  if 'file' in what:
    path.touch()
  with pytest.raises(NotADirectoryError, match=f'{path}, {what}; exp') as error:
    run(WORDS, working_dir=str(path))
  assert '\n' not in str(error.value)
