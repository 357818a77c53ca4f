import jax
import pytest
import trimesh

from mmdist.nerf import field
from mmdist.results import remake
from mmdist.run import opening
from mmdist.run import workdir as workdir_lib
from tests.results import quick_nerf
from tests.results import small_run


@pytest.fixture(autouse=True, scope='module')
def _quick():
  with quick_nerf.quick():
    yield


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return small_run.write(tmp_path_factory.mktemp('runs') / 'one')


def test_a_run_is_opened_at_its_newest_checkpoint(workdir):
  avatar = opening.open_run(workdir)
  expected = field.conditional_nerf(small_run.tiny_run().nerf).init(
    jax.random.key(1)
  )
  assert (avatar.step, avatar.run) == (1, small_run.tiny_run())
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
  paths = remake.remake(what, workdir)
  assert {path.name for path in paths.values()} == names
  assert all(
    path.parent == workdir and path.exists() for path in paths.values()
  )


def test_a_mesh_is_made_again_at_another_resolution(workdir, monkeypatch):
  # The start density of a NeRF is fog: nearly no skin is as thin as this.
  monkeypatch.setattr('mmdist.results.triangle_mesh.SKIN_THICKNESS', 2.0)
  path = remake.remake('mesh', workdir, remake.Options(resolution=16))['mesh']
  mesh = trimesh.load_mesh(path)
  mesh.merge_vertices(merge_tex=True, merge_norm=True)
  assert mesh.is_watertight


@pytest.mark.parametrize('size, attribute', [(0, 'COLOR_0'), (64, 'TANGENT')])
def test_a_mesh_is_made_again_with_other_textures(
  workdir, monkeypatch, size, attribute
):
  monkeypatch.setattr('mmdist.results.triangle_mesh.SKIN_THICKNESS', 2.0)
  options = remake.Options(resolution=16, texture_size=size)
  made = remake.remake('mesh', workdir, options)
  assert attribute.encode() in made['mesh'].read_bytes()
  assert made['mesh_page'].is_file()


@pytest.mark.parametrize('size', [1, 100_000])
def test_a_texture_of_another_size_is_refused_at_once(tmp_path, size):
  # Before the run, of which there is none here, is opened.
  with pytest.raises(
    ValueError, match=f'texture_size is {size}; expected 64 to 8192 texels'
  ):
    remake.remake('mesh', tmp_path, remake.Options(texture_size=size))


def test_splats_are_made_where_they_are_asked_for(workdir, monkeypatch):
  monkeypatch.setattr('mmdist.results.triangle_mesh.SKIN_THICKNESS', 2.0)
  options = remake.Options(resolution=16, num_splats=1234)
  made = remake.remake('splats', workdir, options)
  assert made == {'splats': workdir / 'splats.ply'}
  assert b'element vertex 1234\n' in made['splats'].read_bytes()
  made['splats'].unlink()
  remake.remake('all', workdir, options)
  assert not (workdir / 'splats.ply').exists()


@pytest.mark.parametrize(
  'num, expected',
  [(0, 'least 1000'), (1, 'least 1000'), (10**9, 'most 2000000')],
)
def test_a_wrong_number_of_splats_is_refused_at_once(tmp_path, num, expected):
  # Before the run, of which there is none here, is opened.
  with pytest.raises(
    ValueError, match=f'num_splats is {num}; expected at {expected}'
  ):
    remake.remake('splats', tmp_path, remake.Options(num_splats=num))


def test_another_resolution_does_not_become_the_runs(workdir):
  before = (workdir / 'config.json').read_bytes()
  made = remake.remake('all', workdir, remake.Options(resolution=8))
  assert made['report'].is_file()
  assert (workdir / 'config.json').read_bytes() == before


def test_nothing_is_written_outside_of_the_folder(workdir, tmp_path):
  outside = tmp_path / 'precious.png'
  outside.write_text('precious')
  (workdir / 'sheet.png').unlink(missing_ok=True)
  (workdir / 'sheet.png').symlink_to(outside)
  try:
    with pytest.raises(ValueError, match='sheet.png is a link to'):
      remake.remake('sheet', workdir)
  finally:
    (workdir / 'sheet.png').unlink()
  assert outside.read_text() == 'precious'


def test_quality_sees_more_along_each_ray(workdir):
  high = remake.Options(quality=True)
  (path,) = remake.remake('sheet', workdir).values()
  rough = path.read_bytes()
  (path,) = remake.remake('sheet', workdir, high).values()
  assert path.read_bytes() != rough
  remake.remake('sheet', workdir)
  assert path.read_bytes() == rough


def test_an_unknown_result_is_answered_with_the_nearest(workdir):
  with pytest.raises(ValueError, match="'mash'; did you mean 'mesh'"):
    remake.remake('mash', workdir)


def test_a_folder_that_is_no_run_is_named_and_left_alone(tmp_path):
  with pytest.raises(FileNotFoundError, match='holds no run'):
    remake.remake('mesh', tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_run_without_a_checkpoint_is_named_and_left_alone(tmp_path):
  workdir_lib.claim(tmp_path, small_run.tiny_run())
  with pytest.raises(FileNotFoundError, match='no checkpoint yet'):
    remake.remake('sheet', tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ['config.json']


def test_the_newest_step_is_that_of_a_whole_checkpoint(workdir, tmp_path):
  assert opening.newest_step(workdir) == 1
  assert opening.newest_step(tmp_path) == 0
  for name in ('5', '40', '41.orbax-checkpoint-tmp'):
    (tmp_path / 'checkpoints' / name).mkdir(parents=True)
  assert opening.newest_step(tmp_path) == 40


def test_a_resolution_out_of_bounds_is_refused(workdir):
  with pytest.raises(ValueError, match='resolution is 3; expected at least 8'):
    remake.remake('sheet', workdir, remake.Options(resolution=3))
