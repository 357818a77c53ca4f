import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.cameras import orbits
from mmdist.cameras import photographs
from mmdist.data import lenses
from mmdist.data import multiview
from mmdist.data import pixel_stream
from tests.core import compiling

NUM_SUBJECTS, NUM_CAMERAS, RESOLUTION = 2, 3, 4
WITHOUT_TWO = np.array([[False, True, True], [True, True, False]])

camera_rays = compiling.compiled(camera_lib.camera_rays, static_argnums=1)
rays_of = compiling.compiled(photographs.PixelBatch.rays)


def numbered_set():
  """Red, green and blue of every pixel tell its picture, row and column."""
  lead = (NUM_SUBJECTS, NUM_CAMERAS)
  index = np.indices((*lead, RESOLUTION, RESOLUTION))
  picture = index[0] * NUM_CAMERAS + index[1]
  channels = [picture, index[2], index[3], np.full_like(picture, 255)]
  cameras = orbits.turntable(NUM_SUBJECTS * NUM_CAMERAS).cameras()
  return multiview.MultiviewSet(
    np.stack(channels, -1).astype(np.uint8),
    cameras.camera_to_world.reshape(lead + (3, 4)),
    cameras.tan_half_fov.reshape(lead),
  )


def stream(seed=0, batch_size=64, trained=None, pictures=None):
  return pixel_stream.PixelStream(
    pictures or numbered_set(), batch_size, seed, (0.35, 1.0), trained
  )


@compiling.compiled
def read(pictures, draws):
  return pictures.read(draws)


def distorted_set():
  lead, size = (NUM_SUBJECTS, NUM_CAMERAS), RESOLUTION
  bent = lenses.ideal(lead, size, size)
  bent.focal[:], bent.distortion[..., 0] = 9.0, -0.05
  return changed_set(lenses=bent)


def faint_set():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, numbered_set().images.shape, np.uint8)
  return changed_set(images=images)


@pytest.mark.parametrize('make', [numbered_set, faint_set, distorted_set])
def test_draws_are_read_on_a_device_as_the_same_bits(make):
  pictures = make()
  batches = stream(pictures=pictures)
  draws = pixel_stream.PixelStream(
    pictures, 64, 0, (0.35, 1.0), draws_only=True
  )
  there = pixel_stream.photographs_of(pictures)
  for _ in range(2):
    assert_equal(read(there, next(draws)), next(batches))


def test_who_reads_and_how_many_threads_draw_change_no_place():
  batches = stream()
  for _ in range(3):
    next(batches)
  state = json.loads(json.dumps(batches.get_state()))
  expected = [next(batches) for _ in range(12)]
  draws = pixel_stream.PixelStream(
    numbered_set(), 64, 0, (0.35, 1.0), draws_only=True, num_threads=3
  )
  draws.set_state(state)
  there = pixel_stream.photographs_of(numbered_set())
  for one in expected[:6]:
    assert_equal(read(there, next(draws)), one)
  again = stream()
  again.set_state(draws.get_state())
  for one in expected[6:]:
    assert_equal(next(again), one)


def labels(batch):
  """Returns [N] subject, camera, row and column, read off the colours."""
  picture, row, column = np.round(batch.rgba[:, :3].T * 255).astype(int)
  return (*np.divmod(picture, NUM_CAMERAS), row, column)


def assert_equal(first, second):
  jax.tree.map(np.testing.assert_array_equal, first, second)


def test_every_pixel_comes_with_its_subject_and_camera():
  batch, pictures = next(stream()), numbered_set()
  subject, camera, _, _ = labels(batch)
  np.testing.assert_array_equal(batch.subject, subject)
  np.testing.assert_array_equal(
    batch.camera_to_world, pictures.camera_to_world[subject, camera]
  )


def test_coordinates_are_those_of_the_cameras_rays():
  batch = next(stream(batch_size=8))
  rays = rays_of(batch)
  for i, (_, _, row, column) in enumerate(zip(*labels(batch))):
    camera = camera_lib.Camera(batch.camera_to_world[i], batch.tan_half_fov[i])
    picture = camera_rays(camera, RESOLUTION, np.ones(3))
    np.testing.assert_allclose(
      rays.directions[i], picture.directions[row, column], atol=1e-6
    )


