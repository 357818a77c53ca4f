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
from mmdist.heads.people import haircuts
from mmdist.heads.people import hats
from mmdist.heads.people import pieces
from mmdist.heads.people import regions
from mmdist.heads.people import shape as people_shape
from mmdist.heads.people import skin as people_skin
from mmdist.heads.people import skull as people_skull
from mmdist.heads.people import solids
from mmdist.heads.people import strands

# Below this share of a strand's length the head no longer holds it off.
_NAPE = -0.55
# Below this, short hair and a curtain hang free of the neck.
_NECK, _CURTAIN = -0.8, -0.1
# Short hair is shortest at the nape: so much of its length, and from where to
# where it grows to all of it, from the middle of the head.
_NAPE_LENGTH, _NAPE_HEIGHTS = 0.25, (-0.45, 0.05)
_FARTHEST = 1.05
# A strand has come out of the shell after this length.
_RISE = 0.10
# How soft the hairline is, against `regions.scalp`.
_SOFTNESS = 6.0
_ROLL = 0.15
# Of a shell's rise; curls nearer to the hairline would lie there alone.
_FIRST_CURL = 0.3
# One of so many strips of a curtain is a wide one below the others.
_WIDE_SHARE = 10
# Where hair is tied, from the middle of the head in its half heights.
_KNOT = (0.0, 0.50, -0.80)
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
  pick, brightness = rng.random(), rng.uniform(0.75, 1.05)
  word = attributes.hair_style
  if word == 'bald':
    return []
  is_pressed = bool(attributes.hat) or attributes.headphones
  style = haircuts.chosen(word, pick, is_pressed)
  color = brightness * people_skin.to_linear(
    palettes.HAIR_COLORS[attributes.hair_color]
  )
  area = _area(style)
  roots = strands.draw_roots(
    np.clip(2 * area - 1, 0, 1), shape.vertices, style.count, rng
  )
  grow_on = _curls if style.curl else _straight
  grown = [_shell(style, area, shape, hat, color)]
  grown.append(grow_on(style, roots, head, hat, color, rng))
  if word in ('ponytail', 'bun'):
    grown += {'ponytail': _ponytail, 'bun': _bun}[word](head, color, rng)
  return [piece for piece in grown if piece is not None]


def _area(style: haircuts.Style) -> np.ndarray:
  """Returns [N] where hair grows: from 0 over 0.5 at its border to 1."""
  area = _scalp()
  if style.bare:
    x, y, _ = anny_data.base().positions.T
    strip = regions.ramp(style.bare - np.abs(x), 4)
    area = np.minimum(area, strip * (y > _NAPE_LINE))
  return area


@functools.cache
def _scalp() -> np.ndarray:
  base = anny_data.base()
  soft = regions.scalp(base.positions, _SOFTNESS)
  return soft * (1 - base.regions['ears'])


def _shell(
  style: haircuts.Style,
  area: np.ndarray,
  shape: people_shape.Shape,
  hat: hats.Hat,
  color: np.ndarray,
) -> pieces.Piece | None:
  """The scalp's triangles, lifted: thin at the hairline, full above it."""
  comb = np.array(style.comb) + (0.0, 0.0, -0.1)
  piece = strands.shell(style.underlay, area, shape.vertices, comb, color)
  if piece is None:
    return None
  return _tucked(piece, hat)


