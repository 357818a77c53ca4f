"""Fewer triangles, and a surface that stays closed.

Owns decimation. A head has tiny handles, between hairs and under a brim, which
`fast_simplification` collapses into edges that four triangles share. Such an
edge is where two sheets touch; here they are parted again, so that every edge
has two triangles and every vertex one fan of them.
"""

import fast_simplification
import numpy as np
from scipy import sparse
import trimesh

from mmdist.core import errors
from mmdist.core import vectors

# How far parted vertices move into their own solid, in world units: more than
# programs merge by distance (0.1 mm) at a head's size, less than anybody sees.
_GAP = 2e-3
# Shares of the faces asked for that are tried. Another number of triangles
# collapses other handles.
_SHARES = (1.0, 0.97, 0.94, 0.9, 0.85, 0.8)
# Rounds of cutting edges; a face is cut once in each.
_MAX_ROUNDS = 8
# Pieces smaller than this share of the largest one's area are floaters; horns
# and glasses are larger.
_SMALLEST_SHARE = 0.02


class NotClosedError(errors.UserError):
  """A mesh has edges that nothing closes."""


def is_closed(mesh: trimesh.Trimesh) -> bool:
  """Returns whether every edge has two faces, which agree in direction."""
  return bool(
    len(mesh.faces) and mesh.is_watertight and mesh.is_winding_consistent
  )


def decimate(mesh: trimesh.Trimesh, max_faces: int) -> trimesh.Trimesh:
  """Merges edges until at most `max_faces` triangles are left.

  Args:
    mesh: closed, normals outward.
    max_faces: at least 100, or the mesh may collapse to nothing.

  Returns:
    A closed mesh with normals outward; the same object if it was one already.

  Raises:
    NotClosedError: no number of triangles that was tried left the mesh closed.
  """
  if len(mesh.faces) <= max_faces:
    closed = part_sheets(mesh)
    if closed is not None:
      return closed
  for share in _SHARES:
    vertices, faces = fast_simplification.simplify(
      np.asarray(mesh.vertices, np.float32),
      np.asarray(mesh.faces, np.int32),
      target_count=int(share * min(max_faces, len(mesh.faces))),
    )
    simpler = part_sheets(merge_vertices(vertices, faces))
    if simpler is not None and len(simpler.faces) <= max_faces:
      return keep_largest(simpler)
  raise NotClosedError(
    f'a mesh of {len(mesh.faces)} faces cannot have at most {max_faces} and be '
    'closed; choose another results.mesh_resolution.'
  )


