"""A triangle mesh of an avatar: density to surface to GLB with colours.

The surface is where a layer of this density, `SKIN_THICKNESS` thick, would
absorb half the light. The colour of a vertex is what a camera straight above it
would see, so only the representation's `density` and `render` are needed.
"""

from collections.abc import Callable
import functools
import os

import fast_simplification
import jax
import jax.numpy as jnp
import numpy as np
from skimage import measure
import trimesh

from mmdist.cameras import camera as camera_lib
from mmdist.core import arrays
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import representation as representation_lib
from mmdist.results import mesh_viewer

# The surface is where the density halves light within this many world units;
# the head's radius is about 1. The density that training leaves in empty space
# is lower by orders of magnitude.
SKIN_THICKNESS = 0.05
MAX_FACES = 60_000  # Triangles of `mesh.glb`.
# Triangles of the mesh in a page: some 300 kB of text.
VIEWED_FACES = 16_000
# Pieces smaller than this share of the largest one's area are floaters; horns
# and glasses are larger.
_SMALLEST_SHARE = 0.02
_COLOR_DISTANCE = 3.0
_COLOR_REACH = 0.08  # Half the length of a colour ray, around its vertex.
# Of a ray's cone, per unit of distance: about that of a picture of the whole
# head with 160 pixels along a side, see `camera.pixel_rays`.
_PIXEL_RADIUS = 0.002
_CHUNK = 4096


class NoSurfaceError(errors.UserError):
  """The density is too thin everywhere to have a surface."""


def density_grid(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  resolution: int,
) -> np.ndarray:
  """Samples the density on a cube around the scene's ball.

  Args:
    representation: see `core.representation`.
    params: its parameters.
    resolution: R, grid points per axis, at least 8.

  Returns:
    [R, R, R] float32 per world unit, indexed x, y, z, from -SCENE_RADIUS to
    SCENE_RADIUS. Zero outside the ball, where no ray is sampled, and on the
    cube's faces, so that every surface is closed.

  Raises:
    NoSurfaceError: the representation has no `density`.
    UserError: the resolution is below 8.
  """
  if not hasattr(representation, 'density'):
    raise NoSurfaceError(
      f'a {type(representation).__name__} has no density to mesh; give it '
      'density(params, points).'
    )
  if resolution < 8:
    raise errors.UserError(
      f'mesh resolution is {resolution}; expected at least 8 points per axis.'
    )
  radius = camera_lib.SCENE_RADIUS
  ticks = np.linspace(-radius, radius, resolution, dtype=np.float32)
  points = np.stack(np.meshgrid(ticks, ticks, ticks, indexing='ij'), -1)
  points = points.reshape(-1, 3)
  # One voxel less than the ball, because its poles touch the cube's faces and
  # the surface has to be closed.
  inside = np.linalg.norm(points, axis=-1) < radius - 2 * radius / resolution
  density = np.zeros(len(points), np.float32)
  query = functools.partial(representation.density, params)
  density[inside] = _in_chunks(query, points[inside])
  return density.reshape((resolution,) * 3)


def extract_surface(density: np.ndarray) -> trimesh.Trimesh:
  """Returns the closed surface of a density grid, normals outward.

  Floaters and closed cavities, which nobody sees, are dropped.

  Args:
    density: [R, R, R] as `density_grid` returns it.

  Raises:
    NoSurfaceError: if no point is dense enough.
  """
  # Opacity is bounded and density is not: interpolated densities would put the
  # surface too near to the voxel outside.
  opacity = -np.expm1(-density * SKIN_THICKNESS)
  if not opacity.max() > 0.5:
    raise NoSurfaceError(
      f'the densest point has {density.max():.3g} per world unit and a surface '
      f'needs more than {np.log(2) / SKIN_THICKNESS:.3g}; optimise for more '
      'steps, or lower learner.opacity_weight.'
    )
  radius = camera_lib.SCENE_RADIUS
  spacing = 2 * radius / (len(density) - 1)
  # Positive inside: 'ascent' keeps the normals outward.
  vertices, faces, _, _ = measure.marching_cubes(
    opacity, 0.5, spacing=(spacing,) * 3, gradient_direction='ascent'
  )
  return _keep_largest(trimesh.Trimesh(vertices - radius, faces, process=True))


