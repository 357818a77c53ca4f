"""Hats.

Owns their shapes, how they sit, and how they hold hair: whatever grows under a
hat stays inside it.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

from mmdist.heads import palettes
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import pieces
from mmdist.heads.people import skin as people_skin
from mmdist.heads.people import skull as people_skull
from mmdist.heads.people import solids

# (radius, height) from the top down along the outside, then in under the brim.
# A radius of 1 is the head's where the hat sits, a height of 1 is from the
# eyes to the crown.
_PROFILES = {
  'hat': (
    (0.0, 0.60), (0.25, 0.61), (0.45, 0.66), (0.70, 0.64), (0.88, 0.50),
    (0.97, 0.25), (1.0, 0.07), (1.06, 0.02), (1.5, 0.02), (1.54, 0.05),
    (1.5, -0.02), (1.02, -0.05),
  ),
  'top hat': (
    (0.0, 0.93), (0.93, 0.93), (0.99, 0.90), (0.96, 0.30), (0.99, 0.06),
    (1.05, 0.02), (1.42, 0.05), (1.45, 0.02), (1.42, -0.02), (1.02, -0.05),
  ),
  'beanie': (
    (0.0, 0.66), (0.3, 0.645), (0.55, 0.58), (0.82, 0.42), (0.98, 0.2),
    (1.04, 0.06), (1.05, 0.03), (1.12, 0.02), (1.13, -0.08), (1.12, -0.17),
    (1.05, -0.19), (1.0, -0.1),
  ),
  'wizard hat': (
    (0.0, 1.05), (0.07, 0.99), (0.30, 0.82), (0.62, 0.56), (0.88, 0.28),
    (0.99, 0.08), (1.05, 0.02), (1.55, -0.04), (1.58, -0.07), (1.53, -0.09),
    (1.02, -0.06),
  ),
  'cap': (
    (0.0, 0.62), (0.25, 0.61), (0.5, 0.56), (0.8, 0.40), (0.97, 0.15),
    (1.03, -0.06), (1.0, -0.08),
  ),
}  # fmt: skip
_TILT, _CROWN_TILT = -0.14, -0.06
_BALD_ROOM, _HAIR_ROOM = 1.06, 1.13
# Hair keeps this share of the room inside a hat, above this height in it.
_INSIDE, _RIM = 0.93, -0.06
# Roots above this height are not seen.
_HIDDEN = 0.12
_CROWN_TOP = 0.5
_SEGMENTS = 48


@dataclasses.dataclass(frozen=True)
class Hat:
  """A hat on a head, or none.

  Attributes:
    parts: its pieces.
    wall: [K, 2] (height, radius) of the room inside, in the hat's own frame,
      by increasing height; empty for no hat.
    to_hat: [3, 4] from the world to that frame, in which the line where the
      hat sits is the unit circle.
    is_closed: whether it covers the crown of the head.
    top: height of the room in its middle, for a closed hat.
  """

  parts: list[pieces.Piece]
  wall: np.ndarray
  to_hat: np.ndarray
  is_closed: bool
  top: float = 0.0

  def hides(self, points: np.ndarray) -> np.ndarray:
    """Returns [...] whether points [..., 3] of hair are hidden under it."""
    if not self.is_closed:
      return np.zeros(points.shape[:-1], bool)
    return self._local(points)[..., 1] > _HIDDEN

  def tuck(self, points: np.ndarray) -> np.ndarray:
    """Returns points [..., 3] moved inside the hat where they are in it."""
    if not len(self.wall):
      return points
    local = self._local(points)
    if self.is_closed:
      local[..., 1] = np.minimum(local[..., 1], _INSIDE * self.top)
    height = local[..., 1]
    room = _INSIDE * np.interp(height, self.wall[:, 0], self.wall[:, 1])
    radius = np.hypot(local[..., 0], local[..., 2])
    held = height > _RIM
    if not self.is_closed:
      held &= height < self.wall[-1, 0]
    shrink = np.where(held, np.minimum(1, room / np.maximum(radius, 1e-6)), 1)
    local[..., 0] *= shrink
    local[..., 2] *= shrink
    rotation = np.linalg.inv(self.to_hat[:, :3])
    return (local - self.to_hat[:, 3]) @ rotation.T

  def _local(self, points: np.ndarray) -> np.ndarray:
    return points @ self.to_hat[:, :3].T + self.to_hat[:, 3]


def fit(
  attributes: people_attributes.Attributes,
  head: people_skull.Skull,
  rng: np.random.Generator,
) -> Hat:
  """Puts a person's hat on."""
  stretch, brightness = rng.uniform(0.92, 1.0), rng.uniform(0.85, 1.1)
  hat = attributes.hat
  if not hat:
    return Hat([], np.zeros((0, 2)), np.zeros((3, 4)), False)
  color = brightness * people_skin.to_linear(
    palettes.OBJECT_COLORS[attributes.hat_color]
  )
  room = _BALD_ROOM if attributes.hair_style == 'bald' else _HAIR_ROOM
  tilt = _CROWN_TILT if hat == 'crown' else _TILT
  rotation = _rotation(tilt) * np.array(
    [head.width * room, head.half, head.depth * room]
  )

  def place(points: np.ndarray) -> np.ndarray:
    return points @ rotation.T + head.hat

  inverse = np.linalg.inv(rotation)
  to_hat = np.column_stack([inverse, -inverse @ head.hat])
  if hat == 'crown':
    wall = np.array([[_RIM, 1.0], [_CROWN_TOP, 1.06]])
    return Hat([_crown(place, stretch, color)], wall, to_hat, False)
  profile = np.array(_PROFILES[hat]) * (1, stretch)
  parts = [_cloth(solids.revolve(profile, _SEGMENTS), place, color)]
  if hat in ('hat', 'top hat'):
    ribbon = [(1.0, 0.22), (1.025, 0.21), (1.045, 0.05), (1.02, 0.04)]
    parts.append(
      _cloth(solids.revolve(ribbon, _SEGMENTS), place, _ribbon_color(color))
    )
  if hat == 'cap':
    parts.append(_cloth(_visor(), place, color * 0.85))
  if hat == 'beanie':
    top = place(np.array([[0, profile[0, 1] + 0.07, -0.02]]))[0]
    pompom = solids.ball(top, 0.11 * head.half / 0.66)
    parts.append(pieces.make(*pompom, pieces.CLOTH, np.minimum(1.2 * color, 1)))
  return Hat(parts, _wall(profile), to_hat, True, float(profile[0, 1]))


