import json
import subprocess
import sys
import time

import pytest

from experiments import mix
from mmdist.config import serialization
from mmdist.sweeps import cells
from mmdist.sweeps import folder
from mmdist.sweeps import plan_lines
from mmdist.sweeps import planning

# On a GPU machine JAX would take most of the memory from the cells.
_PLAN = """
import jax
from experiments import mix
from mmdist.sweeps import cells, planning
grid = cells.grid(mix.get_config('happy_sad'), {'happy': [0.5, 1]})
plan = planning.make_plan(grid, 'none', 2)
assert planning.estimate_learner(plan, 2).num_devices == 2
jax.config.update('jax_platforms', 'none')
try:
  jax.devices()
except RuntimeError:
  print('not started')
"""


@pytest.mark.slow
def test_a_plan_does_not_start_jax():
  told = subprocess.run(
    [sys.executable, '-c', _PLAN], capture_output=True, text=True, check=True
  )
  assert told.stdout == 'not started\n'


def test_the_largest_learner_of_all_cells_counts(config, tmp_path):
  axis = {'learner.chunk_size': [64, 256, 128]}
  plan = planning.make_plan(cells.grid(config, axis), tmp_path, 2)
  one = planning.estimate_learner(plan.of(['chunk_size_64']), 2)
  largest = planning.estimate_learner(plan, 2)
  assert largest == planning.estimate_learner(plan.of(['chunk_size_256']), 2)
  assert largest.activations > 3.5 * one.activations


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
  (tmp_path / 'none').mkdir()
  folder.record(tmp_path / 'none', grid)
  (tmp_path / 'none' / 'sweep.json').rename(tmp_path / 'sweep.json')
  plan = planning.make_plan(grid, tmp_path, 2)
  assert [c.name for c in plan.to_run] == [
    'happy_0.5-sad_0',
    'happy_0.5-sad_1',
    'happy_1-sad_0',
    'happy_1-sad_1',
  ]
  lines = plan_lines.format_plan(plan, 2, '2 cores', tmp_path)
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
  lines = plan_lines.format_plan(plan, None, '2 cores', tmp_path)
  assert lines[3] == (
    'cells    as many as there is room for at a time, each on 2 cores'
  )
  assert lines[-1].endswith(
    'about 40 min 00 s, without starting, one after the other'
  )
  shown = plan_lines.format_cells(plan)
  assert shown[1].split() == (
    'happy_0-sad_1 finished rgb S = 1, normal S = 1'.split()
  )


def test_a_part_of_a_plan_leaves_the_others_for_later(config, tmp_path):
  grid = cells.grid(config, {'seed': range(4)})
  plan = planning.make_plan(grid, tmp_path, 1).of(['seed_1', 'seed_2'])
  assert [c.name for c in plan.to_run] == ['seed_1', 'seed_2']
  assert (
    '2 for another time' in plan_lines.format_plan(plan, 1, '', tmp_path)[0]
  )
  with pytest.raises(ValueError, match="unknown cell 'seed_9'"):
    plan.of(['seed_9'])


def test_what_a_cell_of_another_time_loads_need_not_be_there(config, tmp_path):
  missing = "cell 'later': .*runs/of_later"
  for field in ('nerf_assets', 'priors.normal.directory'):
    now = {'name': 'now'}
    later = {'name': 'later', field: 'runs/of_later'}
    grid = cells.Grid((), cells.listed(config, [now, later]))
    with pytest.raises(FileNotFoundError, match=missing):
      planning.make_plan(grid, tmp_path, 1)
    plan = planning.make_plan(grid, tmp_path, 1, ['now'])
    assert plan.states == {'now': 'new', 'later': 'later'}
    assert plan.recipes['later'] == [] and plan.recipes['now']
    with pytest.raises(FileNotFoundError, match=missing):
      planning.make_plan(grid, tmp_path, 1, ['later'])
  with pytest.raises(ValueError, match="unknown cell 'soon'"):
    planning.make_plan(grid, tmp_path, 1, ['now', 'soon'])


def test_a_cell_that_cannot_be_run_is_named(config, tmp_path):
  grid = cells.grid(config, {'happy': [1, -1], 'sad': [0]})
  with pytest.raises(
    ValueError, match="cell 'happy_-1-sad_0': no concept has a positive weight"
  ):
    planning.make_plan(grid, tmp_path, 1)
  words = cells.grid(config, {'concepts[0].text': ['a man', 'a xylophone']})
  with pytest.raises(ValueError, match="unknown words: 'xylophone'"):
    planning.make_plan(words, tmp_path, 1)


def test_what_a_cell_would_start_from_is_checked(config, tmp_path):
  for field, value, words in (
    ('nerf_assets', '/nowhere', "cell 'nerf_assets_.*nowhere.*': nerf_assets:"),
    (
      'learner.start_code',
      '9999',
      "cell 'start_code_9999': learner",
    ),
    ('nerf.nerf_width', 32, "cell 'nerf_width_32': the weights in .* are of "),
    (
      'priors.normal.directory',
      '/nowhere',
      "cell 'directory_.*: priors.normal: .*/nowhere",
    ),
  ):
    grid = cells.grid(config, {field: [value]})
    with pytest.raises((ValueError, OSError), match=words):
      planning.make_plan(grid, tmp_path, 1)


