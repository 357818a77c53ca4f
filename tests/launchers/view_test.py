import dataclasses
import sys

from absl import flags
import jax
import pytest
import trimesh

from launchers import view
from mmdist.config import schema
from mmdist.learner import distill
from mmdist.nerf import field
from mmdist.run import checkpointing
from mmdist.run import opening
from mmdist.run import snapshots
from mmdist.run import workdir as workdir_lib


def tiny_run():
  return schema.RunConfig(
    num_steps=1,
    nerf=schema.NerfConfig(code_size=4, nerf_depth=2, nerf_width=8),
    results=schema.ResultsConfig(turntable_views=2, resolution=16),
  )


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A run of one step whose density is a ball of radius 0.6."""
  run = tiny_run()
  workdir = tmp_path_factory.mktemp('runs') / 'one'
  workdir_lib.claim(workdir, run)
  params = field.conditional_nerf(run.nerf).init(jax.random.key(1))
  state = distill.TrainState(jax.numpy.int32(1), params, {})
  with checkpointing.CheckpointStore(workdir, run) as store:
    store.save(snapshots.Snapshot(state, {}))
  return workdir


def test_a_run_is_opened_at_its_newest_checkpoint(workdir):
  avatar = opening.open_run(workdir)
  expected = field.conditional_nerf(tiny_run().nerf).init(jax.random.key(1))
  assert (avatar.step, avatar.run) == (1, tiny_run())
  jax.tree.map(
    lambda restored, saved: (restored == saved).all() or pytest.fail('differs'),
    avatar.params,
    expected,
  )


@pytest.mark.parametrize(
  'what, names',
  [
    ('turntable', {'turntable.mp4', 'turntable.webp'}),
    ('sheet', {'sheet.png'}),
  ],
)
def test_pictures_are_made_again_in_the_runs_folder(workdir, what, names):
  paths = view.view(what, str(workdir))
  assert {path.name for path in paths.values()} == names
  assert all(
    path.parent == workdir and path.exists() for path in paths.values()
  )


def test_a_mesh_is_made_again_at_another_resolution(workdir, monkeypatch):
  # The start density of a NeRF is fog: nearly no skin is as thin as this.
  monkeypatch.setattr('mmdist.results.triangle_mesh.SKIN_THICKNESS', 2.0)
  path = view.view('mesh', str(workdir), resolution=16)['mesh']
  assert trimesh.load_mesh(path).is_watertight


def test_nothing_is_written_outside_of_the_folder(workdir, tmp_path):
  outside = tmp_path / 'precious.png'
  outside.write_text('precious')
  (workdir / 'sheet.png').unlink(missing_ok=True)
  (workdir / 'sheet.png').symlink_to(outside)
  try:
    with pytest.raises(ValueError, match='sheet.png is a link to'):
      view.view('sheet', str(workdir))
  finally:
    (workdir / 'sheet.png').unlink()
  assert outside.read_text() == 'precious'


def test_quality_sees_more_along_each_ray(workdir):
  (path,) = view.view('sheet', str(workdir)).values()
  rough = path.read_bytes()
  (path,) = view.view('sheet', str(workdir), quality=True).values()
  assert path.read_bytes() != rough
  view.view('sheet', str(workdir))
  assert path.read_bytes() == rough


def test_main_prints_where_the_results_are(workdir, capsys):
  flags.FLAGS.mark_as_parsed()
  view.main(['view', 'sheet', str(workdir)])
  assert str(workdir / 'sheet.png') in capsys.readouterr().out


def test_an_unknown_result_is_answered_with_the_nearest(workdir):
  with pytest.raises(ValueError, match="'mash'; did you mean 'mesh'"):
    view.view('mash', str(workdir))


def test_missing_arguments_are_answered_with_the_usage():
  with pytest.raises(ValueError, match=r'sheet\|mesh\|all\|live RUN'):
    view.main(['view', 'mesh'])


def test_a_folder_that_is_no_run_is_named_and_left_alone(tmp_path):
  with pytest.raises(FileNotFoundError, match='holds no run'):
    view.view('mesh', str(tmp_path))
  assert not list(tmp_path.iterdir())


def test_a_run_without_a_checkpoint_is_named_and_left_alone(tmp_path):
  workdir_lib.claim(tmp_path, tiny_run())
  with pytest.raises(FileNotFoundError, match='no checkpoint yet'):
    view.view('sheet', str(tmp_path))
  assert [path.name for path in tmp_path.iterdir()] == ['config.json']


def test_a_followed_run_shows_its_newest_checkpoint(workdir, monkeypatch):
  load = view.follow(str(workdir))
  assert load().step == 1 and load() is load()
  newer = opening.open_run(workdir)
  monkeypatch.setattr(opening, 'newest_step', lambda run: 2)
  monkeypatch.setattr(
    opening,
    'open_run',
    lambda run: dataclasses.replace(newer, step=2, representation=None),
  )
  assert load().step == 2
  assert load().representation is not None  # Compiled once, for all steps.


def test_the_newest_step_is_that_of_a_whole_checkpoint(workdir, tmp_path):
  assert opening.newest_step(workdir) == 1
  assert opening.newest_step(tmp_path) == 0
  for name in ('5', '40', '41.orbax-checkpoint-tmp'):
    (tmp_path / 'checkpoints' / name).mkdir(parents=True)
  assert opening.newest_step(tmp_path) == 40


def test_live_pictures_without_viser_are_a_line(workdir, monkeypatch):
  monkeypatch.setitem(sys.modules, 'viser', None)
  with pytest.raises(ValueError, match=r"pip install 'mmdist\[viewer\]'"):
    view.serve(str(workdir), '127.0.0.1', 8080, 16)
