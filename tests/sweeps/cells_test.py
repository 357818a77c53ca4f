import copy
import re

import numpy as np
import pytest

from experiments import mix
from mmdist.config import schema
from mmdist.core import names
from mmdist.sweeps import cell_sources
from mmdist.sweeps import cells
from mmdist.sweeps import columns


@pytest.fixture(scope='module')
def config():
  return mix.get_config('happy_sad')


def weights(cell):
  return tuple(concept.weight for concept in cell.config.concepts)


def test_a_grid_is_the_product_of_its_axes(config):
  grid = cells.grid(
    config, {'happy': [0, 0.5, 1], 'sad': [0, 1], 'seed': [4, 5]}
  )
  assert len(grid.cells) == 12
  assert [(*weights(c), c.config.seed) for c in grid.cells[:5]] == [
    (0, 0, 4),
    (0, 0, 5),
    (0, 1, 4),
    (0, 1, 5),
    (0.5, 0, 4),
  ]
  assert [c.name for c in grid.cells[:2]] == [
    'happy_0-sad_0-seed_4',
    'happy_0-sad_0-seed_5',
  ]
  assert [c.asks_nothing for c in grid.cells[:4]] == [True, True, False, False]


def test_an_axis_may_be_any_field(config):
  axis = cell_sources.parse_axis(config, 'learner.learning_rate=1e-3, 3e-3')
  assert axis == cells.Axis('learner.learning_rate', (1e-3, 3e-3))
  made = cells.grid(config, [axis]).cells
  assert [c.config.learner.learning_rate for c in made] == [1e-3, 3e-3]
  assert [c.name for c in made] == [
    'learning_rate_0.001',
    'learning_rate_0.003',
  ]


@pytest.mark.parametrize(
  'text, parts',
  [
    ('1,2', ['1', '2']),
    ('"a, b", c', ['a, b', 'c']),
    ("'a, b',c", ['a, b', 'c']),
    ('(0.1, 0.5),(0.2,1)', ['(0.1, 0.5)', '(0.2,1)']),
    ('a man', ['a man']),
    ("a man's hat, a woman's hat", ["a man's hat", "a woman's hat"]),
    ('1,,2', ['1', '', '2']),
  ],
)
def test_values_with_commas_stand_in_quotes_or_brackets(text, parts):
  assert cell_sources.split(text) == parts


def test_a_grid_of_sentences_has_short_names(config):
  run = schema.RunConfig()
  long = 'a portrait of a man with a very long name, ' * 5
  grid = cells.grid(run, {'prompt': ['a man', 'a woman', long]})
  made = [cell.name for cell in grid.cells]
  assert made[0].startswith('prompt_a-man-') and len(set(made)) == 3
  for name in made:
    names.check_file_name('a cell', name)


@pytest.mark.parametrize(
  'axes, line',
  [
    ({}, 'the sweep has no cell; expected one axis or more'),
    ({'happy': []}, "axis 'happy' of the grid has no values"),
    ({'happy': [0, 1, 0.0]}, "axis 'happy' of the grid has 0 twice"),
    ({'hapy': [1]}, "no field 'hapy'; did you mean 'happy'"),
    (
      {'happy': ['much']},
      "^cell 'happy_much': the weight of 'happy' is 'much'; expected float",
    ),
    ({'mode': 'sum'}, r"mode' of the grid is 'sum'; .* such as \['sum'\]"),
    ({'happy': 0.5}, r'is 0.5; expected a list of values, such as \[0.5\]'),
    ({'happy': {0.5, 1}}, 'expected a list of values, in the order in which'),
    ({'happy': {0.5: 1}}, 'expected a list of values, in the order in which'),
    (['happy=0,1'], "'happy=0,1' is no axis of a grid; expected a mapping"),
    ({'results.resolution': [8, 16]}, "'results.resolution' .* nothing: it is"),
    ({'checkpoints.every': [0, 5]}, 'decides nothing: it is not about the av'),
    ({'priors.normal.num_gpus': [0, 1]}, 'decides nothing: it is not about'),
    ({'prompt': ['a', 'b']}, 'decides nothing: the concepts are asked in its'),
    ({'concepts[0].name': ['a', 'b']}, 'decides nothing: it is a name for'),
    (
      {'happy': [1], 'concepts[0].weight': [2]},
      r"two axes of the grid set 'concepts\[0\].weight'",
    ),
    ({'num_steps': [0]}, 'num_steps is 0; expected at least 1'),
  ],
)
def test_a_wrong_grid_is_one_line(axes, line, config):
  with pytest.raises(ValueError, match=line):
    cells.grid(config, axes)


