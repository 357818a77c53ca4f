import numpy as np
import pytest
import trimesh

from mmdist.results import unwrapping

SIZE = 128


@pytest.fixture(scope='module')
def ball():
  mesh = trimesh.creation.icosphere(subdivisions=3)
  return unwrapping.unwrap(mesh, SIZE)


@pytest.fixture(scope='module')
def texels(ball):
  return unwrapping.covered_texels(ball, SIZE)


def test_every_face_is_there_with_its_normal(ball):
  mesh = trimesh.Trimesh(ball.vertices, ball.faces, process=False)
  mesh.merge_vertices()
  assert mesh.is_watertight and len(mesh.faces) == 1280
  np.testing.assert_allclose(ball.normals, ball.vertices, atol=0.01)


def test_charts_lie_in_the_texture_and_do_not_overlap(ball, texels):
  assert 0 <= ball.uvs.min() and ball.uvs.max() <= 1
  corners = ball.uvs[ball.faces].astype(float)
  edges = corners[:, 1:] - corners[:, :1]
  areas = np.abs(np.linalg.det(edges)) / 2
  # The areas of all triangles sum to what they cover together: the texels are
  # that, but for those at borders.
  assert len(texels.rows) / SIZE**2 == pytest.approx(areas.sum(), rel=0.02)
  assert areas.sum() > 0.4


def test_a_texel_knows_its_place_on_the_surface(ball, texels):
  middles = np.stack([texels.columns + 0.5, texels.rows + 0.5], -1) / SIZE
  np.testing.assert_allclose(
    texels.interpolate(ball, ball.uvs), middles, atol=1e-5
  )
  np.testing.assert_allclose(texels.weights.sum(-1), 1, atol=1e-5)
  distance = np.linalg.norm(texels.interpolate(ball, ball.vertices), axis=-1)
  # A triangle's middle is some 0.5 % inside of the ball.
  np.testing.assert_allclose(distance, 1, atol=0.01)


def test_texels_of_a_triangle_are_those_of_a_slow_loop():
  corners = np.array([[[1.2, 0.3], [9.7, 4.1], [3.3, 8.8]]])
  _, places, weights = unwrapping._cover(corners, 12)
  expected = {}
  for row in range(12):
    for column in range(12):
      matrix = np.vstack([corners[0].T, np.ones(3)])
      one = np.linalg.solve(matrix, [column, row, 1])
      if np.all(one >= 0):
        expected[row * 12 + column] = one
  assert set(places) == set(expected) and len(places) > 20
  for place, one in zip(places, weights):
    np.testing.assert_allclose(one, expected[place], atol=1e-9)


def test_tangents_are_perpendicular_units_with_a_sign(ball):
  tangents, signs = ball.tangents[:, :3], ball.tangents[:, 3]
  np.testing.assert_allclose(np.linalg.norm(tangents, axis=-1), 1, atol=1e-5)
  np.testing.assert_allclose(np.sum(tangents * ball.normals, -1), 0, atol=1e-5)
  assert set(np.abs(signs)) == {1}


def test_tangents_follow_u_and_bitangents_go_up_in_the_picture(ball):
  corners, uvs = ball.vertices[ball.faces], ball.uvs[ball.faces].astype(float)
  edges = np.swapaxes(corners[:, 1:] - corners[:, :1], 1, 2)
  steps = np.swapaxes(uvs[:, 1:] - uvs[:, :1], 1, 2)
  along_u, along_v = np.moveaxis(edges @ np.linalg.inv(steps), -1, 0)
  bitangents = ball.tangents[:, 3:] * np.cross(
    ball.normals, ball.tangents[:, :3]
  )
  for vectors, expected in (
    (ball.tangents[:, :3], along_u),
    (bitangents, -along_v),  # v points down.
  ):
    expected = expected / np.linalg.norm(expected, axis=-1, keepdims=True)
    cosines = np.sum(vectors[ball.faces].mean(1) * expected, -1)
    assert np.quantile(cosines, 0.02) > 0.9


def test_a_mirrored_layout_turns_the_sign():
  vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
  normals = np.tile([0.0, 0, 1], (3, 1))
  faces = np.array([[0, 1, 2]])
  # Seen from outside, as the picture is: u to the right, v down.
  uvs = np.array([[0.0, 1], [1, 1], [0, 0]])
  upright = unwrapping.make_tangents(vertices, normals, uvs, faces)
  np.testing.assert_allclose(upright, [[1, 0, 0, 1]] * 3, atol=1e-6)
  mirrored = unwrapping.make_tangents(
    vertices, normals, uvs * [-1, 1] + [1, 0], faces
  )
  np.testing.assert_allclose(mirrored, [[-1, 0, 0, -1]] * 3, atol=1e-6)


def test_a_chart_without_an_area_has_tangents_all_the_same():
  vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
  normals = np.tile([0.0, 0, 1], (3, 1))
  tangents = unwrapping.make_tangents(
    vertices, normals, np.zeros((3, 2)), np.array([[0, 1, 2]])
  )
  np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=-1), 1)
  np.testing.assert_allclose(tangents[:, 2], 0, atol=1e-6)


def test_gaps_are_filled_by_the_nearest_texel():
  texture = np.zeros((4, 5, 1), np.uint8)
  texture[1, 1], texture[2, 4] = 10, 20
  texels = unwrapping.Texels(
    np.array([1, 2]), np.array([1, 4]), np.zeros(2, int), np.zeros((2, 3))
  )
  filled = unwrapping.fill_gaps(texture, texels)[..., 0]
  assert filled[0, 0] == filled[3, 0] == filled[1, 2] == 10
  assert filled[3, 4] == filled[0, 4] == 20
