import numpy as np
import pytest

from mmdist.cameras import camera as camera_lib
from mmdist.core import errors
from mmdist.results import glb
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
def made():
  params = sphere_field.params_of(RADIUS)
  field = sphere_field.representation()
  return triangle_mesh.make_mesh(field, params, resolution=48, max_faces=4000)


@pytest.fixture(scope='module')
def ball(made):
  return made.surface


def test_a_ball_gives_a_closed_mesh(ball):
  assert ball.is_watertight
  assert ball.is_winding_consistent


def test_a_ball_has_the_volume_of_a_ball(ball):
  # The surface is where the soft edge, 0.01 wide, has a quarter of the peak
  # density: 0.012 outside the radius. Voxels are 0.06 wide, and a fifth of
  # one is 5 % of the volume.
  expected = 4 / 3 * np.pi * (RADIUS + 0.012) ** 3
  np.testing.assert_allclose(ball.volume, expected, rtol=0.02)


def test_normals_point_outward(ball):
  outward = ball.vertices / np.linalg.norm(
    ball.vertices, axis=-1, keepdims=True
  )
  cosine = np.sum(ball.vertex_normals * outward, -1)
  assert cosine.min() > 0.8  # Small triangles of the decimated mesh tilt.
  assert cosine.mean() > 0.99


def test_decimation_leaves_about_the_faces_asked_for(ball):
  assert 3000 < len(ball.faces) <= 4000


def test_vertices_have_the_colour_of_the_field_as_light(ball, made):
  colors = made.shown.colors / 255
  x = ball.vertices[:, 0]
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


@pytest.mark.parametrize('size', [1, 63, 8193, 100_000, -1])
def test_a_texture_of_another_size_is_one_line(size):
  line = rf'^texture_size is {size}; expected 64 to 8192 texels a side, or 0'
  with pytest.raises(errors.UserError, match=line):
    triangle_mesh.make_mesh(
      sphere_field.representation(), sphere_field.params_of(), 24, size
    )


def test_a_texture_that_memory_has_no_room_for_is_one_line(monkeypatch):
  monkeypatch.setattr(
    triangle_mesh.memory_estimate, 'available_memory', lambda: 10**9
  )
  line = r'^a texture of 8192 texels a side needs 4.3 GB .* 1.0 GB are free'
  with pytest.raises(triangle_mesh.NoMeshError, match=line):
    triangle_mesh.make_mesh(
      sphere_field.representation(), sphere_field.params_of(), 24, 8192
    )


def test_a_textured_mesh_has_at_most_20000_faces():
  field, params = sphere_field.representation(), sphere_field.params_of(1.2)
  # One of this size has some 60,000 faces before it is decimated.
  made = triangle_mesh.make_mesh(field, params, 96, texture_size=64)
  assert 15_000 < len(made.surface.faces) <= 20_000
  assert len(made.shown.mesh.faces) == len(made.surface.faces)
  assert made.surface.is_watertight


def test_zero_texels_are_colours_at_the_vertices(made):
  assert isinstance(made.shown, glb.Colored)
  assert len(made.shown.vertices) == len(made.surface.vertices)
