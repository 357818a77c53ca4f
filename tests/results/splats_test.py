import os

import numpy as np
import pytest
import trimesh

from mmdist.cameras import camera as camera_lib
from mmdist.core import errors
from mmdist.nerf import images
from mmdist.results import glb
from mmdist.results import splats
from tests.results import mesh_shots
from tests.results import sphere_field
from tests.results import splat_shots

RADIUS, NUM_SPLATS = 0.7, 20_000
GREY = np.array([0.85, 0.85, 0.85])
HEADER = b"""ply
format binary_little_endian 1.0
element vertex 20000
property float x
property float y
property float z
property float nx
property float ny
property float nz
property float f_dc_0
property float f_dc_1
property float f_dc_2
property float opacity
property float scale_0
property float scale_1
property float scale_2
property float rot_0
property float rot_1
property float rot_2
property float rot_3
end_header
"""


def make(num_splats=NUM_SPLATS, radius=RADIUS):
  return splats.make_splats(
    sphere_field.representation(),
    sphere_field.params_of(radius),
    resolution=64,
    num_splats=num_splats,
  )


@pytest.fixture(scope='module')
def path(tmp_path_factory):
  path = tmp_path_factory.mktemp('splats') / 'ball.ply'
  splats.write(path, make())
  return path


@pytest.fixture(scope='module')
def table(path):
  return splat_shots.read(path)


def outward_of(table):
  points = splat_shots.column(table, 'x', 'y', 'z')
  return points / np.linalg.norm(points, axis=-1, keepdims=True)


def test_the_file_has_its_header_and_seventeen_floats_each(path):
  data = path.read_bytes()
  assert data.startswith(HEADER)
  assert len(data) == len(HEADER) + NUM_SPLATS * 17 * 4


def test_points_lie_on_the_ball_in_metres(table):
  points = splat_shots.column(table, 'x', 'y', 'z') / glb.METRES_PER_UNIT
  distance = np.linalg.norm(points, axis=-1)
  # As in triangle_mesh_test, the surface is 0.012 outside of the radius. The
  # soft edge, 0.01 wide, lies within one voxel of 0.044: an eighth of it.
  np.testing.assert_allclose(distance, RADIUS + 0.012, atol=0.006)


def test_points_are_even(table):
  # Equal areas of a ball are equal lengths along any axis.
  heights = splat_shots.column(table, 'x', 'y', 'z') / (
    (RADIUS + 0.012) * glb.METRES_PER_UNIT
  )
  for axis in heights.T:
    counts, _ = np.histogram(axis, 20, (-1, 1))
    # By chance they would differ by 10 %, three deviations of 1000 points.
    np.testing.assert_allclose(counts, NUM_SPLATS / 20, rtol=0.05)


