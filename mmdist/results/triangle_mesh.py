"""A triangle mesh of an avatar: density to surface to GLB with colours.

The surface is where a layer of this density, `SKIN_THICKNESS` thick, would
absorb half the light. The colour of a point is what a camera straight above it
would see, so only the representation's `density` and `render` are needed.
"""

from collections.abc import Callable
import dataclasses
import functools
import os

import jax
import numpy as np
from skimage import measure
import trimesh

from mmdist.cameras import camera as camera_lib
from mmdist.config import validation
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import representation as representation_lib
from mmdist.results import baking
from mmdist.results import closed_mesh
from mmdist.results import glb
from mmdist.results import mesh_viewer
from mmdist.results import surface_looks
from mmdist.run import memory_estimate

# The surface is where the density halves light within this many world units;
# the head's radius is about 1. The density that training leaves in empty space
# is lower by orders of magnitude.
SKIN_THICKNESS = 0.05
# Triangles of `mesh.glb`. Colours of vertices are only as fine as these are.
TEXTURED_FACES = 20_000
COLORED_FACES = 60_000
# Triangles of the mesh in a page: some 300 kB of text.
VIEWED_FACES = 16_000
_BYTES_PER_TEXEL = 64  # That baking takes at its most.
_CHUNK = 4096


class NoMeshError(errors.UserError):
  """There can be no mesh, which is no reason to have nothing else."""


class NoSurfaceError(NoMeshError):
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
  surface = closed_mesh.merge_vertices(vertices - radius, faces)
  return closed_mesh.keep_largest(surface)


def _in_chunks(
  function: Callable[[jax.Array], jax.Array], rows: np.ndarray
) -> np.ndarray:
  """Maps a jitted function over rows, all chunks of one size."""
  function = jax.jit(function)
  padded = np.pad(rows, ((0, -len(rows) % _CHUNK), (0, 0)), mode='edge')
  chunks = padded.reshape(-1, _CHUNK, rows.shape[-1])
  answers = [np.asarray(function(chunk), np.float32) for chunk in chunks]
  return np.concatenate(answers)[: len(rows)]


@dataclasses.dataclass(frozen=True, eq=False)
class TriangleMesh:
  """A closed surface, and how it looks.

  Attributes:
    surface: closed, in world units, +y up, face along +z, normals outward.
    shown: the same surface with textures, or with colours at its vertices.
  """

  surface: trimesh.Trimesh
  shown: baking.Textured | glb.Colored


def make_mesh(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  resolution: int,
  texture_size: int = 0,
  max_faces: int | None = None,
) -> TriangleMesh:
  """Makes a closed mesh with textures or with colours at its vertices.

  Args:
    representation: see `core.representation`.
    params: its parameters.
    resolution: grid points per axis.
    texture_size: texels of a side of both textures; 0: colours of vertices.
    max_faces: triangles left after decimation; None is `TEXTURED_FACES` or
      `COLORED_FACES`.

  Raises:
    NoSurfaceError: if the density is too thin everywhere.
    NoMeshError: there is no memory for such a texture.
  """
  validation.check_texture_size('texture_size', texture_size)
  _check_room(texture_size)
  density = density_grid(representation, params, resolution)
  if max_faces is None:
    max_faces = TEXTURED_FACES if texture_size else COLORED_FACES
  surface = closed_mesh.decimate(extract_surface(density), max_faces)
  shown: baking.Textured | glb.Colored
  if texture_size:
    shown = baking.bake(representation, params, surface, texture_size)
  else:
    shown = _color(representation, params, surface)
  return TriangleMesh(surface, shown)


def _check_room(texture_size: int) -> None:
  needed = texture_size**2 * _BYTES_PER_TEXEL
  available = memory_estimate.available_memory()
  if available is not None and needed > available:
    raise NoMeshError(
      f'a texture of {texture_size} texels a side needs {needed / 1e9:.1f} GB '
      f'to be made and {available / 1e9:.1f} GB are free; choose a smaller '
      'texture_size.'
    )


def _color(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  surface: trimesh.Trimesh,
) -> glb.Colored:
  vertices = np.asarray(surface.vertices, np.float32)
  normals = np.asarray(surface.vertex_normals, np.float32)
  looks = surface_looks.look(representation, params, vertices, normals)
  light = srgb_to_linear(looks.colors)
  return glb.Colored(
    vertices,
    normals,
    np.round(light * 255).astype(np.uint8),
    np.asarray(surface.faces),
  )


def make_viewed(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
  surface: trimesh.Trimesh,
) -> mesh_viewer.ViewedMesh:
  """Returns a mesh coarse enough for a page, with display colours.

  Args:
    representation: see `core.representation`.
    params: its parameters.
    surface: of a `TriangleMesh`.
  """
  coarse = closed_mesh.decimate(surface, VIEWED_FACES)
  vertices = np.asarray(coarse.vertices, np.float32)
  normals = np.asarray(coarse.vertex_normals, np.float32)
  looks = surface_looks.look(representation, params, vertices, normals)
  return mesh_viewer.ViewedMesh(
    vertices=vertices,
    normals=normals,
    colors=looks.colors,
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


def write_glb(path: str | os.PathLike, mesh: TriangleMesh) -> None:
  """Writes a GLB; see `mmdist.results.glb`."""
  atomic.write_bytes(path, glb.to_bytes(mesh.shown))
