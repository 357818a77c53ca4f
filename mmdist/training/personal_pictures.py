"""Where the pictures of a personalisation come from, by its kind."""

from typing import TYPE_CHECKING

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import errors
from mmdist.data import multiview
from mmdist.data import photos
from mmdist.evaluation import known_heads
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.nerf import images as nerf_images
from mmdist.run import opening

if TYPE_CHECKING:
  from mmdist.training import personalization  # It imports this module.

NUM_RENDERS = 60  # On 3 orbits (MagicMirror, A.2).
_ELEVATIONS = (-0.2, 0.1, 0.5)  # Radians.


def read(
  options: 'personalization.Options',
  world: worlds.World,
  size: int,
  prompt: str,
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns [N, H, H, 4] uint8 pictures and their N prompts.

  Args:
    options: `personalization.Options`.
    world: of the procedural head, if one is named.
    size: H.
    prompt: of every picture. What is written beside one follows it.

  Raises:
    FileNotFoundError, UserError: in one line, what is wrong.
  """
  if options.kind == 'photos':
    return _read_photos(options, size, prompt)
  if not options.subject:
    raise errors.UserError(
      f'--kind={options.kind}: expected --subject, the folder of a run or '
      'FAMILY:INDEX of a procedural head.'
    )
  rgba = render(world, options.subject, size, normals=options.kind == 'normal')
  return rgba, (prompt,) * len(rgba)


def _read_photos(
  options: 'personalization.Options', size: int, prompt: str
) -> tuple[np.ndarray, tuple[str, ...]]:
  if not options.images:
    raise errors.UserError('--kind=photos: expected --images=FOLDER.')
  boxes = photos.read_boxes(options.boxes) if options.boxes else {}
  taken = photos.read_photos(options.images, size, boxes)
  return taken.rgba, tuple(
    # As view words are written; see `prompts.add_view_word`.
    f'{prompt} , {text}' if text else prompt
    for text in taken.texts
  )


def render_views() -> orbits.Views:
  """Returns the 60 views of 3 orbits."""
  per_orbit = NUM_RENDERS // len(_ELEVATIONS)
  azimuth = np.tile(
    np.linspace(-np.pi, np.pi, per_orbit, endpoint=False), len(_ELEVATIONS)
  )
  return orbits.make_views(
    azimuth,
    np.repeat(_ELEVATIONS, per_orbit),
    orbits.CAMERA_DISTANCE,
    orbits.HEAD_TARGET,
    orbits.HEAD_HALF_HEIGHT,
  )


def render(
  world: worlds.World, subject: str, size: int, normals: bool
) -> np.ndarray:
  """Renders a run's avatar or a procedural head, [60, H, H, 4] uint8.

  Normals lie on mid-grey, as the learner renders them, and are opaque.

  Raises:
    FileNotFoundError, UserError: in one line; there is no such run, or no such
      head.
  """
  views = render_views()
  if known_heads.is_named(subject):
    person = known_heads.read_head(world, subject, 'subject')
    pictures = subjects.render_heads(world, [person] * len(views), views, size)
    rgba, coloured = pictures.rgba, pictures.normals
  else:
    avatar = opening.open_run(subject)
    shown = nerf_images.render_images(
      avatar.representation,
      avatar.params,
      views,
      size,
      np.zeros(3, np.float32),
    )
    rgba = np.concatenate([shown['rgb'], shown['acc'][..., None]], -1)
    coloured = shown['normals']
  if not normals:
    return multiview.premultiplied_to_rgba8(np.clip(rgba, 0, 1))
  opaque = np.ones((*coloured.shape[:3], 1), np.float32)
  together = np.concatenate([np.clip(coloured, 0, 1), opaque], -1)
  return np.round(255 * together).astype(np.uint8)