def test_an_ideal_lens_may_be_spelled_out():
  plain = numbered_set()
  focal = RESOLUTION / (2 * plain.tan_half_fov)
  spelled = lenses.ideal((NUM_SUBJECTS, NUM_CAMERAS), RESOLUTION, RESOLUTION)
  spelled.focal[:] = focal[..., None]
  batch = next(stream(pictures=changed_set(lenses=spelled)))
  # To rounding: other formulae.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    batch,
    next(stream()),
  )


def test_oblong_pictures_are_drawn_from_all_over():
  whole = numbered_set()
  cut = dataclasses.replace(
    whole,
    images=whole.images[:, :, :2],
    lenses=lenses.ideal((NUM_SUBJECTS, NUM_CAMERAS), RESOLUTION, 2),
  )
  _, _, row, column = labels(next(stream(batch_size=500, pictures=cut)))
  assert (set(row), set(column)) == ({0, 1}, {0, 1, 2, 3})


def test_a_whole_picture_has_every_pixel_in_its_place():
  picture = pixel_stream.read_picture(numbered_set(), 1, 2, 0.7)
  assert picture.rgba.shape == (RESOLUTION, RESOLUTION, 4)
  flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), picture)
  subject, camera, row, column = labels(flat)
  assert set(zip(subject, camera)) == {(1, 2)}
  np.testing.assert_array_equal(
    np.stack([row, column]), np.indices((4, 4)).reshape(2, -1)
  )
  np.testing.assert_array_equal(
    picture.background, np.full((4, 4, 3), 0.7, 'f')
  )
  camera = camera_lib.Camera(
    numbered_set().camera_to_world[1, 2], numbered_set().tan_half_fov[1, 2]
  )
  expected = camera_rays(camera, RESOLUTION, np.full(3, 0.7))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    rays_of(picture),
    expected,
  )


def test_every_pixel_is_drawn_as_often():
  batch = next(stream(batch_size=60_000))
  cells = np.ravel_multi_index(labels(batch), (2, 3, RESOLUTION, RESOLUTION))
  counts = np.bincount(cells, minlength=96)
  # 625 expected, with a deviation of 25.
  assert np.all(np.abs(counts - 625) < 6 * 25)


def test_a_held_out_picture_is_never_drawn():
  batch = next(stream(batch_size=5000, trained=WITHOUT_TWO))
  subject, camera, _, _ = labels(batch)
  assert set(zip(subject, camera)) == {(0, 1), (0, 2), (1, 0), (1, 1)}


def test_holding_out_everything_is_refused():
  lonely = multiview.MultiviewSet(
    numbered_set().images[:, :1],
    numbered_set().camera_to_world[:, :1],
    numbered_set().tan_half_fov[:, :1],
  )
  with pytest.raises(ValueError, match='at least two cameras'):
    stream(pictures=lonely, trained=lonely.is_trained())


def test_backgrounds_are_greys_of_the_range():
  background = next(stream(batch_size=1000)).background
  np.testing.assert_array_equal(background[:, 0], background[:, 2])
  assert 0.35 <= background.min() < 0.4 and 0.95 < background.max() <= 1


def test_batches_differ_and_depend_on_the_seed():
  first, second = itertools.islice(stream(), 2)
  assert np.any(first.rgba != second.rgba)
  assert np.any(first.rgba != next(stream(seed=1)).rgba)
  assert_equal(first, next(stream()))


def test_a_resumed_stream_goes_on_where_the_other_was():
  uninterrupted = list(itertools.islice(stream(), 6))
  interrupted = iter(stream())
  for _ in range(3):
    next(interrupted)
  state = json.loads(json.dumps(interrupted.get_state()))
  resumed = stream()
  resumed.set_state(state)
  for expected in uninterrupted[3:]:
    assert_equal(next(resumed), expected)


def changed_set(**changes):
  return dataclasses.replace(numbered_set(), **changes)


@pytest.mark.parametrize(
  'other',
  [
    dict(seed=1),
    dict(batch_size=32),
    dict(trained=WITHOUT_TWO),
    dict(pictures=changed_set(images=numbered_set().images[:, :, ::-1])),
    dict(pictures=changed_set(tan_half_fov=numbered_set().tan_half_fov * 2)),
    dict(pictures=changed_set(lenses=lenses.ideal((2, 3), 4, 4))),
  ],
  ids=['seed', 'batch_size', 'trained', 'pictures', 'cameras', 'lenses'],
)
def test_the_state_of_another_pipeline_is_refused(other):
  state = stream().get_state()
  with pytest.raises(ValueError, match='trained on other pixels'):
    stream(**other).set_state(state)