def test_a_cell_that_was_changed_by_hand_is_named(config, tmp_path):
  grid = cells.grid(config, {'seed': [0, 1]})
  cell = folder.cell_folder(tmp_path, grid.cells[1])
  (cell / 'checkpoints' / str(config.num_steps)).mkdir(parents=True)
  (cell / 'report.html').touch()
  text = serialization.to_json(grid.cells[1].config)
  for changed, words in (
    (text.replace('"num_steps": 300', '"num_steps": 7'), 'num_steps: 7 -> 300'),
    ('{', 'config.json'),
  ):
    (cell / 'config.json').write_text(changed)
    folder.record(tmp_path, grid)
    with pytest.raises(ValueError, match=f"cell 'seed_1': .*{words}"):
      planning.make_plan(grid, tmp_path, 1)
  (cell / 'config.json').write_text(text)
  assert planning.make_plan(grid, tmp_path, 1).states['seed_1'] == 'finished'


def test_a_cell_whose_folder_holds_something_else_is_named(config, tmp_path):
  grid = cells.grid(config, {'seed': [0, 1]})
  folder.record(tmp_path, grid)
  cell = folder.cell_folder(tmp_path, grid.cells[0])
  cell.write_text('a file')
  with pytest.raises(OSError, match="cell 'seed_0': .* is a file;"):
    planning.make_plan(grid, tmp_path, 1)
  cell.unlink()
  cell.parent.rmdir()
  cell.parent.write_text('no folder')
  with pytest.raises(OSError, match='cells is a file;'):
    planning.make_plan(grid, tmp_path, 1)


def test_the_time_left_counts_what_cells_have_behind_them(config, tmp_path):
  grid = cells.grid(config, {'seed': [0, 1]})
  folder.record(tmp_path, grid)
  cell = folder.cell_folder(tmp_path, grid.cells[0])
  (cell / 'checkpoints' / '200').mkdir(parents=True)
  (cell / 'config.json').write_text(serialization.to_json(grid.cells[0].config))
  plan = planning.make_plan(grid, tmp_path, 1)
  lines = plan_lines.format_plan(plan, 1, '', tmp_path)
  assert lines[-1].startswith('time     400 steps; ')


def test_what_priors_will_read_and_how_weights_add_up_is_said(config, tmp_path):
  grid = cells.grid(config, {'happy': [0.5, 1], 'sad': [-0.2, 0.4]})
  plan = planning.make_plan(grid, tmp_path, 1)
  lines = plan_lines.format_plan(plan, 1, '', tmp_path)
  (reads,) = [one for one in lines if one.startswith('reads    generic')]
  assert reads == (
    "reads    generic: 'a portrait of a happy man', 'a portrait of a sad man', "
    'with each of 11 view words'
  )
  (balance,) = [one for one in lines if one.startswith('balance')]
  assert balance == (
    'balance  rgb S = 0.3 to 1.4, normal S = 0.3 to 1.4; composed by sum'
  )
  assert sum(line.startswith('open     the paper') for line in lines) == 1


def test_memory_of_frozen_weights_does_not_grow_with_the_cells(
  config, tmp_path
):
  plan = planning.make_plan(cells.grid(config, {'seed': range(4)}), tmp_path, 1)

  def needed(num_slots, executor='ray'):
    estimate, copies = planning.estimate_memory(plan, num_slots, executor)
    return copies * estimate.needed(list(estimate.footprints))

  one, two, four = (needed(n) for n in (1, 2, 4))
  assert two - one == (four - two) / 2  # Proxies and activations.
  assert needed(4, 'inline') == 4 * one > four


def test_a_balance_without_a_fixed_point_is_said_once(config, tmp_path):
  grid = cells.grid(config, {'sad': [-0.6, -0.7], 'seed': [0, 1, 2]})
  plan = planning.make_plan(grid, tmp_path, 1)
  warned = [
    line
    for line in plan_lines.format_plan(plan, 1, '', tmp_path)
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
    lambda prior, sent: (
      looked.append(prior.directory) or check_files(prior, sent)
    ),
  )
  axes = {'happy': [i / 10 for i in range(1, 11)], 'seed': range(10)}
  grid = cells.grid(config, axes)
  start = time.process_time()  # Whatever else the machine does meanwhile.
  plan = planning.make_plan(grid, tmp_path, 1)
  plan_lines.format_plan(plan, 4, '', tmp_path)
  plan_lines.format_cells(plan)
  assert len(plan.to_run) == 100
  assert sorted(looked) == ['color', 'normal']
  # A thousand take four seconds of an EPYC's core; with room for coverage.
  assert time.process_time() - start < 6


def test_a_text_that_contradicts_itself_is_said_once(config, tmp_path):
  config.concepts[0].text = 'a portrait of a happy sad man'
  plan = planning.make_plan(cells.grid(config, {'seed': [0, 1]}), tmp_path, 1)
  warned = [
    line
    for line in plan_lines.format_plan(plan, 1, '', tmp_path)
    if line.startswith('warning') and 'a head has one expression' in line
  ]
  assert len(warned) == 1
