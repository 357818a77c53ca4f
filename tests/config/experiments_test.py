import pathlib

import pytest

from mmdist.config import experiments
from mmdist.config import schema
from mmdist.core import errors


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.parametrize(
  'name', ['generate:no_normal', 'experiments/generate.py:no_normal']
)
def test_an_experiment_is_found_from_anywhere(name):
  run = experiments.load(name)
  assert isinstance(run, schema.RunConfig) and not run.priors['normal'].enabled
  assert experiments.load(name.partition(':')[0]).priors['normal'].enabled


OWN = (
  'from mmdist.config import schema\n'
  "def get_config(preset='one'):\n"
  '  return schema.RunConfig(prompt=preset)\n'
)


@pytest.mark.parametrize('path', ['own.py', 'my/own.py', 'my/experiment'])
def test_a_file_of_ones_own_is_found_by_its_path(path):
  pathlib.Path('my').mkdir()
  pathlib.Path(path).write_text(OWN)
  assert experiments.load(path).prompt == 'one'
  assert experiments.load(f'{path}:two').prompt == 'two'


def test_a_path_that_is_there_comes_before_one_of_mmdists():
  pathlib.Path('experiments').mkdir()
  pathlib.Path('experiments/generate.py').write_text(OWN)
  assert experiments.load('experiments/generate.py').prompt == 'one'
  assert experiments.load('generate').prompt != 'one'


def test_an_own_file_may_lie_in_the_home_folder(elsewhere, monkeypatch):
  monkeypatch.setenv('HOME', str(elsewhere))
  (elsewhere / 'own.py').write_text(OWN)
  assert experiments.load('~/own.py').prompt == 'one'


def test_an_unknown_name_is_told_with_those_that_exist_and_the_nearest():
  with pytest.raises(FileNotFoundError, match="mean 'generate'.*edit, gen"):
    experiments.load('genrate')
  with pytest.raises(FileNotFoundError, match="unknown experiment 'my/own.py'"):
    experiments.load('my/own.py')


def test_experiments_are_listed_with_a_line_and_studies_are_none():
  known = experiments.list_names()
  assert {'edit', 'generate', 'mix', 'pretrain', 'smoke'} <= set(known)
  assert 'studies' not in known and all(known.values())


def test_another_kind_of_configuration_is_refused():
  with pytest.raises(ValueError, match='PretrainConfig; expected RunConfig'):
    experiments.load('pretrain')


def test_an_installed_package_has_its_experiments_inside(
  elsewhere, monkeypatch
):
  (elsewhere / 'mmdist' / 'experiments').mkdir(parents=True)
  monkeypatch.setattr(experiments, '_PACKAGE', elsewhere / 'mmdist')
  assert experiments.find_folder() == elsewhere / 'mmdist' / 'experiments'
  (elsewhere / 'mmdist' / 'experiments').rmdir()
  assert experiments.find_folder() == elsewhere / 'experiments'


def test_a_file_beside_the_experiments_can_be_read():
  assert 'happy_sad' in experiments.load_module('mix')['PRESETS']


@pytest.mark.parametrize(
  'text, line',
  [
    ('raise SystemExit(0)', r'own.py ends the program with exit\(0\)'),
    (
      "def get_config(preset=''):\n  raise SystemExit('done')",
      r"own.py ends the program with exit\('done'\)",
    ),
    ('get_config = 3', r'defines no get_config\(preset\)'),
    (
      'def get_config(preset): pass',
      r'takes \(preset\) .*; expected \(preset\), with a default',
    ),
  ],
)
def test_a_file_that_gives_no_configuration_is_one_line(text, line):
  pathlib.Path('own.py').write_text(text)
  with pytest.raises(errors.UserError, match=line) as error:
    experiments.load('own.py')
  assert '\n' not in str(error.value)


def test_a_function_without_presets_takes_none():
  pathlib.Path('own.py').write_text('def get_config(): pass')
  with pytest.raises(
    errors.UserError, match=r'takes \(\) .too many positional'
  ):
    experiments.load('own.py:quick')
