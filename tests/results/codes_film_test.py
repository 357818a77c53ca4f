"""The film of codes: its frames, its sheet, and what is refused."""

import jax
import numpy as np
from PIL import Image
import pytest

from launchers import view
import mmdist
from mmdist.cameras import orbits
from mmdist.core import asset_paths
from mmdist.nerf import field
from mmdist.nerf import pretrained
from mmdist.results import codes_film
from mmdist.results import make
from mmdist.results import remake
from mmdist.results import turntable
from mmdist.run import locks
from tests.nerf import tiny_nerf
from tests.results import quick_nerf

NUM_KNOWN, SIZE, FRAMES = 5, 8, 4


@pytest.fixture(autouse=True, scope='module')
def _quick():
  with quick_nerf.quick():
    yield


def save(directory, num_subjects):
  """Writes a NeRF whose subjects differ much; returns its folder."""
  params = field.conditional_nerf(tiny_nerf.CONFIG).init(jax.random.key(0))
  rng = np.random.default_rng(0)
  codes = rng.normal(0, 3, (num_subjects, tiny_nerf.CONFIG.code_size))
  codes = codes.astype(np.float32)
  pretrained.save(directory, tiny_nerf.CONFIG, params, codes)
  return directory


@pytest.fixture(scope='module', name='nerf')
def fixture_nerf(tmp_path_factory):
  return save(tmp_path_factory.mktemp('nerfs') / 'five', NUM_KNOWN)


@pytest.fixture(scope='module', name='stops')
def fixture_stops(nerf):
  """The codes that are stopped at, [3, C]."""
  codes = pretrained.load(nerf)[2]
  return codes[codes_film.choose_stops(NUM_KNOWN, 3, seed=0)]


@pytest.fixture(scope='module', name='frames')
def fixture_frames(nerf, stops):
  config, networks, _ = pretrained.load(nerf)
  representation = field.conditional_nerf(config)
  return codes_film.draw_film(representation, networks, stops, FRAMES, SIZE)


@pytest.fixture(scope='module', name='made')
def fixture_made(nerf, tmp_path_factory):
  """The files of a film with 3 stops, by name."""
  return mmdist.film_codes(
    nerf,
    tmp_path_factory.mktemp('films') / 'new',
    num_subjects=3,
    frames=FRAMES,
    resolution=SIZE,
  )


def shown(nerf, code, azimuth_deg):
  """Returns colour and normals of one code, [H, 2 W, 3] bytes."""
  config, networks, _ = pretrained.load(nerf)
  views = orbits.make_views(
    np.radians([azimuth_deg]),
    0.12,
    orbits.CAMERA_DISTANCE,
    orbits.HEAD_TARGET,
    orbits.HEAD_HALF_HEIGHT,
  )
  pictures = make.render(
    field.conditional_nerf(config), {**networks, 'code': code}, views, SIZE
  )
  return turntable.side_by_side(pictures['rgb'], pictures['normals'])[0]


def test_the_film_has_so_many_frames_for_each_stop(made):
  with Image.open(made['animation']) as animation:
    assert animation.n_frames == 3 * FRAMES
    assert animation.size == (2 * SIZE, SIZE)
  assert {path.name for path in made.values()} == {
    'codes.mp4',
    'codes.webp',
    'codes.png',
  }


def test_the_first_frame_is_the_first_stop_from_the_front(nerf, stops, frames):
  assert len(frames) == 3 * FRAMES
  np.testing.assert_array_equal(frames[0], shown(nerf, stops[0], 0))


def test_half_way_between_two_stops_is_the_mean_of_their_codes(
  nerf, stops, frames
):
  # Frame 2 of 12: a sixth of the sway's period.
  azimuth = 20 * np.sin(2 * np.pi / 6)
  expected = shown(nerf, stops[:2].mean(0), azimuth)
  np.testing.assert_array_equal(frames[2], expected)
  assert np.any(frames[2] != shown(nerf, stops[0], azimuth))


def test_the_last_stop_leads_back_to_the_first(nerf, stops, frames):
  expected = shown(nerf, stops[[2, 0]].mean(0), 20 * np.sin(2 * np.pi / 1.2))
  np.testing.assert_array_equal(frames[10], expected)


