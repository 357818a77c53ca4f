"""Procedural heads: people and characters drawn from a seed.

Owns the public face of the family: a `Head` is attributes (in words) plus the
numbers they became. `attributes` decides which heads exist,
`geometry` what they look like, `rendering` takes the pictures.
"""

from collections.abc import Mapping, Sequence
import concurrent.futures
import dataclasses

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import cores
from mmdist.core import errors
from mmdist.core import seeds
from mmdist.data import multiview
from mmdist.heads import attributes as head_attributes
from mmdist.heads import parameters as head_parameters
from mmdist.heads import rendering as head_rendering

# (azimuth, elevation, half height) of the 13 cameras that see every subject:
# eight around, above, below, behind, and two on the face.
RIG = (
  (0.0, 0.05, 0.95),
  (-0.4, 0.1, 0.95),
  (0.4, 0.1, 0.95),
  (-0.9, 0.1, 0.95),
  (0.9, 0.1, 0.95),
  (-1.6, 0.1, 0.95),
  (1.6, 0.1, 0.95),
  (np.pi, 0.1, 0.95),
  (-2.4, 0.15, 0.95),
  (2.4, 0.15, 0.95),
  (0.1, 0.85, 0.95),
  (0.0, -0.1, 0.5),
  (0.0, -0.4, 0.95),
)


@dataclasses.dataclass(frozen=True)
class Head:
  """One procedural head.

  Attributes:
    attributes: what it is, in words.
    parameters: float32 scalars and colours for `geometry`.
  """

  attributes: head_attributes.Attributes
  parameters: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class HeadPictures:
  """Renders of N heads.

  Attributes:
    rgba: [N, H, W, 4] float32 in [0, 1]; rgb premultiplied by alpha.
    normals: [N, H, W, 3] float32 world normals coloured (n + 1) / 2, mid-grey
      on the background.
  """

  rgba: np.ndarray
  normals: np.ndarray

  def over(self, background: np.ndarray) -> np.ndarray:
    """Returns [N, H, W, 3] colours over [N, 3] or [3] backgrounds."""
    background = np.asarray(background, np.float32)
    background = background.reshape((-1, 1, 1, background.shape[-1]))
    return self.rgba[..., :3] + (1 - self.rgba[..., 3:]) * background


def make_head(
  attributes: head_attributes.Attributes, rng: np.random.Generator
) -> Head:
  """Gives attributes a body."""
  head_attributes.check(attributes)
  parameters = head_parameters.shape_parameters(attributes, rng)
  return Head(attributes, parameters)


def sample_head(
  seed: int,
  index: int,
  neutral: bool = False,
  fixed: Mapping[str, object] | None = None,
  allow_held_out: bool = False,
) -> Head:
  """Draws head number `index` of the family with this seed.

  Args:
    seed: which family.
    index: which head; the same numbers give the same head everywhere.
    neutral: plain subjects, see `head_attributes.sample_attributes`.
    fixed: attributes to keep.
    allow_held_out: also draw combinations that priors never train on.
  """
  rng = seeds.generator(seed, index, 'procedural head')
  while True:
    attributes = head_attributes.sample_attributes(rng, neutral, fixed)
    if allow_held_out or fixed or not head_attributes.is_held_out(attributes):
      return make_head(attributes, rng)


def render_heads(
  heads: Sequence[Head],
  views: orbits.Views,
  resolution: int = 64,
  supersampling: int = 1,
  num_threads: int | None = None,
) -> HeadPictures:
  """Renders head i from view i.

  Args:
    heads: N heads.
    views: N views.
    resolution: H = W, a multiple of 4.
    supersampling: rays per pixel along each axis; silhouettes and the borders
      between colours are smooth already at 1.
    num_threads: pictures rendered at once; by default one per core.
  """
  if len(heads) != len(views):
    raise errors.UserError(
      f'{len(heads)} heads but {len(views)} views; give one view per head.'
    )
  if resolution < 4 or resolution % 4:
    raise errors.UserError(
      f'resolution={resolution}; expected a multiple of 4.'
    )
  cameras = views.cameras()

  def picture(i: int) -> tuple[np.ndarray, np.ndarray]:
    rgb, normals, mask = head_rendering.render(
      heads[i].parameters,
      cameras.take(i),
      np.zeros(3, np.float32),
      resolution,
      supersampling,
    )
    rgba = np.concatenate([rgb, np.asarray(mask)[..., None]], -1)
    return rgba, np.asarray(normals) * 0.5 + 0.5

  num_threads = num_threads or cores.count()
  with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
    pictures = list(pool.map(picture, range(len(heads))))
  rgba, normals = (np.stack(column) for column in zip(*pictures))
  return HeadPictures(rgba, normals)


def multiview_set(
  seed: int,
  num_subjects: int,
  num_cameras: int = len(RIG),
  resolution: int = 64,
  neutral: bool = True,
) -> multiview.MultiviewSet:
  """Photographs subjects with the rig, as in a studio.

  Args:
    seed: family of the heads; each subject's cameras differ a little.
    num_subjects: M, heads 0 to M - 1 of the family.
    num_cameras: K; beyond the rig's 13 they stand at random.
    resolution: H = W, a multiple of 4.
    neutral: plain subjects, as the conditional NeRF learns from.
  """
  images, poses, tans = [], [], []
  for index in range(num_subjects):
    head = sample_head(seed, index, neutral)
    views = rig_views(seed, index, num_cameras)
    pictures = render_heads([head] * num_cameras, views, resolution)
    images.append(multiview.premultiplied_to_rgba8(pictures.rgba))
    cameras = views.cameras()
    poses.append(cameras.camera_to_world)
    tans.append(cameras.tan_half_fov)
  return multiview.MultiviewSet(
    np.stack(images), np.stack(poses), np.stack(tans)
  )


def rig_views(seed: int, index: int, num_cameras: int) -> orbits.Views:
  """Returns where the cameras stand for one subject."""
  rng = seeds.generator(seed, index, 'rig')
  extra = max(0, num_cameras - len(RIG))
  anywhere = np.stack(
    [
      rng.uniform(-np.pi, np.pi, extra),
      rng.uniform(-0.3, 0.8, extra),
      np.full(extra, 0.95),
    ],
    -1,
  )
  rows = np.concatenate([np.asarray(RIG), anywhere])[:num_cameras]
  jitter = rng.normal(0, 1, (num_cameras, 2)) * (0.12, 0.06)
  return orbits.make_views(
    rows[:, 0] + jitter[:, 0],
    rows[:, 1] + jitter[:, 1],
    orbits.CAMERA_DISTANCE,
    orbits.HEAD_TARGET,
    rows[:, 2] * rng.uniform(0.97, 1.05, num_cameras),
  )
