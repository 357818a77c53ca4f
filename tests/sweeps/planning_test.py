import json
import time

import pytest

from experiments import mix
from mmdist.config import serialization
from mmdist.sweeps import cells
from mmdist.sweeps import folder
from mmdist.sweeps import planning


@pytest.fixture
def config():
  return mix.get_config('happy_sad')


def test_a_plan_says_what_there_is_and_what_it_takes(config, tmp_path):
  grid = cells.grid(config, {'happy': [0, 0.5, 1], 'sad': [0, 1]})
  done = folder.cell_folder(tmp_path, grid.cells[1])
  (done / 'checkpoints' / str(config.num_steps)).mkdir(parents=True)
  (done / 'report.html').touch()
  (done / 'config.json').write_text(serialization.to_json(grid.cells[1].config))
  rows = [{'step': i, 'step_seconds': 2.0} for i in range(5)]
  text = ''.join(json.dumps(row) + '\n' for row in rows)
  (done / 'metrics.jsonl').write_text(text + '{"step": 5, "a": {"b": 1}')
  with folder.claimed(tmp_path / 'none', grid):
    pass
  (tmp_path / 'none' / 'sweep.json').rename(tmp_path / 'sweep.json')
  plan = planning.make_plan(grid, tmp_path, 2)
  assert [c.name for c in plan.to_run] == [
    'happy_0.5-sad_0',
    'happy_0.5-sad_1',
    'happy_1-sad_0',
    'happy_1-sad_1',
  ]
  lines = planning.format_plan(plan, 2, '2 cores')
  assert lines[0] == (
    'sweep    6 cells: 1 finished, 4 to begin, 1 that ask nothing and show the '
    'start'
  )
  assert lines[1:3] == ['axis     happy = 0, 0.5, 1', 'axis     sad = 0, 1']
  assert lines[3] == 'cells    2 at a time, each on 2 cores'
  models = [line for line in lines if line.startswith('model')]
  assert len(models) == 2  # However many cells there are.
  assert models[0].startswith('model    color of generic, once for all cells')
  assert lines[-1] == (
    'time     1200 steps of 2 s: about 20 min 00 s, without starting'
  )
  # A cluster says how many have room when they start.
  lines = planning.format_plan(plan, None, '2 cores')
  assert lines[3] == (
    'cells    as many as there is room for at a time, each on 2 cores'
  )
  assert lines[-1].endswith(
    'about 40 min 00 s, without starting, one after the other'
  )
  shown = planning.format_cells(plan)
  assert shown[1].split() == ['happy_0-sad_1', 'finished']


def test_a_part_of_a_plan_leaves_the_others_for_later(config, tmp_path):
  grid = cells.grid(config, {'seed': range(4)})
  plan = planning.make_plan(grid, tmp_path, 1).of(['seed_1', 'seed_2'])
  assert [c.name for c in plan.to_run] == ['seed_1', 'seed_2']
  assert '2 for another time' in planning.format_plan(plan, 1, '')[0]
  with pytest.raises(ValueError, match="unknown cell 'seed_9'"):
    plan.of(['seed_9'])


def test_a_cell_that_cannot_be_run_is_named(config, tmp_path):
  grid = cells.grid(config, {'happy': [1, -1], 'sad': [0]})
  with pytest.raises(
    ValueError, match="cell 'happy_-1-sad_0': no concept has a positive weight"
  ):
    planning.make_plan(grid, tmp_path, 1)
  words = cells.grid(config, {'concepts[0].text': ['a man', 'a xylophone']})
  with pytest.raises(ValueError, match="unknown words: 'xylophone'"):
    planning.make_plan(words, tmp_path, 1)


def test_a_balance_without_a_fixed_point_is_said_once(config, tmp_path):
  grid = cells.grid(config, {'sad': [-0.6, -0.7], 'seed': [0, 1, 2]})
  plan = planning.make_plan(grid, tmp_path, 1)
  warned = [
    line
    for line in planning.format_plan(plan, 1, '')
    if line.startswith('warning')
  ]
  assert len(warned) == 4  # Two channels, two sums.
  assert 'S = 0;' in warned[0]
  assert (
    '(cells: sad_-0.6-seed_0, sad_-0.6-seed_1, sad_-0.6-seed_2)' in warned[0]
  )


def test_priors_of_the_same_files_are_one_model(config, tmp_path):
  plan = planning.make_plan(
    cells.grid(config, {'priors.normal.directory': ['color', 'normal']}),
    tmp_path,
    1,
  )
  assert len(plan.models) == 2
  other = planning.make_plan(
    cells.grid(config, {'priors.normal.dtype': ['float32', 'bfloat16']}),
    tmp_path,
    1,
  )
  assert len(other.models) == 3


def test_planning_does_not_grow_with_what_cells_have_in_common(
  config, tmp_path, monkeypatch
):
  looked = []
  check_files = planning.preflight.check_files
  monkeypatch.setattr(
    planning.preflight,
    'check_files',
    lambda *files: looked.append(files[0]) or check_files(*files),
  )
  axes = {'happy': [i / 10 for i in range(1, 11)], 'seed': range(10)}
  grid = cells.grid(config, axes)
  start = time.process_time()  # Whatever else the machine does meanwhile.
  plan = planning.make_plan(grid, tmp_path, 1)
  planning.format_plan(plan, 4, '')
  planning.format_cells(plan)
  assert len(plan.to_run) == 100
  assert sorted(looked) == ['color', 'normal']
  # A thousand take four seconds of an EPYC's core; with room for coverage.
  assert time.process_time() - start < 6
