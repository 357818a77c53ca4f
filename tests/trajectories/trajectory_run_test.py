"""Legs of a few lines, one after the other; see also `tests/end_to_end`."""

import json
import shutil
import socket
import sys
import time
import types

import numpy as np
from PIL import Image
import pytest
import ray

import mmdist
from mmdist.config import trajectory_schema
from mmdist.distribution import faults
from mmdist.distribution import tokens
from mmdist.run import opening
from mmdist.trajectories import trajectory_run
from mmdist.trajectories import way
from tests.api import optimization_test

LEGS = (
  mmdist.Leg('a red ball', 4, 'red'),
  (mmdist.avatar('a ball') + 0.5 * mmdist.avatar('a box'), 3),
)
FILM = trajectory_schema.FilmConfig(points_per_leg=2, hold_s=0.25)
NAMES = ('0-red', '1-a-ball')


def walk(workdir, legs=LEGS, **options) -> trajectory_run.Trajectory:
  options = {
    'config': optimization_test.small(),
    'priors': {'red': optimization_test.paint},
    'representation': optimization_test.BALL,
    'executor': 'inline',
    'film': FILM,
  } | options
  return mmdist.trajectory(legs, workdir, **options)


def digests(made) -> list[str]:
  return [run.digest() for run in made.legs]


@pytest.fixture(name='whole', scope='module')
def fixture_whole(tmp_path_factory):
  """A trajectory that nothing interrupted."""
  return walk(tmp_path_factory.mktemp('whole') / 'way')


@pytest.fixture(name='copied')
def fixture_copied(whole, tmp_path):
  """A copy of its folder, to be spoiled."""
  return shutil.copytree(whole.workdir, tmp_path / 'copied')


@pytest.mark.slow
def test_each_leg_is_a_run_that_starts_from_the_last_ones_result(
  whole, tmp_path
):
  assert whole.is_finished
  assert [run.workdir.name for run in whole.legs] == list(NAMES)
  assert [run.step for run in whole.legs] == [4, 3]
  assert all('report' in run.results for run in whole.legs)
  alone = optimization_test.make(
    tmp_path / 'alone',
    what=LEGS[1][0],
    config=optimization_test.small(3),
    params=whole.legs[0].params,
  )
  assert alone.digest() == whole.legs[1].digest()


@pytest.mark.slow
def test_the_way_of_each_leg_is_in_the_film(whole):
  # At most two points of a leg, the last step is its result.
  assert way.steps_in(whole.workdir / 'way' / '0-red') == [0, 2]
  assert way.steps_in(whole.workdir / 'way' / '1-a-ball') == [2]
  with Image.open(whole.results['animation']) as film:
    # The start and two ends stand for 3 frames each, with two points between.
    # WebP joins frames that are the same.
    assert 5 <= film.n_frames <= 3 + 1 + 3 + 1 + 3
    assert film.size == (32, 16 + 18)
  with Image.open(whole.results['sheet']) as sheet:
    assert sheet.size == (3 * 16, 2 * (2 * 16 + 18))
  assert whole.results['video'].stat().st_size > 0


@pytest.mark.slow
def test_what_is_finished_is_not_run_or_filmed_again(whole):
  before = {path: path.stat().st_mtime_ns for path in whole.results.values()}

  def never(step):
    raise AssertionError(step.number)

  again = walk(whole.workdir, on_step=never)
  assert digests(again) == digests(whole)
  assert before == {
    path: path.stat().st_mtime_ns for path in again.results.values()
  }


@pytest.mark.slow
def test_a_leg_that_was_stopped_goes_on_and_ends_the_same(whole, tmp_path):
  seen = []

  def stop(step):
    seen.append((step.config.prompt, step.number))
    if seen[-1] == ('a ball', 2):
      step.stop()

  stopped = walk(tmp_path / 'way', on_step=stop)
  assert not stopped.is_finished and stopped.results == {}
  assert [run.step for run in stopped.legs] == [4, 2]
  again = walk(tmp_path / 'way', on_step=stop)
  assert seen == [('a red ball', n) for n in (1, 2, 3, 4)] + [
    ('a ball', n) for n in (1, 2, 3)
  ]
  assert again.is_finished
  assert digests(again) == digests(whole)