def _straight(
  style: haircuts.Style,
  roots: strands.Roots,
  head: people_skull.Skull,
  hat: hats.Hat,
  color: np.ndarray,
  rng: np.random.Generator,
) -> pieces.Piece | None:
  """Strips of a head of straight or wavy hair."""
  count = len(roots.positions)
  layer, roll = rng.random(count), rng.normal(0, _ROLL, count)
  width = style.width * rng.uniform(0.6, 1.3, count)
  if style.hang:
    wide = slice(0, count // _WIDE_SHARE)
    layer[wide], roll[wide], width[wide] = 0, 0, style.hang
  lay = _tied if style.is_tied else _lay
  points = lay(style, roots, layer, head, rng)
  lock = rng.random(count)
  # Hair that hangs out from under a hat has its roots there.
  seen = ~hat.hides(points).all(1)
  if not seen.any():
    return None
  look = strands.Strips(width[seen], style.tip, roll[seen], lock[seen])
  piece = strands.strips(hat.tuck(points[seen]), head.centre, look, color)
  return _tucked(piece, hat)


def _curls(
  style: haircuts.Style,
  roots: strands.Roots,
  head: people_skull.Skull,
  hat: hats.Hat,
  color: np.ndarray,
  rng: np.random.Generator,
) -> pieces.Piece | None:
  """Round curls on the shell."""
  count = len(roots.positions)
  size = style.curl * rng.uniform(0.75, 1.2, count)
  lift = style.underlay + style.spread * rng.uniform(-0.6, 1, count)
  rise = strands.rise(regions.scalp(roots.base, _SOFTNESS))
  out = rise * lift - 0.3 * size
  tangents, lock = rng.normal(size=(count, 3)), rng.random(count)
  centres = roots.positions + out[:, None] * roots.normals
  seen = ~hat.hides(roots.positions) & (rise > _FIRST_CURL)
  if not seen.any():
    return None
  piece = strands.balls(
    centres[seen],
    size[seen] * (0.45 + 0.55 * rise[seen]),
    tangents[seen],
    lock[seen],
    head.centre,
    color,
  )
  return _tucked(piece, hat)


def _tucked(piece: pieces.Piece, hat: hats.Hat) -> pieces.Piece:
  vertices = hat.tuck(piece.vertices).astype(np.float32)
  return dataclasses.replace(piece, vertices=vertices)


def _tied(
  style: haircuts.Style,
  roots: strands.Roots,
  layer: np.ndarray,
  head: people_skull.Skull,
  rng: np.random.Generator,
) -> np.ndarray:
  """Returns [K, segments + 1, 3] polylines that run to the knot."""
  knot = head.centre + np.array(_KNOT) * head.half
  knot = knot + rng.normal(0, 0.03, (len(layer), 3))
  above = style.underlay + style.spread * layer
  points = [roots.positions - 0.01 * roots.normals]
  for k in range(style.segments):
    s = (k + 1) / style.segments
    at = roots.positions + s * (knot - roots.positions)
    points.append(_outside(head, at, np.minimum(1, 3 * s) * above)[0])
  return np.stack(points, 1)


def _lay(
  style: haircuts.Style,
  roots: strands.Roots,
  layer: np.ndarray,
  head: people_skull.Skull,
  rng: np.random.Generator,
) -> np.ndarray:
  """Returns [K, segments + 1, 3] polylines that stay outside the skin."""
  count = len(roots.positions)
  step = style.length / style.segments * rng.uniform(0.75, 1.1, (count, 1))
  phase = rng.uniform(0, 2 * np.pi, count)
  lowest = _CURTAIN if style.hang else _NECK
  if not style.hang:
    height = roots.positions[:, 1] - head.centre[1]
    shares = np.interp(height, _NAPE_HEIGHTS, (_NAPE_LENGTH, 1.0))
    step = step * shares[:, None]
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
    full = min(1.0, (k + 1) * style.length / style.segments / _RISE)
    above = full * (style.underlay + style.spread * layer)
    moved = _close(head, moved, above + style.stray, lowest)
    moved, pushed = _outside(head, moved, above)
    turned = pieces.unit(moved - at)
    direction = np.where(pushed[:, None], turned, direction)
    at = _off_the_face(moved, head)
    points.append(at)
  return np.stack(points, 1)


def _combed(
  style: haircuts.Style, roots: strands.Roots, head: people_skull.Skull
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


def _close(
  head: people_skull.Skull,
  points: np.ndarray,
  above: np.ndarray,
  lowest: float,
) -> np.ndarray:
  """Pulls points [K, 3] to where hair may stray at most.

  Below the direction with this share of +y, hair hangs free.
  """
  offset = points - head.centre
  length = np.linalg.norm(offset, axis=1)
  limit = head.radius(offset) + above
  limit = np.where(offset[:, 1] < lowest * length, np.inf, limit)
  shrink = np.minimum(1, limit / np.maximum(length, 1e-6))
  return head.centre + offset * shrink[:, None]


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
  centre = head.centre + (np.array(_KNOT) + (0, 0.02, -0.10)) * head.half
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
  start = head.centre + np.array(_KNOT) * head.half
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
  look = strands.Strips(
    np.full(_TAIL_STRANDS, 0.06),
    0.5,
    rng.normal(0, _ROLL, _TAIL_STRANDS),
    rng.random(_TAIL_STRANDS),
  )
  return [core, strands.strips(points, middle, look, color)]


def _hairy_tube(
  spine: np.ndarray, radius: np.ndarray, color: np.ndarray
) -> pieces.Piece:
  sides = 12
  vertices, triangles = solids.tube(spine, radius, sides)
  extras = np.zeros((len(vertices), pieces.NUM_EXTRAS), np.float32)
  extras[:, :3] = np.tile(np.gradient(spine, axis=0), (sides, 1))
  extras[:, 3], extras[:, 4] = 0.6, 0.3
  return pieces.make(vertices, triangles, pieces.HAIR, color, extras=extras)
