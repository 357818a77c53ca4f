"""One command makes everything that is trained on people."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from experiments import assets
from launchers import command_line
from launchers import heads
from launchers import pretrain
from launchers import train_judge
from launchers import train_prior
from mmdist.core import asset_paths
from mmdist.core import errors

COMMANDS = {
  'heads': heads.COMMAND,
  'pretrain': pretrain.COMMAND,
  'train_judge': train_judge.COMMAND,
  'train_prior': train_prior.COMMAND,
}


def _stage(name, *programs):
  return assets.Stage(name, tuple(('-c', text) for text in programs))


@pytest.fixture(autouse=True)
def _programs(monkeypatch):
  """Has commands be programs of Python."""
  monkeypatch.setattr(assets, '_argv', lambda words: [sys.executable, *words])


@pytest.mark.parametrize('recipe', assets.RECIPES)
def test_every_command_is_one_that_there_is(recipe, tmp_path):
  planned = assets.stages(assets.RECIPES[recipe], tmp_path, 3)
  for stage in planned:
    for name, *words in stage.commands:
      command = COMMANDS[name]
      command_line.parse(['mmdist', *words], command.options, command.config)


def test_pictures_are_shared_out_and_what_is_trained_finds_them(tmp_path):
  recipe = assets.Recipe(5, 2, ('--num_images=1',), ())
  found = {s.name: s for s in assets.stages(recipe, tmp_path, 3)}
  assert [
    next(w for w in command if w.startswith('--shards='))
    for command in found['pictures'].commands
  ] == [
    '--shards=0:5:3',
    '--shards=1:5:3',
    '--shards=2:5:3',
    '--shards=900:901',
  ]
  # More cores than shards draw no empty ones.
  assert len(found['judge_pictures'].commands) == 2
  places = {
    word.partition('=')[2]
    for stage in found.values()
    for command in stage.commands
    for word in command
    if word.startswith('--out=')
  }
  read = {
    word.partition('=')[2]
    for stage in found.values()
    for command in stage.commands
    for word in command
    if word.startswith(('--data=', '--held_out=', '--init='))
  }
  assert read <= places
  assert assets.ASSETS.keys() <= found.keys()


def test_a_stage_that_is_done_is_passed_over_and_a_changed_one_is_not(tmp_path):
  mark = tmp_path / 'mark'
  text = f'open({str(mark)!r}, "a").write("x")'
  said = []
  assert assets.make(_stage('pictures', text), tmp_path, said.append)
  assert not assets.make(_stage('pictures', text), tmp_path, said.append)
  assert mark.read_text() == 'x' and said[-1] == 'pictures: made before'
  assert assets.make(_stage('pictures', text + ' '), tmp_path)
  assert mark.read_text() == 'xx'
  made = json.loads((tmp_path / assets.RECORD).read_text())['pictures']
  assert made['commands'] == _stage('pictures', text + ' ').lines()
  assert made['seconds'] >= 0 and 'cores of' in made['machine']


def test_a_command_that_fails_ends_the_others_and_leaves_no_record(tmp_path):
  stage = _stage('color', 'import time; time.sleep(60)', 'raise SystemExit(3)')
  with pytest.raises(errors.UserError, match='color: a command ended'):
    assets.make(stage, tmp_path)
  assert not (tmp_path / assets.RECORD).exists()
  assert not (tmp_path / 'assets').exists()


def _break(*_):
  raise OSError('no room')


def test_only_what_is_shipped_is_kept(tmp_path, monkeypatch):
  folder = pathlib.Path(asset_paths.resolve('color'))
  place = tmp_path / 'color'
  text = (
    f'import shutil; shutil.copytree({str(folder)!r}, {str(place)!r}); '
    f'open({str(place / "training.safetensors")!r}, "w")'
  )
  old = tmp_path / 'assets' / 'people_color'
  old.mkdir(parents=True)
  (old / 'of an older one').touch()
  stage = _stage('color', text)
  with monkeypatch.context() as patched:
    patched.setattr(assets, 'keep', _break)
    with pytest.raises(OSError, match='no room'):
      assets.make(stage, tmp_path)
  shutil.rmtree(place)
  assert assets.make(stage, tmp_path)  # It is not taken for done.
  assert {p.relative_to(old) for p in old.rglob('*')} == {
    p.relative_to(folder) for p in folder.rglob('*')
  }


@pytest.mark.parametrize('content', ['{', '[]'])
def test_a_damaged_record_is_one_line(tmp_path, content):
  (tmp_path / assets.RECORD).write_text(content)
  with pytest.raises(errors.UserError, match=r'made.json .* remove it'):
    assets.make(_stage('pictures', 'pass'), tmp_path)


@pytest.mark.parametrize(
  'flag, said',
  [
    ('--only=colour', "only is 'colour'; did you mean 'color'?"),
    ('--recipe=laptops', "recipe is 'laptops'; did you mean 'laptop'?"),
  ],
)
def test_wrong_words_are_one_line(tmp_path, flag, said):
  words = [sys.executable, '-m', 'experiments.assets', f'--out={tmp_path}']
  root = pathlib.Path(assets.__file__).parents[1]
  ended = subprocess.run(
    [*words, flag], cwd=root, capture_output=True, text=True, check=False
  )
  assert ended.returncode == 1 and said in ended.stderr
  assert 'Traceback' not in ended.stderr and not list(tmp_path.iterdir())
