import numpy as np
import pytest
from scipy import ndimage
import trimesh

from mmdist.results import closed_mesh
from mmdist.results import triangle_mesh


def num_open_edges(mesh):
  """Counts the edges that have another number of faces than two."""
  edges = np.sort(mesh.edges, 1)
  _, counts = np.unique(edges, axis=0, return_counts=True)
  return np.sum(counts != 2)


def sponge(seed, resolution=40):
  """A surface full of handles, as thin as a voxel."""
  rng = np.random.default_rng(seed)
  noise = ndimage.gaussian_filter(rng.standard_normal((resolution,) * 3), 1.2)
  density = np.zeros((resolution,) * 3, np.float32)
  inner = (slice(2, -2),) * 3
  density[inner] = np.where(noise[inner] > 0, 40, 0)
  return triangle_mesh.extract_surface(density)


def _in_turn(faces):
  """The faces around vertex 0, each beside the one before."""
  faces = [np.roll(face, -list(face).index(0)) for face in faces]
  turn = [faces.pop(0)]
  while faces:
    k = next(i for i, face in enumerate(faces) if face[1] == turn[-1][2])
    turn.append(faces.pop(k))
  return turn


def joined(*boxes):
  """Boxes of (low, high) corners, whose equal vertices are one."""
  mesh = trimesh.util.concatenate(
    [trimesh.creation.box(bounds=bounds) for bounds in boxes]
  )
  mesh.merge_vertices()
  return mesh


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('max_faces', [12_000, 4000, 1500])
def test_a_surface_full_of_handles_stays_closed(seed, max_faces):
  surface = sponge(seed)
  assert closed_mesh.is_closed(surface)
  simpler = closed_mesh.decimate(surface, max_faces)
  assert num_open_edges(simpler) == 0
  assert simpler.is_watertight and simpler.is_winding_consistent
  assert 0.7 * max_faces < len(simpler.faces) <= max_faces
  assert simpler.volume > 0.8 * surface.volume


def test_the_example_needs_repair():
  import fast_simplification

  surface = sponge(0)
  vertices, faces = fast_simplification.simplify(
    np.asarray(surface.vertices, np.float32), surface.faces, target_count=4000
  )
  assert not closed_mesh.is_closed(trimesh.Trimesh(vertices, faces))


def test_what_is_merged_by_position_stays_closed():
  simpler = closed_mesh.decimate(sponge(1), 4000)
  again = trimesh.Trimesh(simpler.vertices, simpler.faces, process=False)
  again.merge_vertices(digits_vertex=5)
  assert num_open_edges(again) == 0


@pytest.mark.parametrize(
  'second', [((1, 1, 0), (2, 2, 1)), ((1, 1, 1), (2, 2, 2))]
)
def test_boxes_that_touch_are_parted_inwards(second):
  touching = joined(((0, 0, 0), (1, 1, 1)), second)
  parted = closed_mesh.part_sheets(touching)
  assert closed_mesh.is_closed(parted)
  one, two = parted.split()
  # Each keeps its own side, and loses a sliver of at most 2 mm.
  assert 1.98 < parted.volume < 2
  assert one.bounds[1][0] <= two.bounds[0][0] + 0.01


def test_an_edge_without_a_length_is_taken_out(monkeypatch):
  ball = trimesh.creation.icosphere(2)
  # The first vertex becomes two of one place: the faces on one side of a cut
  # through it have the second, and two faces of no area lie between.
  turn = _in_turn([face for face in ball.faces if 0 in face])
  new = len(ball.vertices)
  faces = [list(face) for face in ball.faces if 0 not in face]
  faces += [[new, *face[1:]] for face in turn[:3]]
  faces += [list(face) for face in turn[3:]]
  faces += [[0, turn[0][1], new], [new, turn[2][2], 0]]
  vertices = np.concatenate([ball.vertices, ball.vertices[:1]])
  split = trimesh.Trimesh(vertices, faces, process=False)
  assert closed_mesh.is_closed(split)
  monkeypatch.setattr(
    closed_mesh.fast_simplification,
    'simplify',
    lambda *_, **__: (vertices, np.array(faces)),
  )
  whole = closed_mesh.decimate(split, len(faces) - 2)
  assert closed_mesh.is_closed(whole)
  assert (len(whole.vertices), len(whole.faces)) == (new, len(ball.faces))


def test_a_closed_mesh_is_left_alone():
  cube = trimesh.creation.box()
  assert closed_mesh.decimate(cube, 12) is cube
  assert closed_mesh.part_sheets(cube) is cube


def test_a_mesh_with_a_hole_cannot_be_closed():
  bowl = trimesh.creation.icosphere(subdivisions=3)
  bowl.update_faces(bowl.triangles_center[:, 1] < 0)
  assert closed_mesh.part_sheets(bowl) is None
  with pytest.raises(
    closed_mesh.NotClosedError, match='faces cannot have at most 900 and be'
  ):
    closed_mesh.decimate(bowl, 900)
