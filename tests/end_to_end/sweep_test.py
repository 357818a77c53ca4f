"""Cells of a sweep are the runs that they would be alone, whatever happens."""

import csv
import json
import os
import pathlib
import signal
import threading
import time

from PIL import Image
import pytest
import ray

from experiments import mix
from launchers import sweep
import mmdist
from mmdist.cameras import orbits
from mmdist.evaluation import agreement
from mmdist.sweeps import cell_runner
from mmdist.sweeps import folder
from mmdist.sweeps import shared_actors
from mmdist.sweeps import sweep_results
from mmdist.sweeps import sweeping
from tests import conftest
from tests.end_to_end import front_door_test
from tests.end_to_end import launching


def small_grid(trained, num_steps, **axes):
  config = front_door_test.small_config(trained)
  config.concepts = mix.get_config('happy_sad').concepts
  config.num_steps = num_steps
  config.checkpoints.every = 1
  return mmdist.grid(config, {'happy': [0, 1], 'sad': [0, 0.5]} | axes)


class Killer(threading.Thread):
  """Kills the learner of one cell, then every shared actor.

  Attributes:
    killed: what it has killed.
  """

  def __init__(self, workdir, first, second, pools):
    super().__init__(daemon=True)
    self._workdir = workdir
    self._first = first
    self._second = second
    self._pools = pools
    self.killed = []

  def run(self):
    self._kill_learner(self._first)
    self._wait_for_a_step(self._second)
    for owned in self._pools[-1]._actors.values():
      ray.kill(owned.actor, no_restart=False)
      self.killed.append('actor')

  def _wait_for_a_step(self, cell):
    path = self._workdir / 'cells' / cell / 'metrics.jsonl'
    while not path.is_file() or not path.read_text():
      time.sleep(0.02)

  def _kill_learner(self, cell):
    self._wait_for_a_step(cell)
    lock = self._workdir / 'cells' / cell / '.lock'
    os.kill(json.loads(lock.read_text())['pid'], signal.SIGKILL)
    self.killed.append('learner')


@pytest.fixture
def pools(monkeypatch):
  """The pools of shared actors that sweeps have made."""
  made, plain = [], shared_actors.ActorPool

  def make(options):
    made.append(plain(options))
    return made[-1]

  monkeypatch.setattr(shared_actors, 'ActorPool', make)
  return made


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
  """Has all processes compile quickly what they will run a few times."""
  monkeypatch.setenv('XLA_FLAGS', conftest.IN_A_HURRY)


@pytest.mark.chaos
@pytest.mark.parametrize(
  'num_steps, axes, num_running',
  [(2, {}, 2), (4, {'seed': [0, 1, 2]}, 8)],
  ids=['two learners', 'eight learners'],
)
def test_cells_that_share_actors_are_those_that_run_alone(
  num_steps, axes, num_running, trained, tmp_path, pools
):
  grid = small_grid(trained, num_steps, **axes)
  ran = [cell.name for cell in grid.cells if not cell.asks_nothing]
  said, alone, shared = [], tmp_path / 'alone', tmp_path / 'shared'
  settings = {'cores_per_cell': 1, 'judge': 'judge'}
  mmdist.sweep(
    grid, alone, executor='inline', max_running=1, report=str, **settings
  )
  killer = Killer(shared, ran[-2], ran[-1], pools)
  killer.start()
  made = mmdist.sweep(
    grid, shared, max_running=num_running, report=said.append, **settings
  )
  # The weights of both priors are there once, however many cells there are.
  assert killer.killed == ['learner', 'actor', 'actor']
  assert not made.failed
  for name in ran:
    digests = {
      mmdist.open_run(folder / 'cells' / name).digest()
      for folder in (alone, shared)
    }
    assert len(digests) == 1, name
  again = [line for line in said if 'it will be tried again' in line]
  assert any(line.startswith(ran[-2]) for line in again)
  _check_results(made, ran)
  # The same command finds nothing to do.
  more = []
  made = mmdist.sweep(grid, shared, report=more.append)
  assert more[0].startswith(
    f'sweep    {len(grid.cells)} cells: {len(ran)} finished, '
  )
  _check_results(made, ran)


