import json

from PIL import Image
import pytest

from experiments import mix
from mmdist.core import asset_paths
from mmdist.evaluation import judge as judge_lib
from mmdist.sweeps import cells
from mmdist.sweeps import folder
from mmdist.sweeps import judging


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

  def look_at(by=judge, concepts=()):
    return judging.look_at(tmp_path, cell, by, dict(concepts))

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
