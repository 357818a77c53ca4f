import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from mmdist.results import baking
from mmdist.results import unwrapping
from tests.results import sphere_field

SIZE = 128
RADIUS = 0.7
AXIS = np.array([0.2, 0.9, -0.4])


def color_of(points):
  """A colour for each place."""
  return 0.5 + points * jnp.array([0.6, 0.5, -0.4])


def normal_of(outward):
  """The ball's normals, leaning toward one side."""
  leaning = outward + 0.4 * jnp.array(AXIS)
  return leaning / jnp.linalg.norm(leaning, axis=-1, keepdims=True)


@pytest.fixture(scope='module')
def baked():
  mesh = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
  return baking.bake(
    sphere_field.representation(color_of, normal_of),
    sphere_field.params_of(RADIUS),
    mesh,
    SIZE,
  )


@pytest.fixture(scope='module')
def texels(baked):
  return unwrapping.covered_texels(baked.mesh, SIZE)


def test_texels_have_the_colour_of_their_place(baked, texels):
  points = texels.interpolate(baked.mesh, baked.mesh.vertices)
  shown = baked.colors[texels.rows, texels.columns] / 255
  # Half a byte, and a soft surface that is seen 0.01 deep: 0.006 of a colour.
  np.testing.assert_allclose(shown, color_of(points), atol=0.012)


def test_a_viewer_sees_the_fields_normals(baked, texels):
  # As glTF has it: the texture's x, y, z along tangent, bitangent and normal.
  mesh = baked.mesh
  normals = texels.interpolate(mesh, mesh.normals)
  tangents = texels.interpolate(mesh, mesh.tangents)
  bitangents = tangents[:, 3:] * np.cross(normals, tangents[:, :3])
  x, y, z = (baked.normals[texels.rows, texels.columns] / 127.5 - 1).T
  world = (
    x[:, None] * tangents[:, :3]
    + y[:, None] * bitangents
    + z[:, None] * normals
  )
  world /= np.linalg.norm(world, axis=-1, keepdims=True)
  outward = texels.interpolate(mesh, mesh.vertices)
  outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
  cosines = np.sum(world * np.asarray(normal_of(outward)), -1)
  # Bytes are half a degree apart; interpolated frames are not quite unit.
  assert np.degrees(np.arccos(np.quantile(cosines, 0.01))) < 3
  # The mesh's own are 20 degrees off.
  assert np.sum(outward * np.asarray(normal_of(outward)), -1).mean() < 0.96


def test_without_a_surface_texels_take_what_corners_see(baked, texels):
  # No ray stops enough, so colours come from the corners and are still right.
  mesh = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS + 0.075)
  far = baking.bake(
    sphere_field.representation(color_of, normal_of),
    sphere_field.params_of(RADIUS),
    mesh,
    SIZE,
  )
  places = unwrapping.covered_texels(far.mesh, SIZE)
  points = places.interpolate(far.mesh, far.mesh.vertices)
  points *= RADIUS / (RADIUS + 0.075)
  shown = far.colors[places.rows, places.columns] / 255
  np.testing.assert_allclose(shown, color_of(points), atol=0.03)
  assert np.all(far.normals == [128, 128, 255])
