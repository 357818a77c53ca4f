"""Measures of a head that hair and wear are fitted to.

Owns how far the skin is from the middle of the head in every direction, and
the lines that hats, glasses and headphones follow. All in the world, of the
face without an expression, so that siblings wear the same thing.
"""

import dataclasses
import functools

import numpy as np

from mmdist.heads.people import anny_data
from mmdist.heads.people import pieces
from mmdist.heads.people import rays
from mmdist.heads.people import shape as people_shape

# Directions of the map: from the top down, and around from the back.
_ROWS, _COLUMNS = 40, 80
_OUTSIDE = 3.0


@dataclasses.dataclass(frozen=True)
class Skull:
  """Measures of one head.

  Attributes:
    centre: [3] the middle of the head.
    radii: [40, 80] from the centre to the skin, by direction.
    eyes: [2, 3] middles of the eyeballs, the one at -x first.
    half: from the eyes to the crown.
    hat: [3] middle of the line where a hat sits.
    width, depth: half axes of that line.
    ears: how far the middle of the ears is from the plane of symmetry.
  """

  centre: np.ndarray
  radii: np.ndarray
  eyes: np.ndarray
  half: float
  hat: np.ndarray
  width: float
  depth: float
  ears: float

  def radius(self, offsets: np.ndarray) -> np.ndarray:
    """Returns [N] how far the skin is towards offsets [N, 3] of the centre."""
    length = np.linalg.norm(offsets, axis=1) + 1e-9
    row = np.arccos(np.clip(offsets[:, 1] / length, -1, 1)) / np.pi * _ROWS
    turn = np.arctan2(offsets[:, 0], offsets[:, 2]) + np.pi
    column = turn / (2 * np.pi) * _COLUMNS - 0.5
    row = np.clip(row - 0.5, 0, _ROWS - 1.001)
    i, j = np.floor(row).astype(int), np.floor(column).astype(int)
    down, right = row - i, column - j
    j, k = j % _COLUMNS, (j + 1) % _COLUMNS
    upper = self.radii[i, j] * (1 - right) + self.radii[i, k] * right
    lower = self.radii[i + 1, j] * (1 - right) + self.radii[i + 1, k] * right
    return upper * (1 - down) + lower * down


def measure(shape: people_shape.Shape) -> Skull:
  """Measures a head."""
  base = anny_data.base()
  skin = shape.neutral
  eyes = np.stack(
    [skin[base.used(f'{side} eye')].mean(0) for side in ('right', 'left')]
  )
  eyes = eyes[eyes[:, 0].argsort()]
  level = float(eyes[:, 1].mean())
  half = people_shape.CROWN - level
  line = level + 0.46 * half
  scene = rays.Scene(skin, base.parts['skin'])
  ring = _ring(scene, line)
  middle = (ring[:, 2].max() + ring[:, 2].min()) / 2
  centre = np.array([0.0, level + 0.28 * half, middle - 0.03], np.float32)
  ears = skin[base.regions['ears'] > 0.5]
  return Skull(
    centre,
    _radii(scene, centre),
    eyes,
    half,
    np.array([0.0, line, middle]),
    float(np.abs(ring[:, 0]).max()),
    float(ring[:, 2].max() - ring[:, 2].min()) / 2,
    float(np.abs(ears[:, 0]).mean()),
  )


def _ring(scene: rays.Scene, height: float) -> np.ndarray:
  """Returns [64, 3] points of the skin at a height."""
  angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
  outward = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1)
  middle = np.array([0.0, height, -0.1])
  origins = middle + _OUTSIDE * outward
  hit, far, _ = scene.intersect(origins, -outward)
  return (origins - outward * far[:, None])[hit >= 0]


def _radii(scene: rays.Scene, centre: np.ndarray) -> np.ndarray:
  outward = _map_directions()
  origins = centre + _OUTSIDE * outward
  hit, far, _ = scene.intersect(origins, -outward)
  radii = np.where(hit >= 0, _OUTSIDE - far, 0.0)
  return radii.reshape(_ROWS, _COLUMNS)


@functools.cache
def _map_directions() -> np.ndarray:
  polar = (np.arange(_ROWS)[:, None] + 0.5) / _ROWS * np.pi
  turn = (np.arange(_COLUMNS)[None] + 0.5) / _COLUMNS * 2 * np.pi - np.pi
  return pieces.unit(
    np.stack(
      [
        np.sin(polar) * np.sin(turn),
        np.cos(polar) + 0 * turn,
        np.sin(polar) * np.cos(turn),
      ],
      -1,
    ).reshape(-1, 3)
  )
