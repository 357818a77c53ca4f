import dataclasses
import json

import pytest

from experiments import mix
from mmdist.config import serialization
from mmdist.run import locks
from mmdist.sweeps import cells
from mmdist.sweeps import claims
from mmdist.sweeps import folder
from mmdist.sweeps import sweep_results


@pytest.fixture
def config():
  return mix.get_config('happy_sad')


def make(config, **axes):
  return cells.grid(config, axes)


def claim(workdir, grid):
  with folder.claimed(workdir, grid):
    folder.record(workdir, grid)


def test_a_sweep_goes_on_in_its_folder_and_may_grow(config, tmp_path):
  workdir = tmp_path / 'sweep'
  claim(workdir, make(config, happy=[0, 1], seed=[0]))
  claim(workdir, make(config, happy=[0, 1], seed=[0]))
  claim(workdir, make(config, happy=[0, 0.5, 1], seed=[0, 1]))
  data = json.loads((workdir / 'sweep.json').read_text())
  assert len(data['cells']) == 6
  assert data['axes'] == {'happy': [0, 0.5, 1], 'seed': [0, 1]}
  # Now that it has grown, the smaller one is another.
  with pytest.raises(ValueError, match="cell 'happy_0-seed_1' is not among"):
    claim(workdir, make(config, happy=[0, 1], seed=[0]))


def test_another_sweep_is_refused_and_changes_nothing(config, tmp_path):
  claim(tmp_path, make(config, happy=[0, 1]))
  before = (tmp_path / 'sweep.json').read_bytes()
  config.learner.learning_rate = 0.5
  with pytest.raises(
    ValueError,
    match="another sweep: in its cell 'happy_0' learner.learning_rate: 0.003",
  ):
    claim(tmp_path, make(config, happy=[0, 1]))
  assert (tmp_path / 'sweep.json').read_bytes() == before


def test_what_decides_nothing_about_the_avatars_may_differ(config, tmp_path):
  claim(tmp_path, make(config, happy=[0, 1]))
  config.results.turntable_views = 4
  config.checkpoints.every = 7
  claim(tmp_path, make(config, happy=[0, 1]))


def test_cells_of_different_shapes_are_told_apart(config, tmp_path):
  one = cells.Cell('one', config)
  other = mix.get_config('joker_minus_green')
  other.concepts = other.concepts[:1]
  grid = cells.Grid((), (one, cells.Cell('other', other)))
  claim(tmp_path, grid)
  claim(tmp_path, grid)
  more = dataclasses.replace(other, seed=3)
  with pytest.raises(ValueError, match="in its cell 'other' seed: 0 -> 3"):
    claim(tmp_path, cells.Grid((), (one, cells.Cell('other', more))))


def test_a_folder_of_something_else_is_refused(config, tmp_path):
  grid = make(config, happy=[0, 1])
  (tmp_path / 'config.json').write_text('{}')
  with pytest.raises(ValueError, match=r'holds a run \(config.json\)'):
    claim(tmp_path, grid)
  file = tmp_path / 'file'
  file.touch()
  with pytest.raises(NotADirectoryError, match='is a file'):
    claim(file, grid)
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'letter.txt').touch()
  with pytest.raises(ValueError, match=r'something else \(letter.txt\)'):
    claim(tmp_path / 'other', grid)


def test_a_damaged_record_is_one_line(config, tmp_path):
  grid = make(config, happy=[0, 1])
  claim(tmp_path, grid)
  for text in (
    '{',
    '[]',
    '{"base": 1}',
    '{"base": {}, "cells": [1]}',
    '[' * 100_000,
  ):
    (tmp_path / 'sweep.json').write_text(text)
    with pytest.raises(ValueError, match='sweep.json is damaged'):
      claim(tmp_path, grid)


@pytest.mark.parametrize(
  'name',
  [
    'sweep.json',
    'cells',
    'cells/happy_0',
    'cells/happy_0.log',
    'cells/happy_1/config.json',
    *sweep_results.FILES.values(),
  ],
)
def test_a_link_out_of_the_folder_is_refused(config, tmp_path, name):
  workdir, outside = tmp_path / 'sweep', tmp_path / 'outside'
  (workdir / name).parent.mkdir(parents=True)
  outside.mkdir()
  (workdir / name).symlink_to(outside)
  with pytest.raises(ValueError, match=f'{name} is a link to .*') as caught:
    claim(workdir, make(config, happy=[0, 1]))
  assert '\n' not in str(caught.value)
  assert not list(outside.iterdir())


def test_a_table_of_claims_that_is_a_link_out_of_the_folder_is_refused(
  config, tmp_path
):
  grid = make(config, seed=[0, 1])
  seeds = {'plain': tuple(cell.name for cell in grid.cells)}
  claim(tmp_path, grid)
  (tmp_path / 'own.md').symlink_to(tmp_path.parent / 'outside')
  for name in ('other', 'own'):
    comparison = claims.Comparison(name, 'plain', seeds, ())
    claimed = dataclasses.replace(grid, comparison=comparison)
    if name == 'other':  # A person's link of another name is left alone.
      claim(tmp_path, claimed)
      continue
    with pytest.raises(ValueError, match='own.md is a link to '):
      claim(tmp_path, claimed)


def test_two_cannot_sweep_in_one_folder(config, tmp_path):
  grid = make(config, happy=[0, 1])
  with folder.claimed(tmp_path, grid):
    with pytest.raises(locks.InUse, match='is in use by process'):
      claim(tmp_path, grid)
  claim(tmp_path, grid)


def test_a_folder_that_a_killed_sweep_left_is_taken(config, tmp_path):
  (tmp_path / 'cells').mkdir()
  claim(tmp_path, make(config, happy=[0, 1]))


def test_the_state_of_a_cell_is_read_from_its_folder(config, tmp_path):
  cell = make(config, happy=[1]).cells[0]
  assert folder.state_of(tmp_path, cell) == 'new'
  run = folder.cell_folder(tmp_path, cell)
  run.mkdir(parents=True)
  (run / 'config.json').write_text(serialization.to_json(cell.config))
  assert folder.state_of(tmp_path, cell) == 'begun'
  (run / 'checkpoints' / str(cell.config.num_steps)).mkdir(parents=True)
  assert folder.state_of(tmp_path, cell) == 'begun'  # Without its results.
  (run / 'report.html').touch()
  assert folder.state_of(tmp_path, cell) == 'finished'