def test_the_thin_axis_is_the_outward_normal(table):
  outward = outward_of(table)
  thin = splat_shots.matrices(table)[..., 2]
  cosine = np.sum(thin * outward, -1)
  # The ball's edge is thinner than a voxel, so the surface has faint steps.
  degrees = np.degrees(np.arccos(np.minimum(cosine, 1)))
  assert degrees.mean() < 3.5 and degrees.max() < 15
  normals = splat_shots.column(table, 'nx', 'ny', 'nz')
  np.testing.assert_allclose(thin, normals, atol=1e-5)  # float32
  turns = splat_shots.column(table, 'rot_0', 'rot_1', 'rot_2', 'rot_3')
  np.testing.assert_allclose(np.linalg.norm(turns, axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize(
  'normal',
  [
    *((0, 0, 1), (0, 0, -1), (1, 0, 0), (0, -1, 0), (0.6, 0, -0.8)),
    *((1e-7, 0, -1), (1e-9, -1e-9, -1), (1e-12, 0, -1), (0, 1e-4, -1)),
  ],
)
def test_z_is_turned_to_every_normal(normal):
  normal = np.array([normal]) / np.linalg.norm(normal)
  ((w, x, y, z),) = splats.rotations_to(normal)
  assert w**2 + x**2 + y**2 + z**2 == pytest.approx(1)
  # The third column of a quaternion's matrix.
  turned = [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x**2 + y**2)]
  np.testing.assert_allclose(turned, normal[0], atol=1e-8)


def test_gaussians_are_flat_opaque_and_as_wide_as_their_spacing(table):
  sizes = np.exp(splat_shots.column(table, 'scale_0', 'scale_1', 'scale_2'))
  area = 4 * np.pi * ((RADIUS + 0.012) * glb.METRES_PER_UNIT) ** 2
  spacing = np.sqrt(area / NUM_SPLATS)
  # Of a closed surface whose faint steps add 0.4 % to the ball's area.
  np.testing.assert_allclose(sizes[:, :2], 0.8 * spacing, rtol=0.005)
  np.testing.assert_allclose(sizes[:, 2], 0.08 * spacing, rtol=0.005)
  np.testing.assert_allclose(
    1 / (1 + np.exp(-table['opacity'])), 0.99, atol=1e-6
  )


def test_colours_are_those_of_the_field(table):
  dc = splat_shots.column(table, 'f_dc_0', 'f_dc_1', 'f_dc_2')
  colors = 0.5 + dc / (2 * np.sqrt(np.pi))
  x = outward_of(table)[:, 0]
  # Away from the seam, where a point of either side has the other's colour.
  for side, color in (
    (x > 0.1, sphere_field.RED),
    (x < -0.1, sphere_field.BLUE),
  ):
    np.testing.assert_allclose(
      colors[side], np.broadcast_to(color, (side.sum(), 3)), atol=1e-5
    )


def test_the_same_splats_are_made_every_time(path, tmp_path):
  splats.write(tmp_path / 'again.ply', make())
  assert (tmp_path / 'again.ply').read_bytes() == path.read_bytes()


@pytest.fixture(scope='module')
def front():
  views = mesh_shots.views_of(((0, 0.05),))
  expected = images.render_images(
    sphere_field.representation(),
    sphere_field.params_of(RADIUS),
    views,
    96,
    GREY,
    with_normals=False,
  )
  return views.cameras().take(0), expected


def test_the_ball_looks_as_it_is_rendered(table, front):
  camera, expected = front
  shown, _ = splat_shots.draw(table, camera, 96, GREY)
  # 25.7 dB: most of what is left is the seam, which is as blurred as the
  # Gaussians are wide, and the outline.
  assert mesh_shots.psnr(shown, expected['rgb'][0]) >= 25


def test_no_hole_is_seen_far_or_near(table, front):
  camera, _ = front
  for tan, share in ((camera.tan_half_fov, 0.9), (0.1, 1.0)):
    close = camera_lib.Camera(camera.camera_to_world, np.float32(tan))
    # Near, Gaussians are wider than pixels, and gaps would show.
    _, acc = splat_shots.draw(table, close, 64, GREY)
    ticks = (np.arange(64) + 0.5) / 32 - 1
    x, y = np.meshgrid(ticks, -ticks)
    directions = np.stack([x * tan, y * tan, -np.ones_like(x)], -1)
    directions = directions @ camera.camera_to_world[:, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    origin = camera.camera_to_world[:, 3]
    miss = np.linalg.norm(np.cross(origin, directions), axis=-1)
    is_inside = miss < share * RADIUS
    assert is_inside.sum() > 500
    assert acc[is_inside].min() >= 0.95


def test_a_fold_has_the_normals_of_its_triangles():
  # Two triangles back to back: normals of their vertices cancel.
  vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
  fold = trimesh.Trimesh(vertices, [[0, 1, 2], [0, 2, 1]], process=False)
  points, normals = splats.sample_surface(fold, 1000)
  np.testing.assert_allclose(np.abs(normals), [[0, 0, 1]] * 1000)
  assert (normals[:, 2] > 0).sum() == 500
  assert (points.min(0) >= 0).all() and (points.sum(-1) <= 1).all()
  # The middle of the triangle; a tenth of the deviation of random points.
  np.testing.assert_allclose(points.mean(0), [1 / 3, 1 / 3, 0], atol=0.003)


@pytest.mark.parametrize('num', [0, 1, 999, 2_000_001, 10**9, -5, 1000.5, True])
def test_too_few_and_too_many_are_refused_in_one_line(num):
  expected = (
    rf'num_splats is {num}; expected a whole number from 1000 to 2000000'
  )
  with pytest.raises(errors.UserError, match=expected) as caught:
    make(num)
  assert '\n' not in str(caught.value)


def test_without_a_surface_there_are_no_splats():
  with pytest.raises(ValueError, match='the densest point has'):
    make(radius=-1.0)


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path, monkeypatch):
  (tmp_path / 'old.ply').write_bytes(b'old')
  made = make(1000)

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', full)
  for name in ('new.ply', 'old.ply'):
    with pytest.raises(OSError, match='No space'):
      splats.write(tmp_path / name, made)
  assert [path.name for path in tmp_path.iterdir()] == ['old.ply']
  assert (tmp_path / 'old.ply').read_bytes() == b'old'
