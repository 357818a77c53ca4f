"""An avatar as Gaussians, in the `.ply` layout that splat viewers read.

Points are spread evenly over the surface that meshes are made of. Each becomes
a flat Gaussian that lies in the surface and has the colour that a camera
straight above it sees. Nothing is optimised.

The layout is that of 3D Gaussian splatting (Kerbl et al. 2023; `save_ply` of
its code) with colours of degree 0, which do not depend on the direction. So
there is no `f_rest_*`: 45 zeros for each Gaussian would make the file 3.6 times
as large. Axes and units are those of `mmdist.results.glb`.
"""

import dataclasses
import os
from typing import TYPE_CHECKING

import numpy as np

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import representation as representation_lib
from mmdist.core import vectors
from mmdist.results import surface_looks

if TYPE_CHECKING:  # Not at run time: importing it takes a second.
  import trimesh

NUM_SPLATS = 100_000
# With fewer, those of head and shoulders are 20 mm apart, and a mouth is lost.
# With more, they are nearer than 0.4 mm, a ninth of what is between the points
# of a grid of 128, and a file has more than 136 MB.
FEWEST, MOST = 1_000, 2_000_000
PROPERTIES = (
  *('x', 'y', 'z', 'nx', 'ny', 'nz', 'f_dc_0', 'f_dc_1', 'f_dc_2', 'opacity'),
  *('scale_0', 'scale_1', 'scale_2', 'rot_0', 'rot_1', 'rot_2', 'rot_3'),
)
_OPACITY = 0.99  # Renderers clip at it: Kerbl et al. 2023, appendix C.
# Standard deviations in and across the surface, per distance of neighbours. The
# narrower they are, the sharper are colours and outlines; at 0.65 the back of
# the head begins to show through its face in a close-up.
_WIDTH, _THICKNESS = 0.8, 0.08
_HARMONIC = 0.28209479177387814  # The constant one: 1 / (2 sqrt(pi)).
# Multiples of these, without their whole parts, fill the unit square evenly,
# however many there are: 1 / g and 1 / g^2, where g^3 = g + 1 (Roberts 2018).
_EVEN_STEPS = np.array([0.7548776662466927, 0.5698402909980532])


@dataclasses.dataclass(frozen=True, eq=False)
class Splats:
  """N flat Gaussians on a surface.

  Attributes:
    points: [N, 3] world.
    normals: [N, 3] outward, of unit length; across the Gaussians.
    colors: [N, 3] display colours in [0, 1].
    spacing: world units between neighbours: each has the area of its square.
  """

  points: np.ndarray
  normals: np.ndarray
  colors: np.ndarray
  spacing: float


def check_num_splats(num_splats: int) -> None:
  """Raises UserError unless it is a whole number from FEWEST to MOST."""
  is_whole = isinstance(num_splats, int | np.integer)
  if not is_whole or not FEWEST <= num_splats <= MOST:
    raise errors.UserError(
      f'num_splats is {num_splats!r}; expected a whole number from {FEWEST} '
      f'to {MOST}: fewer show no face, more are too large for viewers.'
    )


def make_splats(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  resolution: int,
  num_splats: int = NUM_SPLATS,
) -> Splats:
  """Makes Gaussians; the same ones every time.

  Args:
    representation: see `core.representation`.
    params: its parameters.
    resolution: grid points per axis, of the surface.
    num_splats: N, `FEWEST` to `MOST`.

  Raises:
    triangle_mesh.NoSurfaceError: the density is too thin everywhere.
    UserError: a wrong number of Gaussians or of grid points.
  """
  check_num_splats(num_splats)
  # Here, because importing it takes a second.
  from mmdist.results import triangle_mesh

  surface = triangle_mesh.extract_surface(
    triangle_mesh.density_grid(representation, params, resolution)
  )
  points, normals = sample_surface(surface, num_splats)
  looks = surface_looks.look(representation, params, points, normals)
  spacing = float(np.sqrt(surface.area / num_splats))
  return Splats(points, normals, looks.colors, spacing)


def sample_surface(
  surface: 'trimesh.Trimesh', num_points: int
) -> tuple[np.ndarray, np.ndarray]:
  """Spreads points over a surface, as many on equal areas, without chance.

  Args:
    surface: of triangles.
    num_points: N.

  Returns:
    [N, 3] points and [N, 3] unit normals, which are interpolated between those
    of the vertices.
  """
  areas = np.cumsum(surface.area_faces)
  # Points at equal distances along all triangles, laid one after the other.
  places = (np.arange(num_points) + 0.5) / num_points * areas[-1]
  chosen = np.minimum(np.searchsorted(areas, places), len(areas) - 1)
  u, v = ((0.5 + np.arange(num_points)[:, None] * _EVEN_STEPS) % 1).T
  # Half of the square is the triangle; the other half is folded onto it.
  u, v = np.where(u + v > 1, [1 - u, 1 - v], [u, v])
  shares = np.stack([1 - u - v, u, v], -1)[..., None]
  corners = surface.faces[chosen]
  points = np.sum(shares * surface.vertices[corners], 1)
  normals = np.sum(shares * surface.vertex_normals[corners], 1)
  # Normals of vertices cancel where the surface is folded back on itself.
  is_folded = np.linalg.norm(normals, axis=-1) < 1e-3
  normals[is_folded] = surface.face_normals[chosen[is_folded]]
  return points, vectors.unit(normals)


def rotations_to(normals: np.ndarray) -> np.ndarray:
  """Returns the shortest turns of +z to normals.

  Args:
    normals: [N, 3] of unit length.

  Returns:
    [N, 4] unit quaternions (w, x, y, z). To -z it is half a turn around x.
  """
  x, y, z = normals.T
  turns = np.stack([1 + z, -y, x, 0 * z], -1)
  length = np.linalg.norm(turns, axis=-1, keepdims=True)
  return np.where(
    length > 1e-9, turns / np.maximum(length, 1e-9), (0.0, 1.0, 0.0, 0.0)
  )


def to_bytes(splats: Splats) -> bytes:
  """Returns a binary, little-endian PLY of 17 float32 for each Gaussian."""
  from mmdist.results import glb  # Here, because importing it takes a second.

  num_splats = len(splats.points)
  spacing = splats.spacing * glb.METRES_PER_UNIT
  sizes = np.log(spacing * np.array([_WIDTH, _WIDTH, _THICKNESS]))
  opacity = np.log(_OPACITY / (1 - _OPACITY))
  columns = [
    splats.points * glb.METRES_PER_UNIT,
    splats.normals,
    (splats.colors - 0.5) / _HARMONIC,
    np.full((num_splats, 1), opacity),
    np.tile(sizes, (num_splats, 1)),
    rotations_to(splats.normals),
  ]
  header = '\n'.join(
    [
      'ply',
      'format binary_little_endian 1.0',
      f'element vertex {num_splats}',
      *(f'property float {name}' for name in PROPERTIES),
      'end_header\n',
    ]
  )
  return header.encode() + np.concatenate(columns, 1).astype('<f4').tobytes()


def write(path: str | os.PathLike, splats: Splats) -> None:
  """Writes a `.ply`, all of it or nothing."""
  atomic.write_bytes(path, to_bytes(splats))
