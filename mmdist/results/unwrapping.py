"""A closed mesh spread out over a square texture.

Owns texture coordinates (by xatlas), the points of the texels, and tangents.
What a texel shows is `mmdist.results.baking`'s.

Texture coordinates are glTF's: u to the right, v down, texel (row, column) of
a texture of size T has its middle at ((column + 0.5) / T, (row + 0.5) / T).
"""

import dataclasses

import numpy as np
from scipy import ndimage
import trimesh
import xatlas

# Texels between charts, at the texture's size.
_PADDING = 4
# Texels of the boxes around triangles that are looked at together.
_TEXELS_AT_ONCE = 2**21


@dataclasses.dataclass(frozen=True, eq=False)
class Unwrapped:
  """A mesh whose vertices have places in a texture.

  Vertices on the border of a chart are there once for each chart; merged by
  their positions they are the closed mesh again.

  Attributes:
    vertices: [N, 3] float32 world.
    normals: [N, 3] float32 of unit length, outward.
    tangents: [N, 4] float32; see `make_tangents`.
    uvs: [N, 2] float32 in [0, 1].
    faces: [M, 3] numbers of vertices, counter-clockwise from outside.
  """

  vertices: np.ndarray
  normals: np.ndarray
  tangents: np.ndarray
  uvs: np.ndarray
  faces: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Texels:
  """Texels whose middle is covered by a triangle.

  Attributes:
    rows, columns: [K] places in the texture.
    faces: [K] numbers of faces.
    weights: [K, 3] float32 barycentric weights of the face's corners.
  """

  rows: np.ndarray
  columns: np.ndarray
  faces: np.ndarray
  weights: np.ndarray

  def take(self, part: slice) -> 'Texels':
    """Returns some of them."""
    return Texels(
      self.rows[part], self.columns[part], self.faces[part], self.weights[part]
    )

  def interpolate(self, mesh: Unwrapped, values: np.ndarray) -> np.ndarray:
    """Returns [K, C] of values [N, C] at the vertices."""
    corners = values[mesh.faces[self.faces]]
    return np.einsum('kc,kcd->kd', self.weights, corners)


def unwrap(mesh: trimesh.Trimesh, texture_size: int) -> Unwrapped:
  """Cuts a mesh into charts and packs them into a square.

  Args:
    mesh: closed, in world units, normals outward.
    texture_size: texels of a side, for the room between charts.
  """
  vertices = np.asarray(mesh.vertices, np.float32)
  normals = np.asarray(mesh.vertex_normals, np.float32)
  atlas = xatlas.Atlas()
  atlas.add_mesh(vertices, np.asarray(mesh.faces, np.uint32), normals)
  packing = xatlas.PackOptions()
  packing.resolution = texture_size
  packing.padding = _PADDING
  packing.bilinear = True
  atlas.generate(pack_options=packing)
  original, faces, uvs = atlas[0]
  faces, normals = faces.astype(np.int64), normals[original]
  vertices = vertices[original]
  uvs = uvs.astype(np.float32)
  tangents = make_tangents(vertices, normals, uvs, faces)
  return Unwrapped(vertices, normals, tangents, uvs, faces)


def make_tangents(
  vertices: np.ndarray, normals: np.ndarray, uvs: np.ndarray, faces: np.ndarray
) -> np.ndarray:
  """Returns glTF's tangents [N, 4]: the direction in which u grows, and a sign.

  The bitangent, sign * cross(normal, tangent), points where v shrinks: up in
  the picture, as glTF's normal maps have it (glTF 2.0, section 3.9.3). A
  vertex takes the mean over its faces by their angles, as MikkTSpace does.

  Args:
    vertices: [N, 3].
    normals: [N, 3] of unit length.
    uvs: [N, 2].
    faces: [M, 3]; all faces at one vertex are laid out the same way round.
  """
  corners, places = vertices[faces], uvs[faces].astype(np.float64)
  edge_1, edge_2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
  (u_1, v_1), (u_2, v_2) = ((places[:, i] - places[:, 0]).T for i in (1, 2))
  area = u_1 * v_2 - u_2 * v_1
  # Signed by the layout, without its size: a flat triangle is then no infinity.
  along_u = (edge_1 * v_2[:, None] - edge_2 * v_1[:, None]) * np.sign(area)[
    :, None
  ]
  along_u /= np.maximum(np.linalg.norm(along_u, axis=-1, keepdims=True), 1e-20)
  angles = trimesh.triangles.angles(corners)
  total = np.zeros((len(vertices), 3))
  orientation = np.zeros(len(vertices))
  for k in range(3):
    np.add.at(total, faces[:, k], angles[:, k, None] * along_u)
    np.add.at(orientation, faces[:, k], angles[:, k] * np.sign(area))
  total -= normals * np.sum(total * normals, -1, keepdims=True)
  length = np.linalg.norm(total, axis=-1, keepdims=True)
  # Any direction does where charts have shrunk to nothing.
  total = np.where(length > 1e-6, total, _any_perpendicular(normals))
  tangents = total / np.linalg.norm(total, axis=-1, keepdims=True)
  # v points down: a chart that is not mirrored has its triangles clockwise in
  # (u, v), a negative area, in which -v is cross(normal, tangent).
  sign = np.where(orientation > 0, -1.0, 1.0)
  return np.concatenate([tangents, sign[:, None]], -1).astype(np.float32)


