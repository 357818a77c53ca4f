"""GLB files: binary glTF 2.0 of one head.

Owns the bytes, the node and the material. Files are in metres with +y up and
the face along +z, as glTF wants it; everywhere else are world units.
"""

from collections.abc import Sequence
import dataclasses
import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from mmdist.cameras import camera as camera_lib
from mmdist.core import strict_json
from mmdist.results import baking

# The head with its hair is 1.36 world units high, and one of an adult some
# 24 cm with it.
METRES_PER_UNIT = 0.175
NODE_NAME = 'head'
UNLIT = 'KHR_materials_unlit'
_FLOAT, _BYTE, _UINT = 5126, 5121, 5125  # glTF 2.0, section 5.1.3.
_VERTICES, _INDICES = 34962, 34963  # Section 5.11.5.
_TYPES = {1: 'SCALAR', 2: 'VEC2', 3: 'VEC3', 4: 'VEC4'}


@dataclasses.dataclass(frozen=True, eq=False)
class Colored:
  """A mesh with colours at its vertices.

  Attributes:
    vertices: [N, 3] world.
    normals: [N, 3] of unit length.
    colors: [N, 3] uint8 of light, not display colours (section 3.7.2.1).
    faces: [M, 3] numbers of vertices.
  """

  vertices: np.ndarray
  normals: np.ndarray
  colors: np.ndarray
  faces: np.ndarray


class _Buffer:
  """Collects the binary part and the tables that point into it."""

  def __init__(self) -> None:
    self.data = bytearray()
    self.views: list[dict[str, Any]] = []
    self.accessors: list[dict[str, Any]] = []

  def add(self, data: bytes, target: int | None = None) -> int:
    """Appends bytes; returns the number of their view."""
    view: dict[str, Any] = {
      'buffer': 0,
      'byteOffset': len(self.data),
      'byteLength': len(data),
    }
    if target:
      view['target'] = target
    self.data += data + bytes(-len(data) % 4)
    self.views.append(view)
    return len(self.views) - 1

  def add_array(self, array: np.ndarray, component: int, target: int) -> int:
    """Appends rows; returns the number of their accessor."""
    accessor: dict[str, Any] = {
      'bufferView': self.add(np.ascontiguousarray(array).tobytes(), target),
      'componentType': component,
      'count': len(array),
      'type': _TYPES[1 if array.ndim == 1 else array.shape[1]],
    }
    if component == _FLOAT:
      accessor['min'] = [float(value) for value in array.min(0)]
      accessor['max'] = [float(value) for value in array.max(0)]
    if component == _BYTE:
      accessor['normalized'] = True
    self.accessors.append(accessor)
    return len(self.accessors) - 1


def to_bytes(
  head: baking.Textured | Colored, camera: camera_lib.Camera | None = None
) -> bytes:
  """Returns a GLB of one named node.

  Args:
    head: in world units.
    camera: one that a page begins with; None leaves it out.
  """
  buffer = _Buffer()
  mesh = head.mesh if isinstance(head, baking.Textured) else head
  vertices = (mesh.vertices * METRES_PER_UNIT).astype(np.float32)
  faces = mesh.faces.reshape(-1).astype(np.uint32)
  attributes = {
    'POSITION': buffer.add_array(vertices, _FLOAT, _VERTICES),
    'NORMAL': buffer.add_array(
      mesh.normals.astype(np.float32), _FLOAT, _VERTICES
    ),
  }
  tree: dict[str, Any] = {
    'asset': {'version': '2.0', 'generator': 'mmdist'},
    'scene': 0,
    'scenes': [{'nodes': [0]}],
    'nodes': [{'name': NODE_NAME, 'mesh': 0}],
  }
  if isinstance(head, baking.Textured):
    unwrapped = head.mesh
    for name, values in (
      ('TANGENT', unwrapped.tangents),
      ('TEXCOORD_0', unwrapped.uvs),
    ):
      attributes[name] = buffer.add_array(values, _FLOAT, _VERTICES)
    tree |= _textures(buffer, [head.colors, head.normals])
    tree |= _baked_material()
  else:
    opaque = np.pad(head.colors, ((0, 0), (0, 1)), constant_values=255)
    attributes['COLOR_0'] = buffer.add_array(opaque, _BYTE, _VERTICES)
    # Without a material, glTF's default is bare metal: nearly black.
    tree['materials'] = [{'pbrMetallicRoughness': _matte(0.9)}]
  tree['meshes'] = [
    {
      'name': NODE_NAME,
      'primitives': [
        {
          'attributes': attributes,
          'indices': buffer.add_array(faces, _UINT, _INDICES),
          'material': 0,
        }
      ],
    }
  ]
  if camera is not None:
    _add_camera(tree, camera)
  tree['accessors'], tree['bufferViews'] = buffer.accessors, buffer.views
  tree['buffers'] = [{'byteLength': len(buffer.data)}]
  return _pack(tree, bytes(buffer.data))


def _matte(roughness: float) -> dict[str, Any]:
  return {'metallicFactor': 0.0, 'roughnessFactor': roughness}


def _baked_material() -> dict[str, Any]:
  """Returns the material of textures that hold light already.

  A render's colours are not albedo: lit again, they would be too dark on one
  side and too bright on the other. A viewer that does not know the extension
  has a matte surface with the same texture.
  """
  material = {
    'name': NODE_NAME,
    'pbrMetallicRoughness': _matte(1.0) | {'baseColorTexture': {'index': 0}},
    'normalTexture': {'index': 1},
    'extensions': {UNLIT: {}},
  }
  return {'materials': [material], 'extensionsUsed': [UNLIT]}


def _textures(
  buffer: _Buffer, pictures: Sequence[np.ndarray]
) -> dict[str, Any]:
  names = ('color', 'normal')
  images = []
  for name, picture in zip(names, pictures, strict=True):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, 'PNG')
    images.append(
      {
        'name': name,
        'mimeType': 'image/png',
        'bufferView': buffer.add(stream.getvalue()),
      }
    )
  # Linear, between smaller copies too; charts do not go on beyond the border.
  sampler = {'magFilter': 9729, 'minFilter': 9987, 'wrapS': 33071}
  return {
    'images': images,
    'samplers': [sampler | {'wrapT': 33071}],
    'textures': [{'source': i, 'sampler': 0} for i in range(len(images))],
  }


def _add_camera(tree: dict[str, Any], camera: camera_lib.Camera) -> None:
  pose = np.array(camera.camera_to_world, np.float64)
  pose[:, 3] *= METRES_PER_UNIT
  matrix = np.vstack([pose, [0, 0, 0, 1]])
  tree['cameras'] = [
    {
      'type': 'perspective',
      'perspective': {
        'aspectRatio': 1.0,
        'yfov': 2 * float(np.arctan(camera.tan_half_fov)),
        'znear': 0.01,
        'zfar': 100.0,
      },
    }
  ]
  # Column by column.
  tree['nodes'].append({'camera': 0, 'matrix': matrix.T.reshape(-1).tolist()})
  tree['scenes'][0]['nodes'].append(1)


def _pack(tree: dict[str, Any], data: bytes) -> bytes:
  """Joins the two chunks (section 4.4)."""
  text = strict_json.dumps(tree).encode()
  text += b' ' * (-len(text) % 4)
  data += bytes(-len(data) % 4)
  length = 12 + 8 + len(text) + 8 + len(data)
  return b''.join(
    [
      struct.pack('<4sII', b'glTF', 2, length),
      struct.pack('<I4s', len(text), b'JSON'),
      text,
      struct.pack('<I4s', len(data), b'BIN\0'),
      data,
    ]
  )
