import math

import numpy as np
from PIL import Image
import pytest

from mmdist.data import frames


@pytest.fixture
def source(tmp_path):
  Image.new('RGB', (8, 6)).save(tmp_path / 'a.png')
  Image.new('L', (8, 6)).save(tmp_path / 'mask.png')
  return tmp_path / 'transforms.json'


def read(source, common=None, **entry):
  entry = {'file_path': 'a.png', 'transform_matrix': np.eye(4)} | entry
  return frames.read_frame(source, common or {}, entry, False)


def lens_of(source, common=None, size=(8, 6), **entry):
  return frames.read_lens(read(source, common, **entry), *size)


def test_a_frame_is_its_files_and_its_pose(source):
  pose = np.array([[0, 0, 1, 3], [1, 0, 0, 4], [0, 1, 0, 5], [0, 0, 0, 1]])
  frame = read(source, mask_path='./mask.png', transform_matrix=pose.tolist())
  assert frame.picture == source.parent / 'a.png'
  assert frame.mask.samefile(source.parent / 'mask.png')
  np.testing.assert_array_equal(frame.camera_to_world, pose[:3])


@pytest.mark.parametrize('name', ['r_0.png', 'r_0.5.png', 'r_1.jpg'])
def test_a_suffix_may_be_left_away(source, name):
  Image.new('RGB', (8, 6)).save(source.parent / name)
  frame = read(source, file_path='./' + name.rsplit('.', 1)[0])
  assert frame.picture == source.parent / name


@pytest.mark.parametrize(
  'entry, message',
  [
    ({'file_path': 'b.png'}, 'b.png is missing; .*transforms.json names it'),
    ({'file_path': './train/r_7'}, 'train/r_7.png is missing'),
    ({'mask_path': 'no.png'}, 'no.png is missing'),
  ],
)
def test_a_missing_file_is_named(source, entry, message):
  with pytest.raises(FileNotFoundError, match=message):
    read(source, **entry)


SHEAR = np.eye(4)
SHEAR[0, 1] = 0.1


@pytest.mark.parametrize(
  'pose, message',
  [
    (None, 'has no transform_matrix'),
    (np.eye(3), r'shape \(3, 3\); expected \[4, 4\]'),
    ([[1, 0], [1]], 'is no matrix of numbers'),
    ([['a'] * 4] * 4, 'is no matrix of numbers'),
    (np.eye(4) * np.nan, 'is not finite'),
    (np.diag([2, 2, 2, 1]), 'is no rotation .*lengths 2, 2, 2, .* scale'),
    (SHEAR, r'is no rotation .*differs from one by 0\.1'),
    (np.diag([1, 1, -1, 1]), 'mirrors the world'),
    (np.eye(4) + np.eye(4, k=-3), r'ends with \[1.*transposed'),
  ],
)
def test_a_pose_that_is_not_rigid_is_named(source, pose, message):
  with pytest.raises(ValueError, match=f"frame 'a.png': .*{message}"):
    read(source, transform_matrix=pose)


def test_a_mask_is_never_the_picture_of_that_name(source):
  with pytest.raises(ValueError, match="'/x/a.png' .* is its picture"):
    read(source, mask_path='/x/a.png')
  (source.parent / 'images').mkdir()
  Image.new('RGB', (8, 6)).save(source.parent / 'images' / 'b.png')
  with pytest.raises(FileNotFoundError, match='b.png is missing'):
    read(source, file_path='b.png', mask_path='b.png')
  (source.parent / 'masks').mkdir()
  Image.new('L', (8, 6)).save(source.parent / 'masks' / 'B.PNG')
  frame = read(source, file_path='b.png', mask_path='b.png')
  assert frame.mask == source.parent / 'masks' / 'B.PNG'


def test_a_pose_may_lack_its_last_row(source):
  pose = np.eye(4)[:3]
  pose[:, 3] = [3, 4, 5]
  frame = read(source, transform_matrix=pose.tolist())
  np.testing.assert_array_equal(frame.camera_to_world, pose)


def test_what_other_tools_say_besides_is_left_alone(source):
  more = {
    'applied_transform': [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]],
    'applied_scale': 0.4,
    'aabb_scale': 16,
    'ply_file_path': 'sparse.ply',
    'orientation_override': 'none',
    'fl_x': 10.0,
  }
  frame = read(source, more, sharpness=20.3, colmap_im_id=3)
  np.testing.assert_array_equal(frame.camera_to_world, np.eye(4)[:3])
  assert frames.read_lens(frame, 8, 6).focal[0] == 10