def test_axes_may_be_given_by_name(config):
  plain = cells.grid(config, {'happy': [0, 1], 'sad': [0, 1], 'seed': [3]})
  assert cells.grid(config, happy=(0, 1), sad=(0, 1), seed=[3]) == plain
  assert cells.grid(config, {'happy': (0, 1)}, sad=(0, 1), seed=[3]) == plain
  with pytest.raises(ValueError, match='two axes of the grid set'):
    cells.grid(config, {'happy': [0]}, happy=[1])
  with pytest.raises(ValueError, match="no field 'hapy'; did you mean 'happy'"):
    cells.grid(config, hapy=[1])


def test_numbers_of_numpy_are_those_of_python(config):
  made = cells.grid(
    config,
    {
      'happy': np.linspace(0, 1, 3),
      'seed': np.arange(2),
      'learner.remat': [np.True_],
      'views.background': [(np.float64(0.25), np.float32(0.5))],
    },
  )
  assert made == cells.grid(
    config,
    {
      'happy': [0.0, 0.5, 1.0],
      'seed': [0, 1],
      'learner.remat': [True],
      'views.background': [(0.25, 0.5)],
    },
  )
  for axis in made.axes:
    assert all(type(v) in (int, float, bool, tuple) for v in axis.values)
  (cell,) = cells.check_cells([cells.Cell('a', config, {'seed': np.int64(0)})])
  assert type(cell.values['seed']) is int


@pytest.mark.parametrize('name', columns.OWN + columns.COMPARED)
def test_a_concept_that_is_called_as_a_column_is_no_axis(name, config):
  config = copy.deepcopy(config)
  config.concepts[0].name = name
  with pytest.raises(ValueError, match=f"has a column '{name}' of its own"):
    cells.grid(config, {name: [0, 1]})
  # Its weight is one all the same.
  made = cells.grid(config, {'concepts[0].weight': [0, 1]})
  assert [weights(cell)[0] for cell in made.cells] == [0, 1]
  if name != 'name':  # Which is the cell's.
    with pytest.raises(ValueError, match=f"^cell '{name}_1' sets '{name}', an"):
      cells.listed(config, [{name: 1}])
  with pytest.raises(ValueError, match=f"^cell 'a' sets '{name}', and the tab"):
    cells.check_cells([cells.Cell('a', config, {name: 1})])


@pytest.mark.parametrize(
  'text, line',
  [
    ('happy', 'is no axis; expected FIELD=VALUE'),
    ('=1', 'is no axis'),
    ('happy=', "axis 'happy' of the grid has no values"),
    ('happy=1,x', "happy is 'x'; expected a number"),
    ('happy=1,', "happy is ''; expected a number"),
    ('happy=nan', 'nan; expected a finite number'),
  ],
)
def test_a_wrong_axis_is_one_line(text, line, config):
  with pytest.raises(ValueError, match=line):
    cells.grid(config, [cell_sources.parse_axis(config, text)])


def test_no_cell_is_an_empty_sweep():
  with pytest.raises(ValueError, match='the sweep has no cell'):
    cells.check_cells([])


def test_the_same_run_twice_is_refused(config):
  with pytest.raises(
    ValueError, match="'first' and 'happy_0.5' are the same run"
  ):
    cells.listed(config, [{'name': 'first', 'happy': 0.5}, {'happy': 0.5}])
  with pytest.raises(ValueError, match="'x' and 'x' are of one name"):
    cells.listed(config, [{'name': 'x'}, {'name': 'x', 'seed': 1}])
  with pytest.raises(ValueError, match="a cell is called '../up'"):
    cells.listed(config, [{'name': '../up'}])
  with pytest.raises(ValueError, match="a cell is called 'x.log'; expected"):
    cells.listed(config, [{'name': 'x'}, {'name': 'x.log', 'seed': 1}])


@pytest.mark.parametrize(
  'field, value, why',
  [
    ('results.resolution', 8, 'it is not about the avatar'),
    ('concepts[0].name', 'glad', 'it is a name for people'),
    ('prompt', 'a king', 'the concepts are asked in its place'),
  ],
)
def test_cells_that_differ_in_what_decides_nothing_are_the_same_run(
  field, value, why, config
):
  line = f"'a' and 'b' are the same run; in '{field}' they differ, but {why};"
  with pytest.raises(ValueError, match=re.escape(line)):
    cells.listed(config, [{'name': 'a'}, {'name': 'b', field: value}])
  # With another seed they are two.
  made = cells.listed(
    config, [{'name': 'a'}, {'name': 'b', field: value, 'seed': 1}]
  )
  assert len(made) == 2


