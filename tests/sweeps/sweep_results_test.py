"""What a sweep leaves, also where the files of one cell are damaged."""

import csv
import dataclasses
import json

from PIL import Image
import pytest

from experiments import mix
from mmdist.config import experiments
from mmdist.config import serialization
from mmdist.evaluation import judge as judge_lib
from mmdist.run import early_warnings
from mmdist.sweeps import cell_sources
from mmdist.sweeps import cells
from mmdist.sweeps import claims
from mmdist.sweeps import columns
from mmdist.sweeps import folder
from mmdist.sweeps import judging
from mmdist.sweeps import page as page_lib
from mmdist.sweeps import sweep_results


@pytest.fixture
def grid():
  return cells.grid(mix.get_config('happy_sad'), {'seed': [0, 1, 2]})


@pytest.fixture
def workdir(grid, tmp_path, monkeypatch):
  """A sweep whose cells have made two steps; no judge is loaded."""
  for cell in grid.cells:
    run = folder.cell_folder(tmp_path, cell)
    (run / 'checkpoints' / '2').mkdir(parents=True)
    rows = [{'step': i, 'step_seconds': 1.5, 'loss': 0.1} for i in range(2)]
    lines = ''.join(json.dumps(row) + '\n' for row in rows)
    (run / 'metrics.jsonl').write_text(lines)

  def look_at(workdir, cell, looks, concepts, *, with_shape):
    name = f'{cell.name}.png'
    picture = Image.new('RGB', (judging.PICTURE, judging.PICTURE))
    picture.save(workdir / folder.CELLS_NAME / name)
    seen = {
      'picture': name,
      'sees': {'happy': 0.5, 'sad': 0.25},
      'saturation': 0.5,
      'detail': 0.1,
    }
    shape = {'shape_agreement': 0.75, 'normal_noise_deg': 9.0}
    return seen | shape if with_shape else seen

  monkeypatch.setattr(judge_lib, 'load', lambda folder: None)
  monkeypatch.setattr(judging, 'concepts_of', lambda cells, looks: {})
  monkeypatch.setattr(judging, 'look_at', look_at)
  return tmp_path


def make(workdir, grid):
  said = []
  results = sweep_results.make(workdir, grid, {}, report=said.append)
  assert all(path.stat().st_size for path in results.values())
  return sweep_results.read_rows(workdir), said


def test_the_table_has_a_row_for_each_cell(workdir, grid):
  rows, said = make(workdir, grid)
  assert [(row['name'], row['seed']) for row in rows] == [
    ('seed_0', 0),
    ('seed_1', 1),
    ('seed_2', 2),
  ]
  assert {row['seconds'] for row in rows} == {3.0}
  assert {row['error'] for row in rows} == {''} and not said
  with open(workdir / 'table.csv', newline='') as file:
    assert [row['detail'] for row in csv.DictReader(file)] == ['0.1'] * 3


def test_every_column_is_an_axis_or_one_that_is_known(workdir, grid):
  rows, _ = make(workdir, grid)
  for column in rows[0]:
    assert columns.is_own(column) or column in {a.field for a in grid.axes}
  assert set(columns.OWN) <= set(rows[0])
  with open(workdir / 'table.csv', newline='') as file:
    assert next(csv.reader(file))[-2:] == ['seconds', 'error']


@pytest.mark.parametrize(
  'text, error',
  [
    ('nonsense\n{}\n', 'metrics.jsonl line 1 is not JSON'),
    ('[' * 100_000 + '\n{}\n', 'line 1 is not JSON (too many brackets)'),
    ('{"step_seconds": "fast"}\n', "step_seconds is 'fast'; expected a number"),
    ('{"step_seconds": true}\n', 'step_seconds is True; expected a number'),
    ('{"step": "one", "loss": 1}\n', "step is 'one'; expected a number"),
    ('{"step": null, "loss": 1}\n', 'step is nan; expected a number'),
  ],
)
def test_damaged_metrics_are_the_error_of_their_cell_alone(
  text, error, workdir, grid
):
  damaged = folder.cell_folder(workdir, grid.cells[1]) / 'metrics.jsonl'
  damaged.write_text(text)
  rows, said = make(workdir, grid)
  assert [row['seconds'] for row in rows] == [3.0, None, 3.0]
  assert [row['detail'] for row in rows] == [0.1] * 3
  assert not rows[0]['error'] and not rows[2]['error']
  assert rows[1]['error'].startswith('has no curves: ')
  assert error in rows[1]['error'] and '\n' not in rows[1]['error']
  assert said == [f"cell 'seed_1' {rows[1]['error']}"]


@pytest.mark.parametrize('value', ['"much"', '1e999', '1' * 9999, '[1]'])
def test_a_metric_that_is_no_number_is_a_gap_of_its_curve(value, workdir, grid):
  path = folder.cell_folder(workdir, grid.cells[1]) / 'metrics.jsonl'
  path.write_text(path.read_text() + f'{{"step": 2, "loss": {value}}}\n')
  rows, said = make(workdir, grid)
  assert not said and [row['error'] for row in rows] == [''] * 3
  assert 'loss</text>' in (workdir / 'index.html').read_text()


