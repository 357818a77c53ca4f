import dataclasses
import math

import numpy as np
from PIL import Image
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.data import lenses
from mmdist.data import multiview
from tests.core import compiling
from tests.data import small_sets

pixel_rays = compiling.compiled(camera_lib.pixel_rays, static_argnums=2)


@pytest.fixture
def folder(tmp_path):
  return small_sets.write(tmp_path / 'set')


def edit(place, change):
  small_sets.edit(place / 'transforms.json', change)


def test_sets_come_back_from_their_files(folder):
  answer, expected = multiview.read_transforms(folder), small_sets.noise()
  np.testing.assert_array_equal(answer.images, expected.images)
  np.testing.assert_array_equal(
    answer.camera_to_world, expected.camera_to_world
  )
  np.testing.assert_allclose(
    answer.tan_half_fov, expected.tan_half_fov, rtol=1e-6
  )
  assert (answer.num_subjects, answer.num_cameras) == (3, 4)
  assert answer.resolution == answer.height == 6
  assert answer.lenses is None
  assert answer.names == ('00000', '00001', '00002')


def test_a_set_and_its_files_hold_out_the_same(folder):
  answer, expected = multiview.read_transforms(folder), small_sets.noise()
  np.testing.assert_array_equal(answer.is_trained(), expected.is_trained())
  np.testing.assert_array_equal(answer.is_held_out(), expected.is_held_out())
  np.testing.assert_array_equal(answer.is_held_out()[:, :3], np.eye(3))


def test_a_folder_may_be_one_subject(folder):
  answer = multiview.read_transforms(folder / '00001')
  np.testing.assert_array_equal(answer.images, small_sets.noise().images[1:2])
  assert answer.names == ('00001',)


def test_blenders_layout_is_read(folder):
  small_sets.as_blender(folder / '00000', num_test=1)
  answer = multiview.read_transforms(folder / '00000')
  # What is trained on comes first.
  expected = small_sets.noise().images[0, [1, 2, 3, 0]]
  np.testing.assert_array_equal(answer.images[0], expected)
  np.testing.assert_allclose(answer.tan_half_fov, math.tan(0.3))
  np.testing.assert_array_equal(answer.is_held_out(), [[0, 0, 0, 1]])
  assert answer.lenses is None


def test_subjects_may_differ_in_number_and_layout(folder):
  small_sets.as_blender(folder / '00000', num_test=2)
  edit(folder / '00001', lambda data: data['frames'].pop())
  answer = multiview.read_transforms(folder)
  np.testing.assert_array_equal(
    answer.split,
    [
      [multiview.TRAINED] * 2 + [multiview.HELD_OUT] * 2,
      [0, multiview.HELD_OUT, 0, multiview.ABSENT],
      [0, 0, multiview.HELD_OUT, 0],
    ],
  )
  assert not answer.images[1, 3].any()


def oblong(folder, **words):
  """Cuts the pictures of subject 0 to 4 of 6 rows, 1 off the top."""
  for path in (folder / '00000' / 'images').iterdir():
    with Image.open(path) as image:
      image.crop((0, 1, 6, 5)).save(path)

  def change(data):
    data.update(words)
    for frame in data['frames']:
      frame['h'] = 4
      frame['cy'] -= 1

  edit(folder / '00000', change)
  return multiview.read_transforms(folder / '00000')


def test_a_cut_picture_has_the_rays_of_the_whole_one(folder):
  answer, whole = oblong(folder), small_sets.noise()
  assert (answer.height, answer.resolution) == (4, 6)
  row, column = np.indices((4, 6))
  np.testing.assert_array_equal(answer.images[0, 2], whole.images[0, 2, 1:5])
  np.testing.assert_allclose(
    answer.coordinates(0, 2, row, column),
    whole.coordinates(0, 2, row + 1, column),
    atol=1e-6,
  )


def project(point, pose, focal, center, k1, k2, p1, p2, k3):
  """OpenCV's projectPoints, for one point."""
  local = np.linalg.inv(np.vstack([pose, [0, 0, 0, 1]])) @ [*point, 1]
  x, y = local[0] / -local[2], -local[1] / -local[2]
  r2 = x * x + y * y
  radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
  u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
  v = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
  return focal[0] * u + center[0], focal[1] * v + center[1]


def test_a_ray_passes_through_the_point_that_its_pixel_shows(folder):
  distortion = dict(k1=-0.4, k2=0.1, p1=0.02, p2=-0.03, k3=0.05)

  def change(data):
    data.update(distortion)
    for frame in data['frames']:
      frame['fl_y'] *= 1.1
      frame['cx'] += 0.4

  edit(folder / '00000', change)
  answer = multiview.read_transforms(folder / '00000')
  rng = np.random.default_rng(0)
  for camera in range(4):
    for point in rng.uniform(-0.3, 0.3, (5, 3)):
      pose = small_sets.noise().camera_to_world[0, camera]
      focal = 3 / float(small_sets.noise().tan_half_fov[0, camera])
      u, v = project(
        point, pose, (focal, 1.1 * focal), (3.4, 3), *distortion.values()
      )
      rays = pixel_rays(
        camera_lib.Camera(
          answer.camera_to_world[0, camera], answer.tan_half_fov[0, camera]
        ),
        answer.coordinates(0, camera, v - 0.5, u - 0.5),
        answer.resolution,
        np.ones(3),
      )
      away = np.cross(point - rays.origins, rays.directions)
      assert np.linalg.norm(away) < 1e-5