def test_a_wrong_value_names_its_cell(config):
  with pytest.raises(ValueError, match="^cell 'b': seed is -1; expected 0 to"):
    cells.listed(config, [{'name': 'a'}, {'name': 'b', 'seed': -1}])
  with pytest.raises(ValueError, match="^cell 'hapy_1': no field 'hapy'; did"):
    cells.listed(config, [{'happy': 1}, {'hapy': 1}])


@pytest.mark.parametrize(
  'name, text',
  [
    ('c.yaml', '- {happy: 0.5, seed: 1}\n- {name: mine, mode: perp}\n'),
    ('c.yml', 'cells:\n- {happy: 5e-1, seed: 1}\n- {name: mine, mode: perp}\n'),
    ('c.json', '[{"happy": 0.5, "seed": 1}, {"name": "mine", "mode": "perp"}]'),
    (
      'c.py',
      'def get_cells(config):\n'
      "  return [{'happy': 0.5, 'seed': config.seed + 1},\n"
      "          {'name': 'mine', 'mode': 'perp'}]\n",
    ),
  ],
)
def test_cells_come_from_a_file(name, text, config, tmp_path):
  (tmp_path / name).write_text(text)
  first, second = cell_sources.read_cells(str(tmp_path / name), config)
  assert (first.name, first.config.seed) == ('happy_0.5-seed_1', 1)
  assert weights(first) == (0.5, 0.4)
  assert (second.name, second.config.mode) == ('mine', 'perp')


@pytest.mark.parametrize(
  'name, text, line',
  [
    ('c.yaml', '{', 'is no YAML: '),
    ('c.yaml', 'happy: 1', 'holds no list of cells'),
    ('c.yaml', '- 1', 'holds no list of cells'),
    ('c.yaml', '', 'holds no list of cells'),
    ('c.yaml', '[]', 'the sweep has no cell'),
    ('c.yaml', '- {hapy: 1}', "no field 'hapy'"),
    ('c.yaml', '- {happy: [1]}', 'expected float'),
    ('c.yaml', '- !!python/object:os.system {}', 'is no YAML'),
    ('c.yaml', '- {happy: 2001-99-99}', "'2001-99-99' is no timestamp.*line 1"),
    ('c.yaml', '- {happy: !!timestamp soon}', "'soon' is no timestamp"),
    ('c.yaml', '- {happy: !!float abc}', "'abc' is no float.*line 1"),
    ('c.yaml', '- {happy: !!int abc}', "'abc' is no int"),
    ('c.yaml', "- {happy: !!int ''}", "'' is no int"),
    ('c.yaml', '- {happy: !!bool abc}', "'abc' is no bool"),
    ('c.yaml', '- {happy: !!binary a}', 'is no YAML'),
    ('c.yaml', '- {happy: ' + '1' * 9999 + '}', "11' is no int"),
    ('c.yaml', '- {happy: ' + '1' * 999 + '}', 'more than 308 digits'),
    ('c.yaml', '- {happy: 2001-01-01 00:00:00}', r'datetime.*expected float'),
    ('c.yaml', '- {happy: !!binary aaaa}', 'expected float'),
    ('c.yaml', '- &a {happy: 1, x: *a}', 'holds a cell that is part of itself'),
    ('c.yaml', '[' * 5000, 'is no YAML'),
    ('c.yaml', '- {happy: 1, happy: 2}', "'happy' is given twice.*line 1"),
    ('c.json', '[{"happy": 1, "happy": 2}]', "'happy' is given twice"),
    ('c.yaml', '- {"happy": 1, happy: 2}', "'happy' is given twice"),
    ('c.py', 'x = 1', r'defines no get_cells\(config\)'),
    ('c.py', 'get_cells = []', r'defines no get_cells\(config\)'),
    ('c.py', 'def get_cells(): pass', r'takes \(\) .*; expected \(config\)'),
    ('c.py', 'def get_cells(a, b): pass', r'takes \(a, b\) \(missing'),
    ('c.py', 'def get_cells(config): pass', 'holds no list of cells'),
    ('c.py', 'def get_cells(config): yield {}', 'holds no list of cells'),
    ('c.py', "get_cells = lambda config: 'ab'", 'holds no list of cells'),
    ('c.py', 'raise SystemExit(0)', r'ends the program with exit\(0\)'),
    ('c.py', 'get_cells = exit', r'ends the program with exit\('),
    ('c.txt', '', 'is no file of cells'),
  ],
)
def test_a_wrong_file_is_one_line(name, text, line, config, tmp_path):
  (tmp_path / name).write_text(text)
  with pytest.raises(ValueError, match=line) as error:
    cell_sources.read_cells(str(tmp_path / name), config)
  assert '\n' not in str(error.value)


