import json
import math

import numpy as np
from PIL import Image
import pytest

from mmdist.cameras import orbits
from mmdist.data import multiview


def some_set(num_subjects=3, num_cameras=4, resolution=6):
  rng = np.random.default_rng(0)
  cameras = orbits.sample(num_subjects * num_cameras, rng).cameras()
  lead = (num_subjects, num_cameras)
  return multiview.MultiviewSet(
    rng.integers(0, 256, lead + (resolution, resolution, 4), np.uint8),
    cameras.camera_to_world.reshape(lead + (3, 4)),
    cameras.tan_half_fov.reshape(lead),
  )


@pytest.fixture
def folder(tmp_path):
  multiview.write_transforms(tmp_path, some_set())
  return tmp_path


def edit(path, change):
  data = json.loads(path.read_text())
  change(data)
  path.write_text(json.dumps(data))


def test_sets_come_back_from_their_files(folder):
  answer, expected = multiview.read_transforms(folder), some_set()
  np.testing.assert_array_equal(answer.images, expected.images)
  np.testing.assert_allclose(answer.camera_to_world, expected.camera_to_world)
  np.testing.assert_allclose(
    answer.tan_half_fov, expected.tan_half_fov, rtol=1e-6
  )
  assert (answer.num_subjects, answer.num_cameras) == (3, 4)
  assert answer.resolution == 6


def test_a_folder_may_be_one_subject(folder):
  answer = multiview.read_transforms(folder / '00001')
  np.testing.assert_array_equal(answer.images, some_set().images[1:2])


def test_blenders_layout_is_read(folder):
  path = folder / '00000' / 'transforms.json'

  def as_blender(data):
    data['camera_angle_x'] = 0.8
    for frame in data['frames']:
      for name in ('w', 'h', 'fl_x', 'fl_y', 'cx', 'cy', 'camera_angle_x'):
        del frame[name]
      frame['file_path'] = './' + frame['file_path'].removesuffix('.png')

  edit(path, as_blender)
  answer = multiview.read_transforms(path.parent)
  np.testing.assert_array_equal(answer.images, some_set().images[:1])
  np.testing.assert_allclose(answer.tan_half_fov, math.tan(0.4))


def test_nerfstudios_focal_length_is_in_pixels_of_its_width(folder):
  path = folder / '00000' / 'transforms.json'

  def as_nerfstudio(data):
    data.update(w=600, fl_x=750.0)
    for frame in data['frames']:
      for name in ('w', 'fl_x', 'camera_angle_x'):
        del frame[name]

  edit(path, as_nerfstudio)
  answer = multiview.read_transforms(path.parent)
  np.testing.assert_allclose(answer.tan_half_fov, 0.4)


def test_pictures_without_opacity_count_as_opaque(folder):
  path = folder / '00000' / 'images' / '000.png'
  with Image.open(path) as image:
    image.convert('RGB').save(path)
  answer = multiview.read_transforms(folder / '00000')
  assert np.all(answer.images[0, 0, ..., 3] == 255)


def test_an_empty_folder_says_what_is_expected(tmp_path):
  with pytest.raises(FileNotFoundError, match='expected .*transforms.json'):
    multiview.read_transforms(tmp_path)


def test_a_missing_picture_is_named(folder):
  (folder / '00002' / 'images' / '001.png').unlink()
  with pytest.raises(FileNotFoundError, match='00002/images/001.png'):
    multiview.read_transforms(folder)


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda d: d.pop('frames'), "has no 'frames'"),
    (lambda d: d['frames'][0].pop('transform_matrix'), 'transform_matrix'),
    (lambda d: d['frames'][0]['transform_matrix'].pop(), 'inhomogeneous'),
    (
      lambda d: [f['transform_matrix'].pop() for f in d['frames']],
      r'transform_matrix has shape \(4, 3, 4\)',
    ),
  ],
)
def test_a_file_of_another_kind_is_named(folder, change, message):
  path = folder / '00001' / 'transforms.json'
  edit(path, change)
  with pytest.raises(ValueError, match=f'00001/transforms.json.*{message}'):
    multiview.read_transforms(folder)


def test_broken_json_is_named(folder):
  (folder / '00001' / 'transforms.json').write_text('{')
  with pytest.raises(ValueError, match='00001/transforms.json'):
    multiview.read_transforms(folder)


def test_pictures_of_several_sizes_are_named(folder):
  path = folder / '00000' / 'images' / '000.png'
  Image.new('RGBA', (5, 6)).save(path)
  with pytest.raises(ValueError, match=r'00000.*sizes \[\(6, 5\), \(6, 6\)\]'):
    multiview.read_transforms(folder)


def test_subjects_with_fewer_cameras_are_named(folder):
  path = folder / '00001' / 'transforms.json'
  edit(path, lambda data: data['frames'].pop())
  with pytest.raises(ValueError, match=r'00001 has pictures \(3, 6, 6\)'):
    multiview.read_transforms(folder)


def test_arrays_that_do_not_fit_together_are_refused():
  good = some_set()
  with pytest.raises(ValueError, match='camera_to_world has shape'):
    multiview.MultiviewSet(
      good.images, good.camera_to_world[:, 1:], good.tan_half_fov
    )
  with pytest.raises(ValueError, match='images are float32; expected uint8'):
    multiview.MultiviewSet(
      good.images.astype(np.float32), good.camera_to_world, good.tan_half_fov
    )


def test_take_keeps_some_subjects():
  taken = some_set().take(slice(1, None))
  np.testing.assert_array_equal(taken.images, some_set().images[1:])
  assert taken.num_subjects == 2


def test_premultiplied_colours_survive_the_round_trip():
  rng = np.random.default_rng(0)
  alpha = rng.uniform(0, 1, (500, 1))
  rgba = np.concatenate([rng.uniform(0, 1, (500, 3)) * alpha, alpha], -1)
  rgba8 = multiview.premultiplied_to_rgba8(rgba)
  assert rgba8.dtype == np.uint8
  # Colour and opacity are each rounded to half of 1 / 255.
  np.testing.assert_allclose(
    multiview.rgba8_to_premultiplied(rgba8), rgba, atol=1.01 / 255
  )


def test_a_clear_pixel_has_no_colour():
  np.testing.assert_array_equal(
    multiview.premultiplied_to_rgba8(np.zeros(4)), np.zeros(4)
  )


def test_held_out_cameras_take_turns():
  np.testing.assert_array_equal(
    multiview.held_out_cameras(5, 3), [0, 1, 2, 0, 1]
  )
