import sys

import pytest

from mmdist.run import sessions


@pytest.fixture(autouse=True)
def _no_notebook(monkeypatch):
  monkeypatch.delitem(sys.modules, 'ipykernel', raising=False)


def test_each_time_has_a_line(tmp_path, monkeypatch):
  monkeypatch.setattr(
    sys, 'argv', ['/somewhere/bin/mmdist', 'optimize', '--x=a b']
  )
  sessions.record(tmp_path, 0)
  sessions.record(tmp_path, 50)
  first, second = sessions.read(tmp_path)
  assert (first['first_step'], second['first_step']) == (0, 50)
  assert first['command'] == "mmdist optimize '--x=a b'"
  assert first['fingerprint']['jax'] and first['began'].startswith('20')


def test_a_line_that_is_torn_is_left_out(tmp_path):
  sessions.record(tmp_path, 0)
  with (tmp_path / sessions.SESSIONS_NAME).open('a') as file:
    file.write('{"began": ')
  assert len(sessions.read(tmp_path)) == 1
  assert sessions.read(tmp_path / 'elsewhere') == []


def test_a_script_is_named_as_it_was_called(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['mine.py', '3'])
  monkeypatch.setattr(sys, 'orig_argv', ['/usr/bin/python3', 'mine.py', '3'])
  assert sessions.command() == 'python3 mine.py 3'


def test_secrets_of_ray_are_not_written_down(monkeypatch):
  words = ['/ray/workers/default_worker.py', '--redis-password=secret']
  monkeypatch.setattr(sys, 'argv', words)
  monkeypatch.setattr(sys, 'orig_argv', ['python', *words])
  assert sessions.command() == 'a process of Ray'


def test_a_run_is_of_the_command_that_another_process_was_given(tmp_path):
  own = sessions.command()
  with sessions.commanded('mmdist sweep --seeds=0,1'):
    sessions.record(tmp_path, 0)
  sessions.record(tmp_path, 1)
  with sessions.commanded(''):
    sessions.record(tmp_path, 2)
  found = [row['command'] for row in sessions.read(tmp_path)]
  assert found == ['mmdist sweep --seeds=0,1', own, own]


def test_a_notebook_is_called_one(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ipykernel', sys)
  assert sessions.command() == 'a notebook'
