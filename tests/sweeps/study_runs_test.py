import json
import os
import pathlib
import sys

import pytest

from mmdist.evaluation import evaluation_table
from mmdist.evaluation import run_evaluation
from mmdist.sweeps import study_runs

RUNS = tuple(study_runs.StudyRun(f'run{i}') for i in range(4))


def test_a_command_names_experiment_overrides_and_folder():
  run = study_runs.StudyRun(
    'x', 'experiments/mix.py:a', {'seed': 3, 'mode': 'sum'}
  )
  command = study_runs.command_of(
    run,
    pathlib.Path('out'),
    'launchers.optimize',
    ['--config.num_steps=9'],
  )
  assert command == [
    sys.executable,
    '-m',
    'launchers.optimize',
    '--config=experiments/mix.py:a',
    '--config.seed=3',
    '--config.mode=sum',
    '--executor=inline',
    '--workdir=out/x',
    '--config.num_steps=9',
  ]


@pytest.mark.parametrize(
  'cores, workers, shares',
  [
    ([0, 1, 2, 3], 2, [{0, 2}, {1, 3}]),
    ([0, 1, 2], 2, [{0, 2}, {1}]),
    ([4, 7], 3, [{4}, {7}, {4}]),
  ],
)
def test_every_worker_has_its_share_of_the_cores(cores, workers, shares):
  assert study_runs.share_cores(cores, workers) == shares


@pytest.fixture
def fake_command(monkeypatch):
  """Runs that say on which cores they are, and fail for run2."""

  def command_of(run, out, module, extra):
    del out, module
    text = (
      'import os, sys; print(sorted(os.sched_getaffinity(0)), sys.argv[1]); '
      f'sys.exit({3 if run.name == "run2" else 0})'
    )
    return [sys.executable, '-c', text, *extra]

  monkeypatch.setattr(study_runs, 'command_of', command_of)


def test_a_run_that_fails_is_named_and_the_others_are_made(
  fake_command, tmp_path
):
  before, said = os.sched_getaffinity(0), []
  failed = study_runs.make_runs(
    RUNS, tmp_path / 'new', 2, 'module', ['word'], said.append
  )
  assert failed == ['run2']
  assert sorted(said) == [
    'run0: done',
    'run1: done',
    'run2: exit code 3',
    'run3: done',
  ]
  shares = {str(sorted(s)) for s in study_runs.share_cores(sorted(before), 2)}
  for run in RUNS:
    log = (tmp_path / 'new' / f'{run.name}.log').read_text()
    assert log.strip().removesuffix(' word') in shares
  assert os.sched_getaffinity(0) == before


@pytest.fixture
def evaluated(monkeypatch):
  """The judge that rows were asked of, in place of any."""
  judges = []

  def evaluate(runs, options):
    judges.append(options.judge)
    return [
      dict.fromkeys(evaluation_table.COLUMNS, 0.5) | {'run': run}
      for run in runs
    ]

  monkeypatch.setattr(run_evaluation, 'evaluate', evaluate)
  return judges


def test_the_table_is_kept_as_text_and_for_programs(tmp_path, evaluated):
  text = study_runs.write_table(RUNS[:2], tmp_path, 'the judge')
  assert evaluated == ['the judge']
  assert (tmp_path / 'table.txt').read_text() == text + '\n'
  rows = json.loads((tmp_path / 'table.json').read_text())
  assert [row['run'] for row in rows] == [
    str(tmp_path / run.name) for run in RUNS[:2]
  ]


def options(tmp_path, **changes):
  settings = {'study': 'mixes', 'out': str(tmp_path / 'out'), 'workers': 2}
  return study_runs.Options(**(settings | changes))


def test_a_study_is_made_and_its_table_reported(
  fake_command, evaluated, tmp_path
):
  said = []
  study_runs.run_study(options(tmp_path), 'module', ['word'], said.append)
  names = ('happy_sad', 'joker_minus_green')
  assert sorted(said[:2]) == [f'{name}: done' for name in names]
  assert said[2] == (tmp_path / 'out' / 'table.txt').read_text().rstrip('\n')


def test_what_failed_is_named_after_the_table_of_the_others(
  evaluated, tmp_path, monkeypatch
):
  def make_runs(runs, *_):
    return [runs[0].name]

  monkeypatch.setattr(study_runs, 'make_runs', make_runs)
  (tmp_path / 'out').mkdir()
  said = []
  with pytest.raises(ValueError, match='1 of 2 runs failed: happy_sad; what'):
    study_runs.run_study(options(tmp_path), 'module', [], said.append)
  assert 'joker_minus_green' in said[0] and 'happy_sad' not in said[0]


def test_a_part_of_a_study_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match="leaves no run of 'mixes', which has 2"):
    study_runs.run_study(options(tmp_path, first=5), 'module')
  assert not list(tmp_path.iterdir())
