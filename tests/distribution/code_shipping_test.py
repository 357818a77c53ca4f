import pickle
import subprocess
import sys

import pytest

from mmdist.core import errors
from mmdist.core import source_hash
from mmdist.distribution import actor as actor_lib
from mmdist.distribution import code_shipping
from tests.distribution import fake_prior


def test_workers_find_what_is_sent_before_the_folders_of_the_person(
  tmp_path, monkeypatch
):
  own, sent = tmp_path / 'own', tmp_path / 'sent'
  own.mkdir()
  sent.mkdir()
  (own / 'script.py').touch()
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'argv', [str(own / 'script.py')])
  monkeypatch.syspath_prepend(own)
  shipped = code_shipping.driver_env(sent)
  # Ray puts the working directory before this path.
  assert shipped['working_dir'] == str(sent)
  assert shipped['env_vars'] == {'PYTHONPATH': f'{tmp_path}:{own}'}
  assert [path.name for path in sent.iterdir()] == ['mmdist']


def test_a_job_starts_in_a_folder_of_the_persons_own_or_in_what_is_sent(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  first, second = tmp_path / 'first', tmp_path / 'second'
  assert code_shipping.job_env(first) == {'working_dir': str(first)}
  shipped = code_shipping.job_env(second, 'mine')
  assert shipped['working_dir'] == str(tmp_path / 'mine')
  assert shipped['py_modules'] == [str(second / 'mmdist')]
  assert {'.git', 'runs', '__pycache__'} <= set(shipped['excludes'])


def test_a_staged_package_has_its_commands_and_works_alone(tmp_path):
  staged = code_shipping.stage(tmp_path)
  assert source_hash.digest_sources(staged) == source_hash.digest_sources(
    source_hash.PACKAGE
  )
  assert (staged / 'assets' / 'heads' / 'color').is_dir()
  assert not list(staged.rglob('__pycache__'))
  program = (
    'import mmdist\n'
    'from mmdist.launchers import console\n'
    'from mmdist.config import experiments\n'
    "print(mmdist.__path__[0], 'smoke' in experiments.list_names())\n"
  )
  done = subprocess.run(
    [sys.executable, '-c', program],
    env={'PYTHONPATH': str(tmp_path)},
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.split() == [str(staged), 'True']


def test_another_code_is_refused_with_both_names():
  code_shipping.check_same(source_hash.name_code())
  code_shipping.check_same('')  # Nothing is compared.
  with pytest.raises(code_shipping.OtherCode) as refused:
    code_shipping.check_same('0.1.9 (0123456789ab)')
  assert isinstance(refused.value, errors.UserError)
  assert '0.1.9 (0123456789ab)' in str(refused.value)
  assert source_hash.name_code() in str(refused.value)
  assert '\n' not in str(refused.value)
  # It is raised in one process and read in another.
  again = pickle.loads(pickle.dumps(refused.value))
  assert str(again) == str(refused.value)


def test_an_actor_builds_no_prior_for_a_learner_of_other_code():
  process = actor_lib.PriorActor()
  session = actor_lib.SessionId('learner', 'generic')
  with pytest.raises(code_shipping.OtherCode, match='the learner has 0.1.9'):
    process.build(session, fake_prior.recipe('generic'), '0.1.9 (0123)')
  assert not process.sessions()
