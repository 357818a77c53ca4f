import os
import types

import pytest

from mmdist.api import optimization
from mmdist.config import schema
from mmdist.run import sessions
from mmdist.sweeps import cell_runner


class Placed(cell_runner.CellRunner):
  """Tells where it runs, in place of running."""

  def _run(self, task):
    return cell_runner.Outcome('finished', os.getcwd())


def run_in(folder, tmp_path) -> str:
  log = str(tmp_path / 'log')
  config = schema.RunConfig()
  task = cell_runner.Task('a', config, 'w', log, folder=str(folder))
  return Placed().run(task).error


def test_a_cell_runs_where_its_sweep_was_started_and_comes_back(tmp_path):
  before = os.getcwd()
  assert run_in(tmp_path, tmp_path) == str(tmp_path)
  assert os.getcwd() == before


def test_a_cell_stays_where_it_is_on_a_machine_without_that_folder(tmp_path):
  assert run_in(tmp_path / 'nowhere', tmp_path) == os.getcwd()
  assert run_in('', tmp_path) == os.getcwd()


@pytest.mark.parametrize('typed', ['mmdist sweep --seeds=0,1', ''])
def test_a_cell_is_of_the_command_of_its_sweep(tmp_path, monkeypatch, typed):
  def optimize(what, workdir, **_):
    sessions.record(workdir, 0)  # As a run's reporter does.
    return types.SimpleNamespace(is_finished=True)

  monkeypatch.setattr(optimization, 'optimize', optimize)
  task = cell_runner.Task(
    'a', schema.RunConfig(), str(tmp_path), str(tmp_path / 'log'), command=typed
  )
  assert cell_runner.CellRunner().run(task).kind == 'finished'
  (row,) = sessions.read(tmp_path)
  assert row['command'] == (typed or sessions.command())
