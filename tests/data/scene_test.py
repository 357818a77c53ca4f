import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.data import scene


def some_poses(num=8):
  return orbits.turntable(num, elevation=0.3).cameras().camera_to_world


def corners_of(half, num):
  signs = np.array([[-1, 1], [1, 1], [-1, -1], [1, -1]])
  return np.broadcast_to(signs * half, (num, 4, 2))


def check(poses, half=0.28):
  names = [f'{i}.png' for i in range(len(poses))]
  scene.check_cameras(poses, corners_of(half, len(poses)), names)


def moved(scale=1.0, shift=(0, 0, 0), columns=(1, 1, 1)):
  poses = some_poses().copy()
  poses[:, :, 3] = poses[:, :, 3] * scale + np.array(shift)
  poses[:, :, :3] *= np.array(columns)
  return poses


def test_the_houses_cameras_see_the_scene():
  views = orbits.bank().take(range(0, 39_600, 97))
  cameras = views.cameras()
  for pose, tan in zip(cameras.camera_to_world, cameras.tan_half_fov):
    assert not scene.find_fault(pose, corners_of(tan, 1)[0])


@pytest.mark.parametrize(
  'poses, message',
  [
    (
      moved(scale=0.3),
      r'8 of 8 .* is only 1\.\d* units from the camera of 0.png',
    ),
    (moved(scale=1000), r'units away and a speck to'),
    (
      moved(shift=(20, 0, 0)),
      r'outside the picture of .* look at \(20.00, 0.08, 0.00\) from 3.4 u',
    ),
    (moved(columns=(1, -1, -1)), 'is behind .* negate their second and third'),
  ],
  ids=['small', 'large', 'elsewhere', 'opencv'],
)
def test_cameras_that_do_not_see_the_scene_are_refused(poses, message):
  with pytest.raises(ValueError, match=message):
    check(poses)


def test_a_few_cameras_may_look_elsewhere():
  poses = some_poses().copy()
  poses[:4, :, 1:3] *= -1
  check(poses)
  poses[4, :, 1:3] *= -1
  with pytest.raises(ValueError, match='5 of 8 cameras do not see'):
    check(poses)


def test_a_fault_agrees_with_rays_cast_all_over_the_picture():
  # By Monte Carlo: whether any ray comes within the ball, ahead.
  rng = np.random.default_rng(0)
  ticks = np.linspace(-0.5, 0.5, 101)
  grid = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
  local = np.concatenate([grid, -np.ones((len(grid), 1))], -1)
  local /= np.linalg.norm(local, axis=-1, keepdims=True)
  seen = 0
  for _ in range(200):
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    position = rng.normal(size=3)
    position *= rng.uniform(1.5, 8) / np.linalg.norm(position)
    rays = local @ turn.T
    along = -rays @ position
    miss = np.linalg.norm(position + along[:, None] * rays, axis=-1)
    hit = bool(np.any((along > 0) & (miss < 1.4)))
    fault = scene.find_fault(
      np.concatenate([turn, position[:, None]], 1), corners_of(0.5, 1)[0]
    )
    # The cone around the picture is wider than the picture itself: a ray may
    # miss what the cone meets, never the other way round.
    assert not (hit and fault)
    seen += hit
  assert 20 < seen < 150


def test_what_cameras_look_at_is_found():
  poses = moved(shift=(1, 2, 3))
  point, distance = scene.looked_at(poses)
  # A turntable looks at the head's middle.
  np.testing.assert_allclose(point, [1, 2.08, 3], atol=1e-5)
  assert distance == pytest.approx(3.4, abs=1e-5)


def test_one_camera_looks_at_no_point_in_particular():
  point, distance = scene.looked_at(some_poses(1))
  assert np.all(np.isfinite(point)) and np.isfinite(distance)


def test_the_up_axis_is_where_cameras_have_it():
  poses = some_poses()
  assert scene.up_axis(poses) == '+y'
  y_to_z = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
  assert scene.up_axis(y_to_z @ poses) == '+z'
  assert scene.up_axis(-poses) == '-y'
  assert scene.up_axis(np.concatenate([poses, -poses])) == ''