def merge_vertices(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
  """Makes vertices of one place one vertex; faces that collapse are left out.

  A face that has one vertex twice has an edge from that to itself, which no
  other face shares; its other two edges lie on each other and go with it.
  """
  mesh = trimesh.Trimesh(vertices, faces, process=True)
  corners = np.sort(mesh.faces, 1)
  mesh.update_faces(np.all(np.diff(corners, axis=1) != 0, 1))
  return mesh


def part_sheets(mesh: trimesh.Trimesh) -> trimesh.Trimesh | None:
  """Parts the sheets of a surface that touch in an edge or in a vertex.

  Args:
    mesh: every edge is used as often in one direction as in the other.

  Returns:
    A closed mesh, the same object if it was one; None if it cannot be closed.
  """
  for _ in range(_MAX_ROUNDS):
    pairs = _pair_edges(mesh)
    if pairs is None:
      return None
    fans = _fans(len(mesh.faces), pairs)
    parted = _part_vertices(mesh, fans)
    if is_closed(parted):
      return parted
    # The same two vertices are still joined twice, by one sheet that meets
    # itself: one of the two edges gets a vertex in its middle.
    mesh = _split_double_edges(parted, pairs)
  return None


def _part_vertices(mesh: trimesh.Trimesh, fans: np.ndarray) -> trimesh.Trimesh:
  """Gives each fan [3 F] of corners a vertex of its own."""
  corners = np.asarray(mesh.faces).reshape(-1)
  _, first, labels = np.unique(fans, return_index=True, return_inverse=True)
  original = corners[first]
  shared = np.bincount(original, minlength=len(mesh.vertices))[original] > 1
  if not shared.any():
    return mesh
  parted = trimesh.Trimesh(
    np.asarray(mesh.vertices)[original], labels.reshape(-1, 3), process=False
  )
  moved = parted.vertices + _GAP * shared[:, None] * _inward(parted)
  return trimesh.Trimesh(moved, parted.faces, process=False)


def _inward(mesh: trimesh.Trimesh) -> np.ndarray:
  """Returns unit directions [N, 3] from vertices into the solid of their fan.

  Against the normal, and toward the fan itself, since the normals of a fan that
  is folded together cancel.
  """
  corners = mesh.faces.reshape(-1)
  middles = np.zeros_like(mesh.vertices)
  np.add.at(middles, corners, np.repeat(mesh.triangles_center, 3, 0))
  counts = np.maximum(np.bincount(corners, minlength=len(middles)), 1)
  toward = middles / counts[:, None] - mesh.vertices
  return vectors.unit(vectors.unit(toward) - mesh.vertex_normals)


def _split_double_edges(
  mesh: trimesh.Trimesh, pairs: np.ndarray
) -> trimesh.Trimesh:
  """Halves all but one of the edges that join the same two vertices."""
  faces = np.asarray(mesh.faces)
  ends = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
  _, first = np.unique(ends[pairs[:, 0]], axis=0, return_index=True)
  is_double = np.ones(len(pairs), bool)
  is_double[first] = False
  vertices, kept, added = list(mesh.vertices), np.ones(len(faces), bool), []
  for half, other in pairs[is_double]:
    one, two = half // 3, other // 3
    if not (kept[one] and kept[two]):
      continue  # A face is cut once in a round.
    a, b, c = np.roll(faces[one], -(half % 3))
    d = faces[two][(other + 2) % 3]
    inward = -(mesh.face_normals[one] + mesh.face_normals[two])
    middle = (mesh.vertices[a] + mesh.vertices[b]) / 2
    vertices.append(middle + _GAP * vectors.unit(inward))
    m = len(vertices) - 1
    added += [(a, m, c), (m, b, c), (b, m, d), (m, a, d)]
    kept[[one, two]] = False
  faces = np.concatenate([faces[kept], np.array(added).reshape(-1, 3)])
  return trimesh.Trimesh(np.array(vertices), faces, process=False)


def _pair_edges(mesh: trimesh.Trimesh) -> np.ndarray | None:
  """Returns half edges [E, 2] that face each other; None if one has no mate.

  Half edge 3 f + k of face f runs from its corner k to the next. Where more
  than two faces meet, those are paired that enclose the least solid.
  """
  faces = np.asarray(mesh.faces)
  tail, head = faces.reshape(-1), np.roll(faces, -1, 1).reshape(-1)
  low, high = np.minimum(tail, head), np.maximum(tail, head)
  order = np.lexsort((tail > head, high, low))
  edge = np.stack([low, high], -1)[order]
  new = np.any(np.diff(edge, axis=0, prepend=-1) != 0, -1)
  begins = np.flatnonzero(new)
  sizes = np.diff(np.append(begins, len(order)))
  plain = begins[sizes == 2]
  pairs = [np.stack([order[plain], order[plain + 1]], -1)]
  for begin, size in zip(begins[sizes != 2], sizes[sizes != 2]):
    matched = _match(mesh, order[begin : begin + size], tail < head)
    if matched is None:
      return None
    pairs.append(matched)
  paired = np.concatenate(pairs)
  same_way = (tail < head)[paired[:, 0]] == (tail < head)[paired[:, 1]]
  return None if same_way.any() else paired


def _fans(num_faces: int, pairs: np.ndarray) -> np.ndarray:
  """Returns which fan each corner [3 F] is in: corners that paired faces share
  at the ends of their edge are in one fan."""
  corner = np.arange(3 * num_faces).reshape(-1, 3)
  after = np.roll(corner, -1, 1).reshape(-1)
  along, against = pairs.T
  rows = np.concatenate([along, after[along]])
  columns = np.concatenate([after[against], against])
  graph = sparse.coo_array(
    (np.ones(len(rows), bool), (rows, columns)), (corner.size, corner.size)
  )
  return sparse.csgraph.connected_components(graph, directed=False)[1]


def _match(
  mesh: trimesh.Trimesh, halves: np.ndarray, forward: np.ndarray
) -> np.ndarray | None:
  """Pairs the half edges [K] of one edge; returns [K / 2, 2] or None.

  Going around the edge from the inner side of a face that runs along it, the
  next face is where its solid ends.
  """
  along, against = halves[forward[halves]], halves[~forward[halves]]
  if len(along) != len(against):
    return None
  faces = np.asarray(mesh.faces)
  vertices = np.asarray(mesh.vertices)

  def corner(half: int, step: int) -> np.ndarray:
    return vertices[faces[half // 3][(half % 3 + step) % 3]]

  axis = corner(along[0], 1) - corner(along[0], 0)
  axis = axis / max(np.linalg.norm(axis), 1e-12)
  middle = corner(along[0], 0)

  def sideways(half: int) -> np.ndarray:
    away = corner(half, 2) - middle
    return away - axis * (away @ axis)

  pairs, free = [], list(against)
  for half in along:
    zero = sideways(half)
    # The normal of a face that runs along the edge is axis x zero, and its
    # solid lies on the other side, so angles grow against the normal.
    inward = -np.cross(axis, zero)
    angles = [
      np.arctan2(sideways(other) @ inward, sideways(other) @ zero) % (2 * np.pi)
      for other in free
    ]
    pairs.append((half, free.pop(int(np.argmin(angles)))))
  return np.array(pairs)


def keep_largest(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
  """Drops small pieces, and inside-out ones: the walls of cavities."""
  groups = trimesh.graph.connected_components(
    mesh.face_adjacency, nodes=np.arange(len(mesh.faces)), min_len=4
  )
  areas = np.array([mesh.area_faces[group].sum() for group in groups])
  # The signed volume of a closed piece: tetrahedra to the origin.
  volumes = np.einsum(
    'fi,fi->f',
    mesh.triangles[:, 0],
    np.cross(mesh.triangles[:, 1], mesh.triangles[:, 2]),
  )
  solid = np.array([volumes[group].sum() > 0 for group in groups])
  keep = solid & (areas >= _SMALLEST_SHARE * areas[solid].max())
  faces = np.concatenate([g for g, kept in zip(groups, keep) if kept])
  mesh.update_faces(np.sort(faces))
  mesh.remove_unreferenced_vertices()
  return mesh
