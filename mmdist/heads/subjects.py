"""Procedural heads: people and characters drawn from a seed.

Owns who is drawn, and how they are looked at: single heads, and sets of
pictures by a rig of cameras. What heads there are, and how they look, is a
`worlds.World`. JAX is imported only by a world that draws with it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import cores
from mmdist.core import errors
from mmdist.core import seeds
from mmdist.heads import head_records
from mmdist.heads import rigs
from mmdist.heads import traits as head_traits
from mmdist.heads import worlds

if TYPE_CHECKING:
  from mmdist.data import multiview  # It imports JAX.


def make_head(
  world: worlds.World,
  attributes: head_traits.Attributes,
  rng: np.random.Generator,
) -> head_records.Head:
  """Gives attributes a body.

  Raises:
    UserError: there is no such head in this world.
  """
  world.attributes.check(attributes)
  return world.make_head(attributes, rng)


def sample_head(
  world: worlds.World,
  seed: int,
  index: int,
  neutral: bool = False,
  fixed: Mapping[str, object] | None = None,
  allow_held_out: bool = False,
) -> head_records.Head:
  """Draws head number `index` of the family with this seed.

  Args:
    world: whose heads.
    seed: which family.
    index: which head; the same numbers give the same head everywhere.
    neutral: plain subjects, see `traits.Traits.sample`.
    fixed: attributes to keep.
    allow_held_out: also draw combinations that priors never train on.

  Raises:
    UserError: what is fixed cannot be.
  """
  rng = seeds.generator(seed, index, 'procedural head')
  traits = world.attributes
  while True:
    attributes = traits.sample(rng, neutral, fixed)
    if allow_held_out or fixed or not traits.is_held_out(attributes):
      return make_head(world, attributes, rng)


def render_heads(
  world: worlds.World,
  heads: Sequence[head_records.Head],
  views: orbits.Views,
  resolution: int = 64,
  supersampling: int | None = None,
  num_threads: int | None = None,
) -> head_records.HeadPictures:
  """Renders head i from view i.

  Args:
    world: of the heads.
    heads: N heads.
    views: N views.
    resolution: H = W, a multiple of 4.
    supersampling: rays per pixel along each axis; None: as the world needs.
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
  num_threads = num_threads or cores.count()
  return world.render_heads(
    heads,
    views,
    resolution,
    supersampling or world.supersampling,
    num_threads,
  )


def multiview_set(
  world: worlds.World,
  seed: int,
  num_subjects: int,
  num_cameras: int,
  resolution: int = 64,
  neutral: bool = True,
  expressive: bool = False,
) -> 'multiview.MultiviewSet':
  """Photographs subjects with the world's rig, as in a studio.

  Args:
    world: whose heads.
    seed: family of the heads; each subject's cameras differ a little.
    num_subjects: M, heads 0 to M - 1 of the family.
    num_cameras: K; beyond the rig's they stand at random.
    resolution: H = W, a multiple of 4.
    neutral: plain subjects, as the conditional NeRF learns from.
    expressive: give every second subject an expression all the same.
  """
  from mmdist.data import multiview

  images, poses, tans = [], [], []
  for index in range(num_subjects):
    moved = expressive and index % 2 == 1
    fixed = {'expression': _expression(world, seed, index)} if moved else {}
    head = sample_head(world, seed, index, neutral, fixed)
    views = rigs.views(world.rig, seed, index, num_cameras)
    pictures = render_heads(world, [head] * num_cameras, views, resolution)
    images.append(multiview.premultiplied_to_rgba8(pictures.rgba))
    camera_to_world, tan_half_fov = views.poses()
    poses.append(camera_to_world)
    tans.append(tan_half_fov)
  return multiview.MultiviewSet(
    np.stack(images), np.stack(poses), np.stack(tans)
  )


def _expression(world: worlds.World, seed: int, index: int) -> object:
  choices = world.attributes.choices['expression']
  rng = seeds.generator(seed, index, 'expression of a subject')
  return choices[int(rng.integers(len(choices)))]