def _any_perpendicular(normals: np.ndarray) -> np.ndarray:
  """Returns [N, 3] perpendicular to normals, not of unit length."""
  axis = np.eye(3)[np.argmin(np.abs(normals), -1)]
  return np.cross(axis, normals)


def covered_texels(mesh: Unwrapped, texture_size: int) -> Texels:
  """Finds the face under the middle of each texel of a square texture."""
  owner = np.full(texture_size**2, -1, np.int32)
  weights = np.zeros((texture_size**2, 3), np.float32)
  corners = mesh.uvs[mesh.faces].astype(np.float64) * texture_size - 0.5
  boxes = np.prod(np.ptp(corners, 1) + 2, -1)
  block = (np.cumsum(boxes) // _TEXELS_AT_ONCE).astype(np.int64)
  begins = np.flatnonzero(np.diff(block, prepend=-1))
  for begin, end in zip(begins, [*begins[1:], len(corners)]):
    index, places, inside = _cover(corners[begin:end], texture_size)
    owner[places] = begin + index
    weights[places] = inside
  found = np.flatnonzero(owner >= 0)
  rows, columns = np.divmod(found, texture_size)
  return Texels(rows, columns, owner[found], weights[found])


def _cover(
  corners: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Rasterises triangles [M, 3, 2]; texels' middles are whole numbers.

  Returns:
    [K] numbers of triangles, [K] numbers of texels row by row, [K, 3] weights.
  """
  low = np.clip(np.ceil(corners.min(1) - 1e-6), 0, size - 1).astype(np.int64)
  high = np.clip(np.floor(corners.max(1) + 1e-6), 0, size - 1).astype(np.int64)
  widths, heights = np.maximum(high - low + 1, 0).T
  counts = widths * heights
  index = np.repeat(np.arange(len(corners)), counts)
  inner = np.arange(counts.sum()) - np.repeat(
    np.cumsum(counts) - counts, counts
  )
  row, column = np.divmod(inner, widths[index])
  points = low[index] + np.stack([column, row], -1)
  a, b, c = np.moveaxis(corners, 1, 0)
  area = _cross(b - a, c - a)
  usable = np.abs(area[index]) > 1e-12
  index, points = index[usable], points[usable]
  toward = points - a[index]
  second = _cross(toward, (c - a)[index]) / area[index]
  third = _cross((b - a)[index], toward) / area[index]
  weights = np.stack([1 - second - third, second, third], -1)
  covered = np.all(weights >= -1e-6, -1)
  points, index = points[covered], index[covered]
  return index, points[:, 1] * size + points[:, 0], weights[covered]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def fill_gaps(texture: np.ndarray, texels: Texels) -> np.ndarray:
  """Copies each covered texel over those that are nearest to it.

  Charts are cut where bilinear filters and small copies of a texture look
  beyond them; without this their borders would show as lines.

  Args:
    texture: [T, T, C].
    texels: which of it are true.
  """
  empty = np.ones(texture.shape[:2], bool)
  empty[texels.rows, texels.columns] = False
  if empty.all():
    return texture
  rows, columns = ndimage.distance_transform_edt(
    empty, return_distances=False, return_indices=True
  )
  return texture[rows, columns]