@pytest.fixture
def few_views(monkeypatch):
  """Has a judge look from two sides: renders are slow here."""
  judging_views, turntable = agreement.judging_views, orbits.turntable
  monkeypatch.setattr(
    agreement, 'judging_views', lambda: judging_views().take(range(2))
  )
  monkeypatch.setattr(orbits, 'turntable', lambda _: turntable(2))


@pytest.mark.slow
def test_a_cell_is_a_run_and_its_results_are_shown(
  few_views, trained, tmp_path
):
  grid = small_grid(trained, 1, sad=[0])
  start, cell = grid.cells
  runner = cell_runner.CellRunner()
  with folder.claimed(tmp_path, grid):
    task = cell_runner.Task(
      cell.name,
      cell.config,
      str(folder.cell_folder(tmp_path, cell)),
      str(folder.log_path(tmp_path, cell)),
    )
    outcome = runner.run(task)
    assert (outcome.kind, outcome.error) == ('finished', '')
    assert 'step 1 of 1' in folder.log_path(tmp_path, cell).read_text()
    results = sweep_results.make(tmp_path, grid, {}, report=str)
  rows = sweep_results.read_rows(tmp_path)
  made = sweeping.Sweep(tmp_path, grid, rows, results, {})
  _check_results(made, [cell.name])
  # A cell that somebody changed by hand is told of, and nothing is written.
  config = folder.cell_folder(tmp_path, cell) / 'config.json'
  config.write_text(config.read_text().replace('"seed": 0', '"seed": 7'))
  outcome = runner.run(task)
  assert outcome.kind == 'failed' and not outcome.may_pass
  assert 'holds a run of another configuration (seed: 7 -> 0)' in outcome.error
  assert start.asks_nothing


@pytest.mark.long
def test_a_sweep_from_flags_leaves_its_results(
  trained, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(launching.ROOT)
  mix_file = tmp_path / 'mix.py'
  mix_file.write_text(
    'from experiments import mix, smoke\n'
    "def get_config(preset=''):\n"
    '  run = smoke.get_config()\n'
    "  run.concepts = mix.get_config('happy_sad').concepts\n"
    '  return run\n'
  )
  words = [
    word
    for word in launching.words(
      trained, tmp_path / 'sweep', experiment=mix_file, prompt=''
    )
    if word != '--executor=inline'
  ]
  axes = ['--grid=happy=0,1', '--grid=sad=0', '--set=num_steps=1']
  more = ['--cores_per_cell=1', '--seeds=3']
  with pytest.raises(SystemExit) as exit_:
    sweep.COMMAND.run(['sweep', *words, *axes, *more])
  said = capsys.readouterr()
  assert not exit_.value.code, said.err
  assert 'sweep    2 cells: 1 to begin, 1 that ask nothing' in said.out
  assert 'happy_1-sad_0-seed_3: finished after' in said.out
  for name in ('sheet.png', 'table.csv', 'table.json', 'index.html'):
    assert (tmp_path / 'sweep' / name).stat().st_size > 0
    assert str(tmp_path / 'sweep' / name) in said.out


def _check_results(made: sweeping.Sweep, ran) -> None:
  assert [row['state'] for row in made.rows] == [
    'finished' if cell.name in ran else 'start' for cell in made.grid.cells
  ]
  for row in made.rows:
    assert 0 <= row['sees happy'] <= 1 and 0 <= row['sees sad'] <= 1
  with open(made.results['csv'], newline='') as file:
    assert [row['name'] for row in csv.DictReader(file)] == [
      cell.name for cell in made.grid.cells
    ]
  with Image.open(made.results['sheet']) as sheet:
    # Two pictures below each other at least, and their labels.
    assert sheet.width > 160 and sheet.height > len(made.rows) * 80
  page = pathlib.Path(made.results['page']).read_text()
  assert all(cell.name in page for cell in made.grid.cells)
