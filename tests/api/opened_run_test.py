"""`mmdist.open_run`: what a folder can show, and what it cannot yet."""

import numpy as np
import pytest

import mmdist
from tests.api import optimization_test

BALL = optimization_test.BALL


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> mmdist.Run:
  return optimization_test.make(tmp_path_factory.mktemp('runs') / 'run')


def test_a_view_is_rendered_by_name_and_by_angles(run):
  front = run.render('front', resolution=16)
  assert front.shape == (16, 16, 3) and front.dtype == np.uint8
  np.testing.assert_array_equal(front, run.render((0, 5), resolution=16))
  assert (front != run.render('back', resolution=16)).any()


@pytest.mark.parametrize(
  'channel, shape', [('normals', (8, 8, 3)), ('acc', (8, 8)), ('depth', (8, 8))]
)
def test_every_channel_can_be_rendered(run, channel, shape):
  assert run.render(resolution=8, channel=channel).shape == shape


@pytest.mark.parametrize(
  'options, message',
  [
    ({'view': 'frnt'}, "unknown view 'frnt'; did you mean 'front'"),
    ({'view': (1, 2, 3)}, 'expected a name such as'),
    ({'channel': 'normal'}, "channel is 'normal'; did you mean 'normals'"),
    ({'quality': True}, 'this run has a Ball'),
  ],
)
def test_what_cannot_be_rendered_is_one_line(run, options, message):
  with pytest.raises(ValueError, match=message):
    run.render(**options)


def test_results_are_made_again_at_another_size(run, tmp_path):
  before = run.sheet().read_bytes()
  run.sheet(resolution=24)
  assert run.results['sheet'].read_bytes() != before
  assert run.turntable(resolution=16).name == 'turntable.mp4'
  mesh = run.mesh(tmp_path / 'ball.glb', resolution=24)
  assert mesh.read_bytes()[:4] == b'glTF'
  assert run.mesh(texture_size=0).name == 'mesh.glb'
  assert b'COLOR_0' in run.results['mesh'].read_bytes()
  with pytest.raises(ValueError, match='texture_size is 1; expected 64'):
    run.mesh(texture_size=1)


def test_splats_are_made_in_the_folder_or_elsewhere(run, tmp_path):
  elsewhere = run.splats(tmp_path / 'ball.ply', num_splats=1500, resolution=24)
  assert b'element vertex 1500\n' in elsewhere.read_bytes()
  assert 'splats' not in run.results
  inside = run.splats(num_splats=1500, resolution=24)
  assert inside == run.results['splats'] == run.workdir / 'splats.ply'
  assert inside.read_bytes() == elsewhere.read_bytes()
  with pytest.raises(ValueError, match='num_splats is 1; expected .* 1000'):
    run.splats(num_splats=1)


def test_the_ledger_is_a_table_of_the_runs_steps(run, tmp_path):
  ledger = run.ledger()
  assert ledger['concept'] == ['a red ball'] and ledger['steps'] == [4]
  norms = [row['cotangent_norm/red'] for row in run.metrics]
  assert ledger[0]['norm'] == pytest.approx(np.mean(norms))
  assert run.ledger(-1)['norm'] == [norms[-1]]
  # It is alone on its channel: the update is its answer, to the last bit but
  # one.
  assert ledger['share'] == pytest.approx([1.0]) and ledger['conflict'] == [0]
  assert '<table>' in ledger._repr_html_()
  assert 'a red ball' in ledger.to_csv(tmp_path / 'ledger.csv')


def test_colours_of_every_step_are_there(run):
  for row in run.metrics:
    assert 0 < row['saturation'] <= 1 and 0 <= row['color/red'] <= 1


def test_a_notebook_shows_a_picture_and_the_step(run):
  page = run._repr_html_()
  assert 'data:image/webp;base64,' in page
  assert 'a red ball: step 4 of 4' in page
  assert repr(run).startswith("<Run 'a red ball': step 4 of 4 in ")


def test_a_prompt_is_escaped_in_a_notebook(tmp_path):
  config = optimization_test.small(1)
  run = optimization_test.make(
    tmp_path / 'run', '<script>alert(1)</script>', config=config
  )
  assert '<script>' not in run._repr_html_()


def test_a_run_without_a_checkpoint_opens_and_says_so(run, tmp_path):
  (tmp_path / 'config.json').write_bytes(
    (run.workdir / 'config.json').read_bytes()
  )
  young = mmdist.open_run(tmp_path, representation=BALL)
  assert (young.step, young.is_finished, young.metrics) == (0, False, [])
  assert 'no picture yet' in young._repr_html_()
  with pytest.raises(FileNotFoundError, match='no checkpoint yet'):
    young.render()


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
  with pytest.raises(FileNotFoundError, match='holds no run'):
    mmdist.open_run(tmp_path)


def test_a_run_that_goes_on_is_followed(tmp_path):
  def stop(step):
    if step.number == 2:
      step.stop()

  run = optimization_test.make(tmp_path / 'run', on_step=stop)
  before = run.render(resolution=8)
  optimization_test.make(tmp_path / 'run')
  assert run.step == 4
  assert (run.render(resolution=8) != before).any()