def test_a_mask_is_joined_to_the_opacity(folder):
  masks = np.random.default_rng(1).integers(128, 256, (4, 6, 6), np.uint8)

  def change(data):
    for i, frame in enumerate(data['frames']):
      frame['mask_path'] = f'mask{i}.png'
      Image.fromarray(masks[i]).save(folder / '00000' / f'mask{i}.png')

  edit(folder / '00000', change)
  answer = multiview.read_transforms(folder / '00000').images[0]
  expected = small_sets.noise().images[0]
  np.testing.assert_array_equal(answer[..., :3], expected[..., :3])
  opacity = expected[..., 3] / 255 * masks
  # Rounded once, to the nearest.
  assert np.abs(answer[..., 3] - opacity).max() <= 0.5


def test_pictures_without_opacity_count_as_opaque(folder):
  path = folder / '00000' / 'images' / '000.png'
  with Image.open(path) as image:
    image.convert('RGB').save(path)
  answer = multiview.read_transforms(folder / '00000')
  assert np.all(answer.images[0, 0, ..., 3] == 255)


def test_a_missing_picture_is_named(folder):
  (folder / '00002' / 'images' / '001.png').unlink()
  with pytest.raises(FileNotFoundError, match='00002/images/001.png'):
    multiview.read_transforms(folder)


def test_a_picture_of_another_size_is_named(folder):
  path = folder / '00001' / 'images' / '002.png'
  Image.new('RGBA', (7, 7)).save(path)
  with pytest.raises(
    ValueError, match='00001/images/002.png has 7 x 7 pixels, but .*6 x 6'
  ):
    multiview.read_transforms(folder)


def test_cameras_in_another_world_are_named(folder):
  def change(data):
    for frame in data['frames']:
      for row in frame['transform_matrix'][:3]:
        row[3] *= 1000

  edit(folder / '00001', change)
  with pytest.raises(
    ValueError, match='00001/transforms.json: 4 of 4 cameras do not see a head'
  ):
    multiview.read_transforms(folder)


def test_a_good_set_has_nothing_odd(tmp_path):
  small_sets.write(tmp_path, num_cameras=12)
  assert not multiview.find_oddities(multiview.read_transforms(tmp_path))


def test_opaque_pictures_are_odd(folder):
  for path in (folder / '00001' / 'images').iterdir():
    with Image.open(path) as image:
      image.convert('RGB').save(path)
  (line,) = multiview.find_oddities(multiview.read_transforms(folder))
  assert line.startswith("the pictures of '00001' are opaque all over")


def test_another_axis_up_is_odd():
  good = small_sets.noise(num_cameras=12)
  y_to_z = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)
  tilted = multiview.MultiviewSet(
    good.images, y_to_z @ good.camera_to_world, good.tan_half_fov
  )
  (line,) = multiview.find_oddities(tilted)
  assert line.startswith("the cameras of 3 subjects ('0' is the first) have +z")
  # And the remedy mends it.
  assert line.endswith('(its rows y, z become z, -y).')
  z_to_y = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)
  mended = z_to_y @ tilted.camera_to_world
  np.testing.assert_array_equal(mended, good.camera_to_world)


def test_a_set_from_files_is_not_written_again(folder):
  answer = multiview.read_transforms(folder)
  with pytest.raises(ValueError, match='copy its folder'):
    multiview.write_transforms(folder, answer)


def test_arrays_that_do_not_fit_together_are_refused():
  good = small_sets.noise()
  with pytest.raises(ValueError, match='camera_to_world has shape'):
    multiview.MultiviewSet(
      good.images, good.camera_to_world[:, 1:], good.tan_half_fov
    )
  with pytest.raises(ValueError, match='images are float32; expected uint8'):
    multiview.MultiviewSet(
      good.images.astype(np.float32), good.camera_to_world, good.tan_half_fov
    )


def test_take_keeps_some_subjects():
  whole = small_sets.noise()
  whole = dataclasses.replace(
    whole,
    lenses=lenses.ideal((3, 4), 6, 6),
    split=np.arange(12).reshape(3, 4) % 3,
    names=('a', 'b', 'c'),
  )
  taken = whole.take(slice(1, None))
  np.testing.assert_array_equal(taken.images, whole.images[1:])
  np.testing.assert_array_equal(taken.split, whole.split[1:])
  assert taken.lenses.focal.shape == (2, 4, 2)
  assert taken.num_subjects == 2 and taken.names == ('b', 'c')


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