def test_a_pose_may_have_been_rounded_to_four_digits(source):
  turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
  pose = np.eye(4)
  pose[:3, :3] = turn * np.linalg.det(turn)
  assert read(source, transform_matrix=np.round(pose, 4).tolist())


@pytest.mark.parametrize(
  'common, message',
  [
    ({'camera_model': 'OPENCV_FISHEYE'}, "'OPENCV_FISHEYE'; .*undistorter"),
    ({'camera_model': 'EQUIRECTANGULAR'}, 'expected one of OPENCV'),
    ({'k4': 0.1}, 'k4 is 0.1; only k1, k2, p1, p2, k3'),
    ({'is_fisheye': True}, 'is_fisheye is True'),
    ({'distortion_params': [0, 0.1]}, 'distortion_params is'),
  ],
)
def test_other_lenses_are_refused_with_a_remedy(source, common, message):
  with pytest.raises(ValueError, match=message):
    read(source, common)


@pytest.mark.parametrize('model', ['OPENCV', 'PINHOLE', 'SIMPLE_RADIAL'])
def test_pinholes_pass_whatever_they_are_called(source, model):
  assert read(source, {'camera_model': model, 'k4': 0.0, 'is_fisheye': False})


def test_blenders_angle_is_across_the_width(source):
  lens = lens_of(source, {'camera_angle_x': 0.8})
  # Pixels are square, and the lens is behind the middle.
  np.testing.assert_allclose(lens.focal, 4 / math.tan(0.4))
  np.testing.assert_array_equal(lens.center, [4, 3])
  assert not lens.distortion.any()


def test_nerfstudios_intrinsics_are_read(source):
  words = dict(fl_x=10, fl_y=11, cx=3.5, cy=2.5, w=8, h=6)
  words |= dict(k1=0.01, k2=0.02, p1=0.003, p2=0.004, k3=0.05)
  lens = lens_of(source, words)
  np.testing.assert_array_equal(lens.focal, [10, 11])
  np.testing.assert_array_equal(lens.center, [3.5, 2.5])
  np.testing.assert_array_equal(
    lens.distortion, [0.01, 0.02, 0.003, 0.004, 0.05]
  )


def test_intrinsics_shrink_with_the_picture(source):
  words = dict(fl_x=1000, fl_y=1100, cx=350, cy=250, w=800, h=600)
  lens = lens_of(source, words)
  np.testing.assert_allclose(lens.focal, [10, 11])
  np.testing.assert_allclose(lens.center, [3.5, 2.5])


def test_a_frames_own_focal_length_is_used(source):
  both = {'fl_x': 10, 'w': 8}
  assert lens_of(source, both, fl_x=20).focal[0] == 20
  # In other words, too.
  own = lens_of(source, both, camera_angle_x=0.8)
  assert own.focal[0] == pytest.approx(4 / math.tan(0.4))
  assert own.focal[1] == own.focal[0]


def test_an_angle_may_be_given_along_each_axis(source):
  lens = lens_of(source, {'camera_angle_x': 0.8, 'camera_angle_y': 0.5})
  np.testing.assert_allclose(
    lens.focal, [4 / math.tan(0.4), 3 / math.tan(0.25)]
  )


@pytest.mark.parametrize(
  'words, message',
  [
    ({}, 'has neither fl_x nor camera_angle_x'),
    ({'fl_x': 0}, 'fl_x is 0; expected a number above 0'),
    ({'fl_x': '10'}, "fl_x is '10'; expected a number"),
    ({'fl_x': math.nan}, 'fl_x is nan'),
    ({'fl_x': 10, 'cx': None}, 'cx is None; expected a number'),
    ({'camera_angle_x': 3.5}, 'camera_angle_x is 3.5; expected radians below'),
    ({'fl_x': 10, 'w': 6, 'h': 8}, 'has 8 x 6 pixels.*w, h = 6 x 8.*turned'),
    ({'fl_x': 5, 'k1': -1}, 'folds the edge'),
  ],
)
def test_a_lens_that_makes_no_sense_is_named(source, words, message):
  with pytest.raises(ValueError, match=f"json: frame 'a.png': .*{message}"):
    lens_of(source, words)


def test_a_scaled_copy_may_be_off_by_a_pixel(source):
  words = {'fl_x': 1000, 'w': 1081, 'h': 721}
  assert lens_of(source, words, size=(540, 360))