def _keep_largest(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
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


def decimate(mesh: trimesh.Trimesh, max_faces: int) -> trimesh.Trimesh:
  """Merges edges until at most about `max_faces` triangles are left."""
  if len(mesh.faces) <= max_faces:
    return mesh
  vertices, faces = fast_simplification.simplify(
    np.asarray(mesh.vertices, np.float32),
    np.asarray(mesh.faces, np.int32),
    target_count=max_faces,
  )
  return trimesh.Trimesh(vertices, faces, process=True)


def surface_colors(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  mesh: trimesh.Trimesh,
) -> np.ndarray:
  """Looks straight at each vertex from outside.

  Args:
    representation: see `core.representation`.
    params: its parameters.
    mesh: in world units, with normals outward.

  Returns:
    [num_vertices, 3] colours in [0, 1].
  """
  normals = np.asarray(mesh.vertex_normals, np.float32)
  points = np.asarray(mesh.vertices, np.float32)
  key = None  # Deterministic: no jitter along the rays.

  def look(points_and_normals: jax.Array) -> jax.Array:
    points, normals = jnp.split(points_and_normals, 2, -1)
    ones = jnp.ones_like(points[:, :1])
    rays = arrays.Rays(
      origins=points + _COLOR_DISTANCE * normals,
      directions=-normals,
      viewdirs=-normals,
      radii=_PIXEL_RADIUS * ones,
      near=(_COLOR_DISTANCE - _COLOR_REACH) * ones,
      far=(_COLOR_DISTANCE + _COLOR_REACH) * ones,
      background=jnp.zeros_like(points),
    )
    renders = representation.render(params, rays, key, with_normals=False)
    # Over black, so that dividing by the opacity leaves the surface's colour.
    return renders.rgb / jnp.maximum(renders.acc, 1e-3)[:, None]

  colors = _in_chunks(look, np.concatenate([points, normals], -1))
  return np.clip(colors, 0, 1)


def _in_chunks(
  function: Callable[[jax.Array], jax.Array], rows: np.ndarray
) -> np.ndarray:
  """Maps a jitted function over rows, all chunks of one size."""
  function = jax.jit(function)
  padded = np.pad(rows, ((0, -len(rows) % _CHUNK), (0, 0)), mode='edge')
  chunks = padded.reshape(-1, _CHUNK, rows.shape[-1])
  answers = [np.asarray(function(chunk), np.float32) for chunk in chunks]
  return np.concatenate(answers)[: len(rows)]


def make_mesh(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  resolution: int,
  max_faces: int = MAX_FACES,
) -> trimesh.Trimesh:
  """Returns a coloured, closed mesh in world units, +y up, face along +z.

  Args:
    representation: see `core.representation`.
    params: its parameters.
    resolution: grid points per axis.
    max_faces: triangles left after decimation.

  Raises:
    NoSurfaceError: if the density is too thin everywhere.
  """
  density = density_grid(representation, params, resolution)
  mesh = decimate(extract_surface(density), max_faces)
  colors = surface_colors(representation, params, mesh)
  mesh.visual = trimesh.visual.ColorVisuals(
    mesh, vertex_colors=np.round(srgb_to_linear(colors) * 255).astype(np.uint8)
  )
  return mesh


def make_viewed(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  mesh: trimesh.Trimesh,
) -> mesh_viewer.ViewedMesh:
  """Returns a mesh coarse enough for a page, with display colours.

  Args:
    representation: see `core.representation`.
    params: its parameters.
    mesh: in world units, as `make_mesh` returns it.
  """
  coarse = decimate(mesh, VIEWED_FACES)
  return mesh_viewer.ViewedMesh(
    vertices=np.asarray(coarse.vertices, np.float32),
    normals=np.asarray(coarse.vertex_normals, np.float32),
    colors=surface_colors(representation, params, coarse),
    faces=np.asarray(coarse.faces),
  )


def srgb_to_linear(colors: np.ndarray) -> np.ndarray:
  """Turns display colours into light, both in [0, 1].

  A GLB's vertex colours are light (glTF 2.0, section 3.7.2.1); renders are
  display colours. Source: IEC 61966-2-1.
  """
  return np.where(
    colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4
  )


def write_glb(path: str | os.PathLike, mesh: trimesh.Trimesh) -> None:
  """Writes a GLB with normals, vertex colours and a matte material."""
  data = trimesh.exchange.gltf.export_glb(
    trimesh.Scene(mesh), include_normals=True, tree_postprocessor=_make_matte
  )
  atomic.write_bytes(path, data)


def _make_matte(tree: dict) -> None:
  # Without a material, glTF's default is bare metal: nearly black in viewers.
  tree['materials'] = [
    {'pbrMetallicRoughness': {'metallicFactor': 0.0, 'roughnessFactor': 0.9}}
  ]
  for mesh in tree['meshes']:
    for primitive in mesh['primitives']:
      primitive['material'] = 0
