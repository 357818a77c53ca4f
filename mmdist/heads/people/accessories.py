"""What a head wears besides a hat: glasses, headphones, horns, a red nose.

Owns their shapes and where they sit. Eyes and nose are found on the face
without an expression, but the nose, which moves with a sneer, on the moved
one.
"""

import numpy as np

from mmdist.heads import palettes
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import pieces
from mmdist.heads.people import shape as people_shape
from mmdist.heads.people import skin as people_skin
from mmdist.heads.people import skull as people_skull
from mmdist.heads.people import solids

_FRAME = (0.012, 0.012, 0.014)
_DARK_GLASS = (0.015, 0.015, 0.02)
_BONE = (0.40, 0.30, 0.19)
_RED = (0.62, 0.01, 0.01)
# How far hair holds headphones off the ears and the crown.
_EARS_OFF = {'long': 0.16, 'bob': 0.16, 'afro': 0.14, 'curly': 0.07}
_CROWN_OFF = {'afro': 0.13}
_NOSE_TIP = (0.0, 6.93, 1.68)


def make(
  attributes: people_attributes.Attributes,
  shape: people_shape.Shape,
  head: people_skull.Skull,
  rng: np.random.Generator,
) -> list[pieces.Piece]:
  """Returns the pieces of what a person wears."""
  size, shade = rng.uniform(0.92, 1.08), rng.uniform(0.85, 1.15)
  parts: list[pieces.Piece] = []
  if attributes.horns:
    parts += _horns(head, size, shade)
  if attributes.glasses:
    parts += _glasses(shape, head, size, attributes.glasses == 'sunglasses')
  if attributes.headphones:
    parts += _headphones(attributes, head, shade)
  if attributes.red_nose:
    tip = shape.vertices[people_shape.landmark(_NOSE_TIP)]
    ball = solids.ball(tip + (0, 0, -0.01), 0.105 * size)
    parts.append(pieces.make(*ball, pieces.HARD, _RED))
  return parts


def _horns(
  head: people_skull.Skull, size: float, shade: float
) -> list[pieces.Piece]:
  parts = []
  s = np.linspace(0, 1, 16)
  for side in (-1, 1):
    x = side * head.width * (0.52 + 0.40 * s - 0.40 * s**3)
    y = head.hat[1] + head.half * (0.18 + 0.80 * size * s)
    z = head.hat[2] + head.depth * (0.30 - 0.15 * s)
    points = np.stack([x, y, z], 1)
    radius = 0.125 * (1 - s) ** 0.8 + 0.004
    rings = 1 + 0.05 * np.cos(40 * s)
    horn = solids.tube(points, radius * rings, 12)
    parts.append(pieces.make(*horn, pieces.HARD, shade * np.array(_BONE)))
  return parts


def _glasses(
  shape: people_shape.Shape,
  head: people_skull.Skull,
  size: float,
  is_dark: bool,
) -> list[pieces.Piece]:
  angle = np.linspace(0, 2 * np.pi, 33)
  front = shape.neutral[people_shape.landmark((0.0, 7.24, 1.52)), 2]
  frame, glass = [], []
  for eye, side in zip(head.eyes, (-1, 1)):
    middle = np.array([eye[0] + 0.012 * side, eye[1] - 0.015, front + 0.035])
    wide, high = 0.150 * size, 0.118 * size
    ring = middle + np.stack(
      [
        wide * _square(np.cos(angle)),
        high * _square(np.sin(angle)),
        # Lenses bend back towards the temples.
        -0.25 * wide * (1 + side * _square(np.cos(angle))),
      ],
      1,
    )
    frame.append(solids.tube(ring, 0.016))
    hinge = middle + np.array([side * wide, 0.03, -0.5 * wide])
    ear = np.array([side * head.ears, eye[1] + 0.03, head.centre[2] - 0.12])
    frame.append(solids.tube(np.linspace(hinge, ear, 8), 0.014))
    glass.append(_fan(ring, middle))
  inner = abs(head.eyes[0, 0]) - 0.012 - 0.150 * size
  s = np.linspace(-1, 1, 7)
  bridge = np.stack(
    [1.1 * inner * s, eye[1] + 0.03 - 0.02 * s**2, front + 0.03 + 0 * s], 1
  )
  frame.append(solids.tube(bridge, 0.014))
  parts = [pieces.make(*solids.join(frame), pieces.HARD, _FRAME)]
  if is_dark:
    parts.append(pieces.make(*solids.join(glass), pieces.HARD, _DARK_GLASS))
  return parts


def _square(value: np.ndarray) -> np.ndarray:
  """Makes a circle's coordinates those of a rounded rectangle."""
  return np.sign(value) * np.abs(value) ** 0.8


def _fan(ring: np.ndarray, middle: np.ndarray) -> solids.Solid:
  count = len(ring)
  bulge = ring.mean(0) + np.array([0, 0, 0.02])
  vertices = np.concatenate([ring, bulge[None]])
  i = np.arange(count - 1)
  return vertices, np.stack([i, i + 1, np.full(count - 1, count)], 1)


def _headphones(
  attributes: people_attributes.Attributes,
  head: people_skull.Skull,
  shade: float,
) -> list[pieces.Piece]:
  color = shade * people_skin.to_linear(
    palettes.OBJECT_COLORS[attributes.headphone_color]
  )
  hair = attributes.hair_style
  ears = head.ears + _EARS_OFF.get(hair, 0.04)
  level = float(head.eyes[:, 1].mean()) - 0.04
  angle = np.linspace(0, np.pi, 28)
  top = people_shape.CROWN + _CROWN_OFF.get(hair, 0.075) - level
  arch = np.stack(
    [
      ears * np.cos(angle),
      level + top * np.sin(angle) ** 0.8,
      head.centre[2] - 0.02 + 0 * angle,
    ],
    1,
  )
  parts = [pieces.make(*solids.tube(arch, 0.045, 10), pieces.HARD, color)]
  for side in (-1, 1):
    centre = np.array([side * ears, level - 0.02, head.centre[2] + 0.0])
    cup = solids.ball(centre, (0.10, 0.19, 0.17))
    parts.append(pieces.make(*cup, pieces.HARD, color))
    pad = solids.ball(centre - (side * 0.05, 0, 0), (0.08, 0.17, 0.15))
    parts.append(pieces.make(*pad, pieces.CLOTH, (0.02, 0.02, 0.02)))
  return parts