def _wall(profile: np.ndarray) -> np.ndarray:
  """Returns (height, radius) of the outside above the brim, upwards."""
  widest = int(np.argmax(profile[:, 0] >= 0.95))
  above = profile[: widest + 1][::-1]
  order = above[:, 1].argsort(kind='stable')
  wall = above[order][:, ::-1]
  return np.concatenate([[[_RIM, 1.0], [0.0, 1.0]], wall])


def _rotation(angle: float) -> np.ndarray:
  cos, sin = np.cos(angle), np.sin(angle)
  return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _cloth(
  solid: solids.Solid,
  place: Callable[[np.ndarray], np.ndarray],
  color: np.ndarray,
) -> pieces.Piece:
  vertices, triangles = solid
  return pieces.make(place(vertices), triangles, pieces.CLOTH, color)


def _ribbon_color(color: np.ndarray) -> np.ndarray:
  dark = float(color.max()) < 0.05
  return np.array([0.35, 0.02, 0.02]) if dark else 0.2 * color


def _visor() -> solids.Solid:
  """A cap's visor: an arc that bends down at its sides."""
  profile = (
    (0.97, -0.02),
    (1.35, -0.05),
    (1.62, -0.10),
    (1.35, -0.08),
    (0.97, -0.06),
  )
  vertices, triangles = solids.revolve(profile, 18, (-1.05, 1.05))
  angle = np.arctan2(vertices[:, 0], vertices[:, 2])
  reach = np.hypot(vertices[:, 0], vertices[:, 2])
  vertices[:, 2] -= 0.35 * (1 - np.cos(angle)) * reach
  vertices[:, 1] -= 0.10 * angle**2 * (reach - 0.95)
  return vertices, triangles


def _crown(
  place: Callable[[np.ndarray], np.ndarray], stretch: float, color: np.ndarray
) -> pieces.Piece:
  """A band with eight points."""
  count = 64
  angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
  tooth = np.abs((np.arange(count) % 8) - 4) / 4.0
  high = (0.20 + 0.26 * tooth) * stretch
  rings = (
    (1.0, 0 * angle - 0.03),
    (1.08, high),
    (1.13, high),
    (1.05, 0 * angle - 0.03),
  )
  vertices = np.stack(
    [
      np.stack([k * np.sin(angle), height, k * np.cos(angle)], 1)
      for k, height in rings
    ],
    1,
  )
  triangles = solids.grid(len(rings), count, True)
  vertices = place(vertices.reshape(-1, 3))
  return pieces.make(vertices, triangles, pieces.HARD, color)