def test_a_glide_stops_at_each_code_and_goes_straight_to_the_next():
  stops = np.array([[0.0, 1.0], [4.0, -1.0]], np.float32)
  shares = np.array([0.0, 0.25])
  codes = codes_film.glide(stops, shares)
  expected = [[0, 1], [1, 0.5], [4, -1], [3, -0.5]]
  np.testing.assert_allclose(codes, expected)
  assert codes.dtype == np.float32


def test_it_leaves_a_stop_as_slowly_as_it_arrives():
  share = np.linspace(0, 1, 101)
  eased = codes_film.smoothstep(share)
  assert eased[[0, 50, 100]] == pytest.approx([0, 0.5, 1])
  np.testing.assert_allclose(eased + eased[::-1], 1)
  assert np.all(np.diff(eased) > 0) and eased[1] < 0.0004


def test_stops_differ_and_follow_from_the_seed():
  stops = codes_film.choose_stops(10, 10, seed=0)
  assert sorted(stops) == list(range(10))
  assert list(stops) == list(codes_film.choose_stops(10, 10, seed=0))
  assert list(stops) != list(codes_film.choose_stops(10, 10, seed=1))


def test_a_row_of_the_sheet_goes_from_one_stop_to_the_next(nerf, stops, made):
  with Image.open(made['sheet']) as sheet:
    pixels = np.asarray(sheet.convert('RGB'))
  label = pixels.shape[0] // 3 - 2 * SIZE
  assert pixels.shape[1] == 7 * SIZE and label > 0
  rows = pixels.reshape(3, label + 2 * SIZE, 7, SIZE, 3)
  rows = rows.transpose(0, 2, 1, 3, 4)[:, :, label:]
  for row, one in enumerate(stops):
    other = stops[(row + 1) % 3]
    for column, code in ((0, one), (3, (one + other) / 2), (6, other)):
      expected = np.concatenate(np.split(shown(nerf, code, 0), 2, 1))
      np.testing.assert_array_equal(rows[row, column], expected)


def options(out, **changes):
  given = {'num_subjects': 2, 'frames': 2, 'resolution': SIZE} | changes
  return remake.Options(out=str(out), **given)


def refusal(nerf, given):
  """Returns the line of what the command refuses."""
  with pytest.raises((mmdist.errors.UserError, OSError)) as error:
    view.main(given, ['codes', str(nerf)])
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  'changes, line',
  [
    ({'num_subjects': 1}, 'num_subjects is 1; expected at least 2'),
    ({'num_subjects': 6}, 'num_subjects is 6; expected 2 to 5, the subjects'),
    ({'frames': 1}, 'frames is 1; expected at least 2'),
    ({'frames': 241}, 'frames is 241; expected at most 240'),
    ({'resolution': 7}, 'resolution is 7; expected at least 8'),
    ({'resolution': 1025}, 'resolution is 1025; expected at most 1024'),
  ],
)
def test_a_number_out_of_bounds_is_one_line(nerf, tmp_path, changes, line):
  assert refusal(nerf, options(tmp_path / 'new', **changes)).startswith(line)
  assert not list(tmp_path.iterdir())


def test_what_is_no_nerf_is_one_line(tmp_path):
  new = options(tmp_path / 'new')
  assert "'people_nrf' is neither a directory" in refusal('people_nrf', new)
  line = refusal('color', new)
  assert f'{asset_paths.ROOT / "color"} has no config.json' in line
  assert 'it is no pretrained NeRF' in line
  assert not list(tmp_path.iterdir())


def test_a_nerf_of_one_subject_has_nothing_to_glide_between(tmp_path):
  nerf = save(tmp_path / 'one', 1)
  line = refusal(nerf, options(tmp_path / 'new'))
  assert 'trained on one subject, so there is nothing to glide' in line
  assert [path.name for path in tmp_path.iterdir()] == ['one']


def test_a_folder_that_is_missing_in_use_or_none_is_one_line(nerf, tmp_path):
  line = refusal(nerf, options(''))
  assert line.startswith('out is empty; expected the folder of codes.mp4')
  with locks.locked(tmp_path / 'busy', '--out'):
    line = refusal(nerf, options(tmp_path / 'busy'))
  assert 'busy is in use by process' in line
  (tmp_path / 'file').touch()
  line = refusal(nerf, options(tmp_path / 'file'))
  assert 'file cannot be written' in line and 'give --out another' in line


def test_the_folder_is_for_codes_alone():
  with pytest.raises(ValueError, match='--out=x is for codes alone'):
    view.main(remake.Options(out='x'), ['sheet', 'runs/a'])