def test_a_cell_that_cannot_be_opened_is_not_shown_and_the_others_are(
  workdir, grid, monkeypatch
):
  look_at = judging.look_at

  def fail(workdir, cell, *more, **shape):
    if cell.name == 'seed_1':
      raise FileNotFoundError('its checkpoint is gone')
    return look_at(workdir, cell, *more, **shape)

  monkeypatch.setattr(judging, 'look_at', fail)
  rows, said = make(workdir, grid)
  assert said == ["cell 'seed_1' cannot be shown: its checkpoint is gone"]
  assert rows[1]['error'] == 'cannot be shown: its checkpoint is gone'
  assert [row.get('detail') for row in rows] == [0.1, None, 0.1]


def page_of(workdir, grid, monkeypatch):
  """Returns what the page says, and the lines about the cells."""
  pages = []
  monkeypatch.setattr(
    page_lib, 'to_html', lambda page: pages.append(page) or ''
  )
  said = []
  sweep_results.make(workdir, grid, {}, report=said.append)
  return pages[0], said


def test_the_page_links_what_there_is_of_each_cell(workdir, grid, monkeypatch):
  for cell, name in [('seed_1', 'turntable.webp'), ('seed_2', 'report.html')]:
    (workdir / 'cells' / cell / name).touch()
  page, _ = page_of(workdir, grid, monkeypatch)
  assert page.animations == {'seed_1': 'cells/seed_1/turntable.webp'}
  assert page.reports == {'seed_2': 'cells/seed_2/report.html'}
  assert set(page.metrics) == {'seed_0', 'seed_1', 'seed_2'}
  assert page.metrics['seed_0'][1]['loss'] == 0.1


def test_cells_without_values_differ_all_the_same(workdir, grid, monkeypatch):
  plain = mix.get_config('happy_sad')
  other = mix.get_config('joker_minus_green')
  fewer = dataclasses.replace(plain, concepts=plain.concepts[:1], seed=5)
  made = cells.check_cells(
    [
      cells.Cell('plain', plain),
      cells.Cell('other', other),
      cells.Cell('fewer', fewer),
    ]
  )
  page, _ = page_of(workdir, cells.Grid((), made), monkeypatch)
  assert page.own['plain']['seed'] == 0 and page.own['fewer']['seed'] == 5
  assert page.own['other']['concepts[1].text'] == other.concepts[1].text
  assert 'concepts[1].text' not in page.own['fewer']
  # What differs and what is common are all that there is.
  for cell in made:
    flat = serialization.flatten(cell.config)
    assert page.own[cell.name].keys() | page.common.keys() == flat.keys()
    assert not page.own[cell.name].keys() & page.common.keys()
    for path, value in (page.own[cell.name] | page.common).items():
      assert value == serialization.to_dict(flat[path])


def compared(grid, *figures):
  """The grid with claims about its third cell, against the two before."""
  found = [claims.Claim('other', figure, 'same', 'here') for figure in figures]
  presets = {'plain': ('seed_0', 'seed_1'), 'other': ('seed_2',)}
  comparison = claims.Comparison('compared', 'plain', presets, tuple(found))
  return dataclasses.replace(grid, comparison=comparison)


def test_cells_that_are_compared_have_every_figure_and_a_table(
  workdir, grid, monkeypatch
):
  monkeypatch.setattr(folder, 'state_of', lambda workdir, cell: 'finished')
  monkeypatch.setattr(early_warnings, 'fluctuation', lambda rows: len(rows))
  rows, said = make(workdir, compared(grid, *claims.FIGURES))
  assert not said
  for row in rows:
    assert {name: row[name] for name in columns.COMPARED} == {
      'agreement': 0.375,  # Both concepts are wanted.
      'shape_agreement': 0.75,
      'normal_noise_deg': 9.0,
      'fluctuation': 2,
    }
    assert all(map(columns.is_own, columns.COMPARED))
  text = (workdir / 'compared.md').read_text()
  assert text.count('| same | same | yes |') == len(claims.FIGURES)


def test_what_is_pushed_away_is_no_agreement(workdir, grid):
  made = cells.grid(mix.get_config('happy_sad'), {'sad': [-0.5, 0.0]})
  row = {'shape_agreement': None, 'normal_noise_deg': None}
  seen = {'sees': {'happy': 0.5, 'sad': 0.25}, **row}
  for cell in made.cells:
    found = sweep_results._compared_figures(cell, seen, [])
    assert found['agreement'] == 0.5 and found['fluctuation'] is None


def test_nothing_is_compared_where_nothing_is_claimed(workdir, grid):
  rows, _ = make(workdir, grid)
  assert not set(columns.COMPARED) & set(rows[0])
  assert not list(workdir.glob('*.md'))


@pytest.mark.parametrize('study', ['mixes', 'proxies'])
def test_the_cells_of_a_study_say_in_what_they_differ(study):
  plain = experiments.load('generate')
  made = cell_sources.find_cells(plain, study=study).cells
  own = sweep_results.own_settings(made)
  assert all(not cell.values and own[cell.name] for cell in made)
  texts = [json.dumps(one, sort_keys=True) for one in own.values()]
  assert len(set(texts)) == len(texts)