@pytest.mark.slow
def test_a_leg_without_a_checkpoint_starts_from_the_same_result(whole, copied):
  leg = copied / 'legs' / '1-a-ball'
  for path in leg.iterdir():
    if path.name != 'config.json':
      shutil.rmtree(path) if path.is_dir() else path.unlink()
  record = json.loads((copied / 'trajectory.json').read_text())
  del record['results']['1-a-ball']
  (copied / 'trajectory.json').write_text(json.dumps(record))
  again = walk(copied)
  assert again.is_finished and digests(again) == digests(whole)


def tree_of(folder) -> dict:
  return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob('*'))}


@pytest.mark.slow
def test_a_preflight_takes_a_step_of_the_next_leg_and_writes_nothing(
  whole, copied, tmp_path, capsys
):
  assert walk(tmp_path / 'new', preflight_only=True).legs == ()
  said = capsys.readouterr().out
  assert 'leg 0-red: new' in said and 'preflight passed' in said
  assert not (tmp_path / 'new').exists()

  shutil.rmtree(copied / 'legs' / '1-a-ball')
  before = tree_of(copied)
  made = walk(copied, preflight_only=True)
  said = capsys.readouterr().out
  assert 'leg 0-red: finished' in said and 'leg 1-a-ball: new' in said
  assert said.count('preflight passed') == 1
  assert digests(made) == digests(whole)[:1] and not made.is_finished
  assert tree_of(copied) == before

  walk(whole.workdir, preflight_only=True)
  assert 'every leg is finished' in capsys.readouterr().out


@pytest.mark.slow
def test_there_may_be_more_legs_and_not_fewer_or_others(whole, copied):
  more = walk(copied, [*LEGS, ('a red box', 1)])
  assert [run.step for run in more.legs] == [4, 3, 1]
  assert digests(more)[:2] == digests(whole)
  with pytest.raises(ValueError, match="its leg 2 is '2-a-red-box', which"):
    walk(copied)
  with pytest.raises(ValueError, match="in its leg '0-red' num_steps: 4 -> 5"):
    walk(copied, [mmdist.Leg('a red ball', 5, 'red'), *LEGS[1:]])
  other = optimization_test.small(seed=3)
  with pytest.raises(ValueError, match="in its leg '0-red' seed: 0 -> 3"):
    walk(copied, config=other)


@pytest.mark.slow
def test_a_result_that_was_changed_by_hand_is_refused(copied):
  first, second = (copied / 'legs' / name for name in NAMES)
  shutil.rmtree(first / 'checkpoints' / '4')
  with pytest.raises(ValueError, match='0-red is not finished, and 1-a-ball'):
    walk(copied)
  # One of as many steps, and of other numbers.
  config = optimization_test.small()
  config.learner.learning_rate = 0.01
  other = optimization_test.make(copied.parent / 'other', config=config)
  shutil.rmtree(first / 'checkpoints')
  shutil.copytree(other.workdir / 'checkpoints', first / 'checkpoints')
  with pytest.raises(ValueError, match='has another sha256') as error:
    walk(copied)
  text = str(error.value)
  assert f'or remove {first} and {second}, and the same command' in text
  assert '\n' not in text


@pytest.mark.slow
def test_legs_that_are_removed_are_made_again(whole, copied):
  for name in NAMES:
    shutil.rmtree(copied / 'legs' / name)
  again = walk(copied)
  assert digests(again) == digests(whole)
  record = json.loads((copied / 'trajectory.json').read_text())
  assert record['results'] == {
    name: opening.digest(run.workdir)[1]
    for name, run in zip(NAMES, again.legs, strict=True)
  }


