import base64
import re

import numpy as np
import pytest
import trimesh

from mmdist.results import mesh_viewer
from mmdist.results import triangle_mesh
from tests.results import sphere_field


def viewed(**changes):
  sphere = trimesh.creation.icosphere(subdivisions=2, radius=0.7)
  parts = {
    'vertices': np.asarray(sphere.vertices) + [0.1, 0.2, 0.3],
    'normals': np.asarray(sphere.vertex_normals),
    'colors': np.random.default_rng(0).random((len(sphere.vertices), 3)),
    'faces': np.asarray(sphere.faces),
  }
  return mesh_viewer.ViewedMesh(**parts | changes)


def test_a_mesh_reads_back_as_the_script_reads_it():
  mesh = viewed()
  page = mesh_viewer.figure(mesh)
  fields = dict(re.findall(r'data-(\w+)="([^"]*)"', page))
  data = base64.b64decode(fields['mesh'])
  count = int(fields['vertices'])
  rows = np.frombuffer(data[: 12 * count], np.uint8).reshape(count, 12)
  low, high = (np.array(fields[k].split(), float) for k in ('low', 'high'))
  share = rows[:, :6].copy().view('<u2') / 65535
  # A box of 1.4 in 65,535 steps, and six digits of its corners.
  np.testing.assert_allclose(
    low + share * (high - low), mesh.vertices, atol=2e-5
  )
  np.testing.assert_allclose(
    rows[:, 6:9].copy().view(np.int8) / 127, mesh.normals, atol=0.5 / 127 + 1e-6
  )
  np.testing.assert_allclose(rows[:, 9:] / 255, mesh.colors, atol=0.51 / 255)
  faces = np.frombuffer(data[12 * count :], '<u2').reshape(-1, 3)
  np.testing.assert_array_equal(faces, mesh.faces)


def test_a_flat_mesh_has_a_box_too():
  mesh = viewed(vertices=np.zeros((162, 3)))
  assert np.isfinite(np.frombuffer(mesh_viewer.pack(mesh), np.uint8)).all()


def test_more_vertices_than_indices_reach_are_refused():
  with pytest.raises(ValueError, match='70000 vertices; a page shows at most'):
    viewed(vertices=np.zeros((70_000, 3)))


def test_the_mesh_of_a_page_is_coarse_and_has_display_colours(monkeypatch):
  monkeypatch.setattr(triangle_mesh, 'VIEWED_FACES', 500)
  field, params = sphere_field.representation(), sphere_field.params_of(0.7)
  fine = trimesh.creation.icosphere(subdivisions=4, radius=0.7)
  mesh = triangle_mesh.make_viewed(field, params, fine)
  assert len(mesh.faces) <= 500
  is_red = mesh.vertices[:, 0] > 0.1
  np.testing.assert_allclose(
    mesh.colors[is_red] - np.array(sphere_field.RED), 0, atol=0.01
  )
  outward = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1)[:, None]
  assert np.sum(mesh.normals * outward, 1).min() > 0.9
