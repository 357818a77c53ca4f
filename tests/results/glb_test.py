import io
import json
import struct

import numpy as np
from PIL import Image
import pytest
import trimesh

from mmdist.results import baking
from mmdist.results import glb
from mmdist.results import unwrapping


def colored():
  ball = trimesh.creation.icosphere(subdivisions=2, radius=0.7)
  rng = np.random.default_rng(0)
  return glb.Colored(
    np.asarray(ball.vertices),
    np.asarray(ball.vertex_normals),
    rng.integers(0, 256, (len(ball.vertices), 3), dtype=np.uint8),
    np.asarray(ball.faces),
  )


def textured():
  ball = trimesh.creation.icosphere(subdivisions=2, radius=0.7)
  rng = np.random.default_rng(0)
  pictures = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
  return baking.Textured(unwrapping.unwrap(ball, 64), *pictures)


def parse(data):
  """Returns the JSON and the binary part by glTF 2.0, section 4.4."""
  magic, version, length, size, kind = struct.unpack('<4sIII4s', data[:20])
  assert (magic, version, length, kind) == (b'glTF', 2, len(data), b'JSON')
  tree = json.loads(data[20 : 20 + size])
  length, kind = struct.unpack('<I4s', data[20 + size : 28 + size])
  binary = data[28 + size :]
  assert kind == b'BIN\0' and len(binary) == length
  assert length == tree['buffers'][0]['byteLength']
  return tree, binary


def view_of(tree, binary, number):
  view = tree['bufferViews'][number]
  assert view['byteOffset'] % 4 == 0
  return binary[view['byteOffset'] :][: view['byteLength']]


def array_of(tree, binary, number):
  accessor = tree['accessors'][number]
  kind = {5126: '<f4', 5121: 'u1', 5125: '<u4'}[accessor['componentType']]
  width = {'SCALAR': 1, 'VEC2': 2, 'VEC3': 3, 'VEC4': 4}[accessor['type']]
  rows = np.frombuffer(view_of(tree, binary, accessor['bufferView']), kind)
  rows = rows.reshape(-1, width)
  assert len(rows) == accessor['count']
  if 'min' in accessor:
    np.testing.assert_array_equal(rows.min(0), np.float32(accessor['min']))
    np.testing.assert_array_equal(rows.max(0), np.float32(accessor['max']))
  return rows


@pytest.mark.parametrize('make', [colored, textured])
def test_a_file_is_one_named_node_in_metres(make):
  head = make()
  tree, binary = parse(glb.to_bytes(head))
  assert [node['name'] for node in tree['nodes']] == ['head']
  assert tree['meshes'][0]['name'] == 'head'
  (primitive,) = tree['meshes'][0]['primitives']
  positions = array_of(tree, binary, primitive['attributes']['POSITION'])
  mesh = head.mesh if make is textured else head
  np.testing.assert_allclose(
    positions, mesh.vertices * glb.METRES_PER_UNIT, rtol=1e-6, atol=1e-7
  )
  faces = array_of(tree, binary, primitive['indices']).reshape(-1, 3)
  np.testing.assert_array_equal(faces, mesh.faces)
  # A head of 1.36 units, with its hair, is as high as an adult's.
  assert 0.22 < 1.36 * glb.METRES_PER_UNIT < 0.26


def test_all_that_textures_need_is_inside():
  head = textured()
  tree, binary = parse(glb.to_bytes(head))
  attributes = tree['meshes'][0]['primitives'][0]['attributes']
  for name, expected in (
    ('NORMAL', head.mesh.normals),
    ('TANGENT', head.mesh.tangents),
    ('TEXCOORD_0', head.mesh.uvs),
  ):
    shown = array_of(tree, binary, attributes[name])
    np.testing.assert_array_equal(shown, expected)
  for image, expected in zip(tree['images'], (head.colors, head.normals)):
    assert image['mimeType'] == 'image/png'
    png = view_of(tree, binary, image['bufferView'])
    np.testing.assert_array_equal(Image.open(io.BytesIO(png)), expected)


def test_baked_light_is_not_lit_again():
  tree, _ = parse(glb.to_bytes(textured()))
  (material,) = tree['materials']
  assert tree['extensionsUsed'] == list(material['extensions'])
  assert tree['extensionsUsed'] == ['KHR_materials_unlit']
  # A reader that does not know it shows a matte surface.
  assert 'extensionsRequired' not in tree
  fallback = material['pbrMetallicRoughness']
  assert (fallback['metallicFactor'], fallback['roughnessFactor']) == (0, 1)
  assert tree['textures'][fallback['baseColorTexture']['index']]['source'] == 0
  assert tree['textures'][material['normalTexture']['index']]['source'] == 1


def test_a_file_with_colours_has_no_metal():
  head = colored()
  tree, binary = parse(glb.to_bytes(head))
  primitive = tree['meshes'][0]['primitives'][0]
  colors = array_of(tree, binary, primitive['attributes']['COLOR_0'])
  np.testing.assert_array_equal(colors[:, :3], head.colors)
  assert np.all(colors[:, 3] == 255)
  material = tree['materials'][primitive['material']]
  assert material['pbrMetallicRoughness']['metallicFactor'] == 0


@pytest.mark.parametrize('make', [colored, textured])
def test_another_library_reads_the_same_closed_mesh(make):
  head = make()
  data = io.BytesIO(glb.to_bytes(head))
  scene = trimesh.load_scene(data, file_type='glb')
  assert list(scene.geometry) == ['head']
  (mesh,) = scene.geometry.values()
  if make is textured:
    material = mesh.visual.material
    np.testing.assert_array_equal(material.baseColorTexture, head.colors)
    np.testing.assert_array_equal(material.normalTexture, head.normals)
  mesh.merge_vertices(merge_tex=True, merge_norm=True)
  assert mesh.is_watertight and mesh.volume > 0
