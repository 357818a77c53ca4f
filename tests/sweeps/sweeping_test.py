"""What is settled before a sweep runs; what runs it is a stand-in."""

import pytest

from experiments import mix
from mmdist.distribution import faults
from mmdist.distribution import tokens
from mmdist.run import memory_estimate
from mmdist.sweeps import cells
from mmdist.sweeps import folder
from mmdist.sweeps import scheduling
from mmdist.sweeps import sweep_command
from mmdist.sweeps import sweep_run
from mmdist.sweeps import sweeping


@pytest.fixture
def grid():
  return cells.grid(mix.get_config('happy_sad'), {'seed': [0, 1]})


def test_a_dry_run_says_all_and_writes_nothing(grid, tmp_path):
  lines = []
  workdir = tmp_path / 'sweep'
  assert (
    sweeping.sweep(grid, workdir, dry_run=True, report=lines.append) is None
  )
  assert [line.split()[0] for line in lines[-2:]] == ['seed_0', 'seed_1']
  assert lines[-3].startswith('memory of the learner: about ')
  assert not workdir.exists()


@pytest.mark.parametrize('executor', ['ray', 'inline'])
def test_priors_that_cannot_fit_are_refused_before_anything_begins(
  grid, tmp_path, monkeypatch, executor
):
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: 2**20)
  with pytest.raises(ValueError, match='need about .* and this machine has'):
    sweeping.sweep(
      grid, tmp_path / 'sweep', executor=executor, report=lambda line: None
    )
  assert not (tmp_path / 'sweep').exists()


def test_a_sweep_that_could_not_begin_may_begin_as_another(
  grid, tmp_path, monkeypatch
):
  def unavailable(*_, **__):
    raise faults.ClusterUnavailable('no Ray here')

  monkeypatch.setattr(sweep_run, 'run', unavailable)
  with pytest.raises(faults.ClusterUnavailable):
    sweeping.sweep(grid, tmp_path, report=lambda line: None)
  assert not (tmp_path / 'sweep.json').exists()
  other = cells.grid(mix.get_config('happy_sad'), {'seed': [7]})
  with pytest.raises(faults.ClusterUnavailable):
    sweeping.sweep(other, tmp_path, report=lambda line: None)


def test_a_preflight_takes_its_step_where_the_sweep_would(
  grid, tmp_path, monkeypatch
):
  seen, lines = [], []

  def run(plan, workdir, settings, report):
    seen.append((settings, [cell.name for cell in plan.to_run], workdir))
    log = sweeping.folder.log_path(workdir, plan.to_run[0])
    log.parent.mkdir(parents=True)
    log.write_text('preflight passed\n')
    return {'seed_0': scheduling.Ended('failed' if seen[1:] else 'finished')}

  monkeypatch.setattr(sweep_run, 'run', run)

  def take():
    sweeping.sweep(
      grid,
      tmp_path / 'sweep',
      preflight_only=True,
      cores_per_cell=2,
      report=lines.append,
    )

  take()
  ((settings, names, workdir),) = seen
  assert settings.preflight_only and settings.cores == 2
  assert names == ['seed_0'] and str(tmp_path) not in str(workdir)
  assert lines[-1] == 'preflight passed'
  assert not (tmp_path / 'sweep').exists()
  with pytest.raises(ValueError, match="one step of cell 'seed_0' failed"):
    take()


def test_an_address_at_which_nobody_is_leaves_nothing(
  grid, tmp_path, monkeypatch
):
  workdir, nobody = tmp_path / 'sweep', '127.0.0.1:1'
  # Other tests of this process may have started a Ray.
  monkeypatch.setattr(tokens, '_started_with', [])
  with pytest.raises(faults.ClusterUnavailable, match='nobody answers at'):
    sweeping.sweep(grid, workdir, address=nobody)
  options = sweep_command.Options(
    workdir=str(workdir), seeds=('0', '1'), ray_address=nobody
  )
  with pytest.raises(faults.ClusterUnavailable, match='nobody answers at'):
    sweep_command.run(mix.get_config('happy_sad'), options)
  assert not workdir.exists()
  # Nobody is asked where nothing is to be run.
  sweeping.sweep(grid, workdir, address=nobody, dry_run=True)
  monkeypatch.setattr(folder, 'is_done', lambda *_: True)
  monkeypatch.setattr(sweeping.planning, 'make_plan', lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    sweep_command.run(mix.get_config('happy_sad'), options)


@pytest.mark.parametrize(
  'options',
  [
    {'cores_per_cell': -2},
    {'gpus_per_cell': float('inf')},
    {'gpus_per_cell': float('nan')},
    {'max_attempts': 0},
    {'max_running': -1},
  ],
)
def test_odd_numbers_are_told_before_anything_begins(grid, tmp_path, options):
  (name,) = options
  with pytest.raises(ValueError, match=f'{name} is .*; expected at least'):
    sweeping.sweep(grid, tmp_path / 'sweep', **options)
  assert not (tmp_path / 'sweep').exists()


def test_a_judge_that_is_none_is_told_before_the_cells_run(grid, tmp_path):
  with pytest.raises(FileNotFoundError, match='judge.json is missing'):
    sweeping.sweep(grid, tmp_path / 'sweep', judge=str(tmp_path), dry_run=True)


def test_a_folder_that_cannot_be_made_is_told_by_a_dry_run(grid, tmp_path):
  (tmp_path / 'file').touch()
  (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
  for name, words in (('file/x', 'is a file;'), ('link', 'which is not there')):
    with pytest.raises(OSError, match=words):
      sweeping.sweep(grid, tmp_path / name, dry_run=True)
