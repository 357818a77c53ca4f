import json
import struct

import numpy as np
import pytest
import trimesh

from mmdist.cameras import camera as camera_lib
from mmdist.results import triangle_mesh
from tests.results import sphere_field

RADIUS = 0.7
# Half of it is the surface's density, so a linear edge has it in its middle.
SOLID = 2 * np.log(2) / triangle_mesh.SKIN_THICKNESS


def ball_grid(resolution, *balls):
  """Density of (center, radius, density) balls, the last one wins."""
  radius = camera_lib.SCENE_RADIUS
  ticks = np.linspace(-radius, radius, resolution)
  points = np.stack(np.meshgrid(ticks, ticks, ticks, indexing='ij'), -1)
  grid = np.zeros((resolution,) * 3, np.float32)
  for center, size, density in balls:
    distance = np.linalg.norm(points - np.array(center), axis=-1)
    # A ramp one voxel wide puts the surface at the ball's radius.
    share = np.clip(0.5 + (size - distance) / (ticks[1] - ticks[0]), 0, 1)
    grid = grid * (1 - share) + density * share
  return grid.astype(np.float32)


@pytest.fixture(scope='module')
def ball_mesh():
  params = sphere_field.params_of(RADIUS)
  field = sphere_field.representation()
  return triangle_mesh.make_mesh(field, params, resolution=48, max_faces=4000)


def test_a_ball_gives_a_closed_mesh(ball_mesh):
  assert ball_mesh.is_watertight
  assert ball_mesh.is_winding_consistent


def test_a_ball_has_the_volume_of_a_ball(ball_mesh):
  # The surface is where the soft edge, 0.01 wide, has a quarter of the peak
  # density: 0.012 outside the radius. Voxels are 0.06 wide, and a fifth of
  # one is 5 % of the volume.
  expected = 4 / 3 * np.pi * (RADIUS + 0.012) ** 3
  np.testing.assert_allclose(ball_mesh.volume, expected, rtol=0.02)


def test_normals_point_outward(ball_mesh):
  outward = ball_mesh.vertices / np.linalg.norm(
    ball_mesh.vertices, axis=-1, keepdims=True
  )
  cosine = np.sum(ball_mesh.vertex_normals * outward, -1)
  assert cosine.min() > 0.8  # Small triangles of the decimated mesh tilt.
  assert cosine.mean() > 0.99


def test_decimation_leaves_about_the_faces_asked_for(ball_mesh):
  assert 3000 < len(ball_mesh.faces) <= 4000


def test_a_mesh_below_the_limit_is_left_alone():
  cube = trimesh.creation.box()
  assert triangle_mesh.decimate(cube, 12) is cube


def test_vertices_have_the_colour_of_the_field_as_light(ball_mesh):
  colors = ball_mesh.visual.vertex_colors[:, :3] / 255
  x = ball_mesh.vertices[:, 0]
  red = triangle_mesh.srgb_to_linear(np.array(sphere_field.RED))
  blue = triangle_mesh.srgb_to_linear(np.array(sphere_field.BLUE))
  # Half a byte of rounding, and vertices well away from the seam.
  np.testing.assert_allclose(colors[x > 0.1] - red, 0, atol=0.003)
  np.testing.assert_allclose(colors[x < -0.1] - blue, 0, atol=0.003)


def test_an_off_centre_ball_stays_where_it_is():
  center = (0.3, -0.2, 0.1)
  params = sphere_field.params_of(0.4, center)
  grid = triangle_mesh.density_grid(sphere_field.representation(), params, 40)
  surface = triangle_mesh.extract_surface(grid)
  # A tenth of a voxel.
  np.testing.assert_allclose(surface.center_mass, center, atol=0.007)


def test_a_field_that_fills_the_scene_is_closed_at_its_bounds():
  params = sphere_field.params_of(10.0)
  grid = triangle_mesh.density_grid(sphere_field.representation(), params, 24)
  surface = triangle_mesh.extract_surface(grid)
  assert surface.is_watertight
  assert surface.extents.max() < 2 * camera_lib.SCENE_RADIUS


def test_floaters_are_dropped_and_horns_are_kept():
  head = ((0, 0, 0), 0.6, SOLID)
  floater = ((1.0, 0.0, 0.0), 0.06, SOLID)
  horn = ((0.0, 0.95, 0.0), 0.2, SOLID)
  surface = triangle_mesh.extract_surface(ball_grid(64, head, floater, horn))
  assert len(surface.split()) == 2
  assert surface.bounds[1][1] > 1.1
  assert surface.bounds[1][0] < 0.7


def test_a_cavity_that_nobody_sees_is_filled():
  shell = ball_grid(64, ((0, 0, 0), 0.7, SOLID), ((0, 0, 0), 0.3, 0.0))
  surface = triangle_mesh.extract_surface(shell)
  assert len(surface.split()) == 1
  # A twentieth of a voxel.
  np.testing.assert_allclose(surface.volume, 4 / 3 * np.pi * 0.7**3, rtol=0.02)


def test_fog_without_a_surface_is_refused_with_its_density():
  fog = ball_grid(32, ((0, 0, 0), 0.7, 2.0))
  with pytest.raises(
    triangle_mesh.NoSurfaceError, match='2 per world unit .* 13.9'
  ):
    triangle_mesh.extract_surface(fog)


def test_a_tiny_resolution_is_refused():
  with pytest.raises(ValueError, match='resolution is 4; expected at least 8'):
    triangle_mesh.density_grid(
      sphere_field.representation(), sphere_field.params_of(), 4
    )


def test_light_of_display_colours():
  colors = triangle_mesh.srgb_to_linear(np.array([0.0, 0.04045, 0.5, 1.0]))
  # The two branches meet; mid-grey is 21.4 % of white's light.
  np.testing.assert_allclose(
    colors, [0, 0.0031308, 0.2140411, 1], rtol=1e-5, atol=1e-9
  )


def read_gltf(path):
  """Returns the JSON of a GLB by its specification, section 4.4."""
  data = path.read_bytes()
  magic, version, _, length, kind = struct.unpack('<4sIII4s', data[:20])
  assert (magic, version, kind) == (b'glTF', 2, b'JSON')
  return json.loads(data[20 : 20 + length])


def test_a_glb_has_colours_normals_and_no_metal(ball_mesh, tmp_path):
  triangle_mesh.write_glb(tmp_path / 'mesh.glb', ball_mesh)
  tree = read_gltf(tmp_path / 'mesh.glb')
  primitive = tree['meshes'][0]['primitives'][0]
  assert {'POSITION', 'NORMAL', 'COLOR_0'} <= set(primitive['attributes'])
  material = tree['materials'][primitive['material']]
  assert material['pbrMetallicRoughness']['metallicFactor'] == 0


def test_a_glb_reads_back_as_the_same_closed_mesh(ball_mesh, tmp_path):
  triangle_mesh.write_glb(tmp_path / 'mesh.glb', ball_mesh)
  # trimesh reads vertex colours as such only where there is no material.
  scene = trimesh.load_scene(tmp_path / 'mesh.glb', skip_materials=True)
  (read,) = scene.geometry.values()
  assert read.is_watertight
  np.testing.assert_allclose(read.volume, ball_mesh.volume, rtol=1e-5)
  np.testing.assert_array_equal(
    read.visual.vertex_colors, ball_mesh.visual.vertex_colors
  )