def test_a_text_of_digits_in_a_file_stays_a_text(config, tmp_path):
  (tmp_path / 'c.yaml').write_text("- {name: '007', learner.start_code: '5'}\n")
  (cell,) = cell_sources.read_cells(str(tmp_path / 'c.yaml'), config)
  assert (cell.name, cell.config.learner.start_code) == ('007', '5')


def test_what_is_merged_into_a_cell_may_be_overridden(config, tmp_path):
  text = """
- &base {happy: 0.5, sad: 1}
- {<<: *base, sad: 0}
- {<<: [{happy: 0.1}, *base], seed: 1}
"""
  (tmp_path / 'c.yaml').write_text(text)
  made = cell_sources.read_cells(str(tmp_path / 'c.yaml'), config)
  assert [weights(cell) for cell in made] == [(0.5, 1), (0.5, 0), (0.1, 1)]


@pytest.mark.parametrize('name', ['null', '~', "''"])
def test_a_cell_without_a_name_is_named_after_its_values(
  name, config, tmp_path
):
  (tmp_path / 'c.yaml').write_text(f'- {{name: {name}, happy: 0.5}}\n')
  (cell,) = cell_sources.read_cells(str(tmp_path / 'c.yaml'), config)
  assert cell.name == 'happy_0.5'


def test_a_name_that_looks_like_a_number_stays_a_name(config, tmp_path):
  (tmp_path / 'c.yaml').write_text('- {name: 1e3, happy: 0.5}\n')
  (cell,) = cell_sources.read_cells(str(tmp_path / 'c.yaml'), config)
  assert cell.name == '1e3'


def test_a_mistake_inside_a_persons_function_keeps_its_traceback(
  config, tmp_path
):
  text = 'def get_cells(config):\n  return [].pop()\n'
  (tmp_path / 'c.py').write_text(text)
  with pytest.raises(IndexError, match='pop from empty list'):
    cell_sources.read_cells(str(tmp_path / 'c.py'), config)


def test_a_file_that_is_not_there_is_one_line(config, tmp_path):
  with pytest.raises(FileNotFoundError, match='is no file; expected the cells'):
    cell_sources.read_cells(str(tmp_path / 'c.yaml'), config)


def test_settings_hold_for_every_cell(config):
  grid = cell_sources.find_cells(
    config, ['happy=0,1'], settings=['num_steps=9', 'sad=0.1']
  )
  assert {c.config.num_steps for c in grid.cells} == {9}
  assert {weights(c)[1] for c in grid.cells} == {0.1}
  with pytest.raises(ValueError, match="--set='num_steps' sets nothing"):
    cell_sources.find_cells(config, ['happy=0'], settings=['num_steps'])


def test_a_study_has_experiments_of_its_own(config):
  from mmdist.config import experiments

  plain = experiments.load('generate')
  found = cell_sources.find_cells(
    plain, study='mixes', settings=['num_steps=3']
  )
  assert [c.name for c in found.cells] == list(mix.PRESETS)
  assert {c.config.num_steps for c in found.cells} == {3}
  with pytest.raises(ValueError, match='a study has experiments of its own'):
    cell_sources.find_cells(config, study='mixes')
  with pytest.raises(ValueError, match="^cell 'happy_sad': seed is -1; expec"):
    cell_sources.find_cells(plain, study='mixes', settings=['seed=-1'])


@pytest.mark.parametrize(
  'study',
  [
    'held_out',
    'expressions',
    'proxies',
    'guidance',
    'normals',
    'mixes',
    'ablations',
  ],
)
def test_the_cells_of_a_study_are_different_runs(study):
  from mmdist.config import experiments

  assert cell_sources.find_cells(experiments.load('generate'), study=study)


def test_a_study_passes_on_what_is_claimed_about_its_cells():
  from mmdist.config import experiments

  plain = experiments.load('generate')
  found = cell_sources.find_cells(
    plain, study='ablations', settings=['num_steps=3']
  )
  assert found.comparison.name == 'ablations'
  compared = [name for one in found.comparison.cells.values() for name in one]
  assert compared == [cell.name for cell in found.cells]
  assert cell_sources.find_cells(plain, study='mixes').comparison is None
