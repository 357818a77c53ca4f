import json
import os
import pathlib
import sys

import pytest

from experiments import studies
from launchers import evaluate
from launchers import sweep
from mmdist.core import asset_paths
from mmdist.evaluation import judge as judge_lib

RUNS = tuple(studies.StudyRun(f'run{i}') for i in range(4))


def test_a_command_names_experiment_overrides_and_folder():
  run = studies.StudyRun(
    'x', 'experiments/mix.py:a', {'seed': 3, 'mode': 'sum'}
  )
  command = sweep.command_of(run, pathlib.Path('out'), ['--config.num_steps=9'])
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
  assert sweep.share_cores(cores, workers) == shares


@pytest.fixture
def fake_command(monkeypatch):
  """Runs that say on which cores they are, and fail for run2."""

  def command_of(run, out, extra):
    del out
    text = (
      'import os, sys; print(sorted(os.sched_getaffinity(0)), sys.argv[1]); '
      f'sys.exit({3 if run.name == "run2" else 0})'
    )
    return [sys.executable, '-c', text, *extra]

  monkeypatch.setattr(sweep, 'command_of', command_of)


def test_a_run_that_fails_is_named_and_the_others_are_made(
  fake_command, tmp_path
):
  before, said = os.sched_getaffinity(0), []
  failed = sweep.make_runs(RUNS, tmp_path / 'new', 2, ['word'], said.append)
  assert failed == ['run2']
  assert sorted(said) == [
    'run0: done',
    'run1: done',
    'run2: exit code 3',
    'run3: done',
  ]
  shares = {str(sorted(s)) for s in sweep.share_cores(sorted(before), 2)}
  for run in RUNS:
    log = (tmp_path / 'new' / f'{run.name}.log').read_text()
    assert log.strip().removesuffix(' word') in shares
  assert os.sched_getaffinity(0) == before


def test_the_table_is_kept_as_text_and_for_programs(tmp_path, monkeypatch):
  def evaluate_run(run, judge):
    assert judge == 'the judge'
    return dict.fromkeys(evaluate.COLUMNS, 0.5) | {'run': run}

  monkeypatch.setattr(evaluate, 'evaluate_run', evaluate_run)
  monkeypatch.setattr(asset_paths, 'resolve', lambda name: name)
  monkeypatch.setattr(judge_lib, 'load', lambda name: f'the {name}')
  text = sweep.write_table(RUNS[:2], tmp_path, 'judge')
  assert (tmp_path / 'table.txt').read_text() == text + '\n'
  rows = json.loads((tmp_path / 'table.json').read_text())
  assert [row['run'] for row in rows] == [
    str(tmp_path / run.name) for run in RUNS[:2]
  ]