@pytest.mark.slow
def test_another_film_is_made_of_the_same_way(copied):
  before = (copied / 'trajectory.mp4').read_bytes()
  film = trajectory_schema.FilmConfig(points_per_leg=2, hold_s=0.5)
  made = walk(copied, film=film)
  assert made.results['video'].read_bytes() != before
  record = json.loads((copied / 'trajectory.json').read_text())
  assert record['film']['film']['hold_s'] == 0.5


@pytest.mark.slow
def test_a_missing_video_is_made_where_ffmpeg_is(copied, monkeypatch):
  (copied / 'trajectory.mp4').unlink()
  sheet = (copied / 'sheet.png').stat().st_mtime_ns
  with monkeypatch.context() as context:
    context.setitem(sys.modules, 'imageio_ffmpeg', None)
    again = walk(copied)
  assert set(again.results) == {'animation', 'sheet'}
  assert (copied / 'sheet.png').stat().st_mtime_ns == sheet
  assert walk(copied).results['video'].stat().st_size > 0


@pytest.mark.parametrize(
  'options, words',
  [
    ({'legs': []}, 'the trajectory has no leg'),
    ({'legs': 'a ball'}, "the legs are 'a ball'; expected a list"),
    ({'legs': [3]}, r'a leg is 3; expected mmdist\.Leg'),
    ({'legs': [('a ball', 'x')]}, 'leg 0: it is .*a number of steps'),
    ({'legs': [('a ball', -1)]}, 'leg 0: num_steps is -1'),
    ({'legs': ['a ball', ('a box', 2, 'a/b')]}, "leg is called '1-a/b'"),
    ({'film': trajectory_schema.FilmConfig(hold_s=np.nan)}, 'film.hold_s is'),
    ({'executor': types.SimpleNamespace(submit=None)}, 'is running already'),
    ({'executor': 'rya'}, "did you mean 'ray'"),
  ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, options, words):
  with pytest.raises(mmdist.errors.UserError, match=words) as error:
    walk(tmp_path / 'way', **options)
  assert '\n' not in str(error.value)
  assert not list(tmp_path.iterdir())


@pytest.fixture(name='nowhere')
def fixture_nowhere():
  """An address at which nobody listens."""
  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))
    yield f'127.0.0.1:{taken.getsockname()[1]}'


@pytest.mark.parametrize('preflight_only', [False, True])
def test_a_cluster_that_is_not_there_is_told_before_anything_is_written(
  tmp_path, monkeypatch, nowhere, preflight_only
):
  monkeypatch.setattr(tokens, '_started_with', [])
  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  began = time.monotonic()
  with pytest.raises(mmdist.errors.UserError, match='nobody answers') as error:
    walk(
      tmp_path / 'way',
      executor=mmdist.RayOptions(nowhere),
      preflight_only=preflight_only,
    )
  assert time.monotonic() - began < 5
  assert '\n' not in str(error.value)
  assert not list(tmp_path.iterdir())


def test_a_leg_that_found_no_room_may_begin_with_other_settings(tmp_path):
  def full(recipes):
    raise faults.ClusterUnavailable('no room')

  for legs, config in (
    (LEGS, optimization_test.small()),
    (LEGS[:1], optimization_test.small(seed=3)),
    ([('a box', 2)], optimization_test.small()),
  ):
    with pytest.raises(faults.ClusterUnavailable, match='no room'):
      walk(tmp_path / 'way', legs, config=config, executor=full)
    assert not list(tmp_path.glob('way/legs/*/config.json'))


def test_a_folder_of_something_else_is_refused(tmp_path):
  (tmp_path / 'config.json').write_text('{}')
  with pytest.raises(
    ValueError, match=r'holds a run \(config.json\) and no tr'
  ):
    walk(tmp_path)
  file = tmp_path / 'file'
  file.touch()
  with pytest.raises(NotADirectoryError, match='is a file'):
    walk(file)


def test_a_damaged_record_is_one_line(tmp_path):
  for text in ('{', '[]', '{"legs": [1]}', '{"legs": []}'):
    (tmp_path / 'trajectory.json').write_text(text)
    with pytest.raises(ValueError, match='trajectory.json is damaged'):
      walk(tmp_path)
