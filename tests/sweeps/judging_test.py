import json

import numpy as np
from PIL import Image
import pytest

from experiments import mix
from mmdist.core import asset_paths
from mmdist.evaluation import clay
from mmdist.evaluation import judge as judge_lib
from mmdist.heads import worlds
from mmdist.sweeps import cells
from mmdist.sweeps import folder
from mmdist.sweeps import judging
from tests.results import sphere_field


class LookedAnew(Exception):
  """The cell's run is opened."""


def make_judge() -> judge_lib.Judge:
  return judge_lib.Judge((judge_lib.Question('hat', ('no', 'yes'), ('',)),))


@pytest.fixture
def look_at(tmp_path, monkeypatch):
  """Looks at a cell that was looked at before, by `make_judge`'s first."""

  def open_cell(workdir, cell):
    raise LookedAnew

  monkeypatch.setattr(judging, '_open', open_cell)
  (cell,) = cells.listed(mix.get_config(), [{'name': 'a', 'seed': 1}])
  stem = folder.cell_folder(tmp_path, cell)
  (stem / 'checkpoints' / '7').mkdir(parents=True)
  judge = make_judge()
  row = {
    'step': 7,
    'judge': judging._name(judge),
    'asked': {},
    'picture': 'a.png',
    'sees': {},
    'saturation': 0.5,
    'detail': 0.5,
  }
  stem.with_suffix('.json').write_text(json.dumps(row))
  size = judging.PICTURE, judging.PICTURE
  Image.new('RGB', size).save(stem.with_suffix('.png'))

  def look_at(by=judge, concepts=(), **shape):
    return judging.look_at(tmp_path, cell, by, dict(concepts), **shape)

  look_at.stem = stem
  return look_at


def test_a_cell_is_looked_at_once(look_at):
  assert look_at()['saturation'] == 0.5


def test_another_judge_looks_for_itself(look_at):
  with pytest.raises(LookedAnew):
    look_at(make_judge())


def test_another_question_or_step_is_looked_at_anew(look_at):
  with pytest.raises(LookedAnew):
    look_at(concepts={'hat': {'hat': 'yes'}})
  (look_at.stem / 'checkpoints' / '8').mkdir()
  with pytest.raises(LookedAnew):
    look_at()


def test_a_shape_that_was_not_looked_at_is_looked_at_anew(look_at):
  with pytest.raises(LookedAnew):
    look_at(with_shape=True)
  path = look_at.stem.with_suffix('.json')
  row = json.loads(path.read_text())
  row |= {'shape_agreement': None, 'normal_noise_deg': 9.0}
  path.write_text(json.dumps(row))
  assert look_at(with_shape=True) == look_at() == row
  path.write_text(json.dumps(row | {'normal_noise_deg': 'much'}))
  with pytest.raises(LookedAnew):
    look_at(with_shape=True)


def test_shape_is_judged_by_normals_alone_and_only_where_it_is_asked(
  look_at, tmp_path, monkeypatch
):
  """A ball of one colour, whose normals are looked at as clay."""
  (cell,) = cells.listed(mix.get_config(), [{'name': 'ball', 'seed': 1}])
  run = folder.cell_folder(tmp_path, cell)
  (run / 'checkpoints' / '7').mkdir(parents=True)
  ball = sphere_field.representation(), sphere_field.params_of(0.7)
  monkeypatch.setattr(judging, '_open', lambda workdir, cell: ball)
  looked_at = []

  def mean_probability(judge, pictures, words, asked):
    looked_at.append((pictures, asked))
    return 0.5 if asked else None

  monkeypatch.setattr(judging.agreement, 'mean_probability', mean_probability)
  happy, sad = (concept.name for concept in cell.config.concepts)
  concepts = {
    happy: {'expression': 'happy', 'hat': 'cap', 'horns': False},
    sad: {'expression': 'sad'},
  }
  judge = make_judge()
  judge.world = worlds.get('people')
  row = judging.look_at(tmp_path, cell, judge, concepts, with_shape=True)
  assert row['shape_agreement'] == 0.5
  # A ball of 64 pixels: smooth.
  assert 0 < row['normal_noise_deg'] < 2
  *colored, (as_clay, shape), (_, nothing) = looked_at
  assert shape == {'hat': 'cap'} and nothing == {}
  ratio = clay.COLOR / clay.COLOR[0]
  middle = as_clay[0, 32, 32]
  np.testing.assert_allclose(middle / middle[0], ratio, rtol=1e-5)
  assert [asked for _, asked in colored] == list(concepts.values())


@pytest.mark.parametrize('suffix', ['.json', '.png'])
def test_what_was_removed_is_made_anew(suffix, look_at):
  look_at.stem.with_suffix(suffix).unlink()
  with pytest.raises(LookedAnew):
    look_at()


@pytest.mark.parametrize(
  'suffix, content',
  [
    ('.json', b'[' * 100_000),
    ('.json', b'{"sees": '),
    ('.json', b'[]'),
    ('.png', b''),
    ('.png', b'no picture'),
  ],
)
def test_what_is_damaged_is_made_anew(suffix, content, look_at):
  look_at.stem.with_suffix(suffix).write_bytes(content)
  with pytest.raises(LookedAnew):
    look_at()


@pytest.mark.parametrize(
  'key, value',
  [
    ('sees', ['happy']),
    ('sees', {'happy': 'much'}),
    ('saturation', 'much'),
    ('picture', '../../other.png'),
  ],
)
def test_a_record_of_another_kind_is_made_anew(key, value, look_at):
  path = look_at.stem.with_suffix('.json')
  path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
  with pytest.raises(LookedAnew):
    look_at()


def test_a_picture_that_is_cut_off_or_of_another_size_is_made_anew(look_at):
  path = look_at.stem.with_suffix('.png')
  noise = Image.effect_noise((judging.PICTURE, judging.PICTURE), 50)
  noise.save(path)
  path.write_bytes(path.read_bytes()[:-9000])
  with pytest.raises(LookedAnew):
    look_at()
  Image.new('RGB', (8, 8)).save(path)
  with pytest.raises(LookedAnew):
    look_at()


@pytest.mark.parametrize(
  'preset, expected',
  [
    (
      'happy_sad',
      {'happy': {'expression': 'happy'}, 'sad': {'expression': 'sad'}},
    ),
    # A joker has green hair too; it is what the sweep is about.
    ('joker_minus_green', {'green': {'hair_color': 'green'}}),
  ],
)
def test_each_concept_is_asked_for_what_it_is_about(preset, expected):
  grid = cells.grid(mix.get_config(preset), {'seed': [0]})
  judge = judge_lib.load(asset_paths.resolve('judge'))
  asked = judging.concepts_of(grid.cells, judge)
  for label, attributes in expected.items():
    assert asked[label].items() >= attributes.items()
  assert set(asked) == {c.name for c in mix.get_config(preset).concepts}
