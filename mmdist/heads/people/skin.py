"""Skin and what is painted on it.

Owns its colour at every point: tone, lips, blush, freckles, wrinkles, brows,
the shadow of a beard, the scalp under hair, and the shirt. It is a function of
the position on the base mesh and is evaluated where a ray hits, so it is sharp
at any resolution and costs nothing where nobody looks. Colours are linear.
"""

import dataclasses
import functools

import numpy as np
from numpy import typing as npt

from mmdist.heads import palettes
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import regions

_TILE = 256
# Tiles of noise per decimetre of the base mesh.
_MOTTLING, _PORES, _FRECKLES, _GRAIN = 0.45, 2.2, 1.1, 3.0
_FRECKLE_LEVEL = 0.955
_MOUTH_INSIDE = np.array([0.20, 0.035, 0.03], np.float32)
_LOWEST_SCALP = 6.6
# The axis of the head, and about how long the way around it is, decimetres.
_AXIS, _AROUND = 0.45, 5.0


@dataclasses.dataclass(frozen=True)
class Skin:
  """How a person's skin is painted.

  Attributes:
    tone: [3] float32 linear albedo.
    blush: [3] float32 by which cheeks, nose and ears differ.
    lips, brows, hair, shirt: [3] float32 linear albedo.
    brow_thickness: 0 to 1.
    scalp, beard, moustache, goatee, stubble: how much hair's colour covers
      the skin there.
    freckles, wrinkles: how much, 0 to 1.
    makeup: how dark the lids are.
    offset: [2] where the noise begins.
  """

  tone: np.ndarray
  blush: np.ndarray
  lips: np.ndarray
  brows: np.ndarray
  hair: np.ndarray
  shirt: np.ndarray
  brow_thickness: float
  scalp: float
  beard: float
  moustache: float
  goatee: float
  stubble: float
  freckles: float
  wrinkles: float
  makeup: float
  offset: np.ndarray


def to_linear(color: npt.ArrayLike) -> np.ndarray:
  """Turns sRGB in [0, 1] into linear light."""
  color = np.asarray(color, np.float32)
  return np.where(
    color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4
  )


def make(
  attributes: people_attributes.Attributes, rng: np.random.Generator
) -> Skin:
  """Draws what words leave open."""
  brightness, tint = rng.uniform(0.78, 0.93), rng.uniform(0.97, 1.03, 3)
  redness, thickness = rng.uniform(0, 1), rng.uniform(0, 1)
  offset = rng.random(2).astype(np.float32)
  hair_brightness, shirt_brightness = rng.uniform(0.85, 1.15, 2)
  painted = rng.random()
  natural = attributes.skin in palettes.NATURAL_SKINS
  male = attributes.kind not in people_attributes.FEMALE
  adult = attributes.kind in people_attributes.ADULTS
  thick = 0.5 if male else 0.1
  tone = to_linear(palettes.SKINS[attributes.skin])
  tone = tone * brightness * tint
  hair = to_linear(palettes.HAIR_COLORS[attributes.hair_color])
  shirt = to_linear(palettes.OBJECT_COLORS[attributes.shirt_color])
  beard = attributes.beard
  return Skin(
    tone=tone.astype(np.float32),
    blush=np.array(
      [1.02, 0.70, 0.68] if natural else [0.95, 0.86, 0.86], np.float32
    ),
    lips=_lips(attributes, tone, redness, painted),
    brows=_brows(hair, tone),
    hair=(hair * hair_brightness * 0.8).astype(np.float32),
    shirt=(shirt * shirt_brightness).astype(np.float32),
    brow_thickness=(thick + 0.45 * thickness) * (1.0 if adult else 0.6),
    scalp={'bald': 0.05, 'mohawk': 0.25}.get(attributes.hair_style, 0.9),
    beard=0.75 * (beard in ('beard', 'long beard')),
    moustache=0.75 * (beard == 'moustache'),
    goatee=0.75 * (beard == 'goatee'),
    stubble=0.55 * (beard == 'stubble'),
    freckles=float(attributes.freckles),
    wrinkles=float(attributes.age == 'old') * (0.6 + 0.4 * redness),
    makeup=0.35 * painted * (adult and not male),
    offset=offset,
  )


def _lips(
  attributes: people_attributes.Attributes,
  tone: np.ndarray,
  redness: float,
  painted: float,
) -> np.ndarray:
  """Lips are redder than the skin, whatever its colour."""
  if attributes.name in ('joker', 'clown'):
    return np.array([0.50, 0.01, 0.01], np.float32)
  depth = 0.55 + 0.2 * redness
  lips = tone * np.array([0.88, 0.42, 0.44]) / (0.4 + depth)
  if attributes.skin not in palettes.NATURAL_SKINS:
    lips = 0.6 * tone * np.array([1.0, 0.55, 0.55]) + (0.07, 0.01, 0.015)
  elif attributes.kind == 'woman':
    red = np.array([0.42, 0.05, 0.07]) * (0.5 + 0.5 * tone.max())
    lips = lips + 0.75 * painted * (red - lips)
  return lips.astype(np.float32)


def _brows(hair: np.ndarray, tone: np.ndarray) -> np.ndarray:
  """Brows are the hair's colour, and darker than the skin, to be read."""
  darkest = 0.26 * float(tone.mean())
  brows = hair * min(1.0, darkest / max(float(hair.mean()), 1e-3))
  return brows.astype(np.float32)


def albedo(
  skin: Skin, positions: np.ndarray, lips: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Paints points.

  Args:
    skin: whose.
    positions: [M, 3] on the base mesh, decimetres.
    lips: [M] how much a point belongs to the lips.
    inside: [M] how much it belongs to the inside of the mouth.

  Returns:
    ([M, 3] linear albedo, [M] how much of it is cloth, [M] how wet it is).
  """
  color = np.empty(positions.shape, np.float32)
  cloth = np.zeros(len(positions), np.float32)
  lips = np.clip(lips * 1.3 - 0.1, 0, 1) * (1 - inside)
  low = positions[:, 1] < 6.0
  head = ~low
  color[head] = _head(skin, positions[head], lips[head])
  body = positions[low]
  cloth[low] = regions.shirt(body)
  color[low] = _mix(_mottled(skin, body), skin.shirt, cloth[low])
  color = _mix(color, _MOUTH_INSIDE, inside)
  return color, cloth, np.maximum(lips, inside)


def _head(skin: Skin, positions: np.ndarray, lips: np.ndarray) -> np.ndarray:
  color = _mottled(skin, positions)
  front = positions[:, 2] > 0.75
  color[front] = _face(skin, positions[front], color[front])
  color = _mix(color, skin.lips, 0.92 * lips)
  grain = 0.75 + 0.5 * _noise(skin, positions, _GRAIN)
  hairs = skin.hair * grain[:, None]
  high = positions[:, 1] > _LOWEST_SCALP
  amount = skin.scalp * regions.scalp(positions[high])
  color[high] = _mix(color[high], hairs[high], amount)
  for cover, region in (
    (skin.beard, regions.beard),
    (skin.moustache, regions.moustache),
    (skin.goatee, regions.goatee),
  ):
    if cover:
      color = _mix(color, hairs, cover * region(positions) * (1 - lips))
  if skin.stubble:
    dark = np.minimum(skin.hair, skin.tone * 0.5)
    amount = skin.stubble * regions.beard(positions) * (1 - lips)
    color = _mix(color, dark, amount * (0.7 + 0.5 * (grain - 0.5)))
  return color


def _mottled(skin: Skin, positions: np.ndarray) -> np.ndarray:
  coarse = _noise(skin, positions, _MOTTLING) - 0.5
  fine = _noise(skin, positions, _PORES) - 0.5
  return skin.tone * (1 + 0.12 * coarse + 0.07 * fine)[:, None]


def _face(skin: Skin, positions: np.ndarray, color: np.ndarray) -> np.ndarray:
  """Blush, lids, freckles, wrinkles and brows of points in front."""
  mirrored = positions.copy()
  mirrored[:, 0] = np.abs(mirrored[:, 0])
  nose = regions.spot(mirrored, regions.NOSE, (0.22, 0.16, 0.3))
  cheek = regions.spot(mirrored, (0.50, 6.92, 1.25), (0.27, 0.20, 0.4))
  blush = np.clip(0.45 * nose + 0.55 * cheek, 0, 1)
  color = color * (1 + (skin.blush - 1) * blush[:, None])
  eye = regions.spot(mirrored, (0.31, 7.27, 1.36), (0.25, 0.12, 0.35))
  color = color * (1 - (0.22 + skin.makeup) * eye[:, None])
  if skin.freckles:
    where = nose + regions.spot(mirrored, (0.42, 6.98, 1.3), (0.32, 0.22, 0.4))
    spots = regions.ramp(
      _noise(skin, positions, _FRECKLES, sharp=True) - _FRECKLE_LEVEL, 12
    )
    amount = 0.75 * skin.freckles * spots * np.clip(1.4 * where, 0, 1)
    color = _mix(
      color, skin.tone * np.array([0.52, 0.34, 0.25], np.float32), amount
    )
  if skin.wrinkles:
    amount = skin.wrinkles * _wrinkles(skin, mirrored)
    color = color * (
      1 - amount[:, None] * np.array([0.35, 0.45, 0.45], np.float32)
    )
  hairs = 0.8 + 0.4 * _noise(
    skin, positions * np.array([1, 0.35, 1], np.float32), _GRAIN
  )
  brows = regions.brows(positions, skin.brow_thickness)
  return _mix(color, skin.brows * hairs[:, None], 0.96 * brows)


def _wrinkles(skin: Skin, mirrored: np.ndarray) -> np.ndarray:
  """Lines of the forehead, beside the eyes and from nose to mouth."""
  x, y, z = mirrored.T
  bent = y + 0.06 * _noise(skin, mirrored, _MOTTLING) + 0.03 * np.cos(x * 5)
  lines = np.clip(np.cos(bent * 52), 0, 1) ** 3
  forehead = lines * regions.ramp(y - 7.68, 9) * regions.ramp(7.97 - y, 9)
  angle = np.arctan2(y - 7.27, x - 0.3)
  feet = np.clip(np.cos(angle * 11 + 1), 0, 1) ** 2
  feet = feet * regions.spot(mirrored, (0.56, 7.26, 1.2), (0.08, 0.14, 0.3))
  fold = np.exp(-(((x - 0.21 - 0.55 * (6.93 - y)) / 0.022) ** 2))
  fold = fold * regions.ramp(6.95 - y, 12) * regions.ramp(y - 6.66, 12)
  return np.clip(0.7 * forehead + 0.9 * feet + 0.8 * fold, 0, 1) * (z > 0.8)


def _mix(
  color: np.ndarray, other: np.ndarray, amount: np.ndarray
) -> np.ndarray:
  return color + (other - color) * amount[:, None]


def _noise(
  skin: Skin, positions: np.ndarray, frequency: float, sharp: bool = False
) -> np.ndarray:
  """Returns [M] noise in [0, 1] on the surface, of texels of 1 / 256."""
  x, y, z = positions.T
  z = z - np.float32(_AXIS)
  # Around the head and along its profile: nowhere are both at rest.
  turns = max(1, round(_AROUND * frequency)) * _TILE / (2 * np.pi)
  u = np.arctan2(x, z) * np.float32(turns)
  v = (y - np.hypot(x, z)) * np.float32(frequency * _TILE)
  i = (u + _TILE * (skin.offset[0] + 8)).astype(np.int32) % _TILE
  j = (v + _TILE * (skin.offset[1] + 64)).astype(np.int32) % _TILE
  return _tile(sharp)[j, i]


@functools.cache
def _tile(sharp: bool) -> np.ndarray:
  """Returns a tile of noise, ranked to be even in [0, 1]."""
  rng = np.random.default_rng(7)
  white = np.fft.rfft2(rng.normal(size=(_TILE, _TILE)))
  fy, fx = np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None]
  size = 0.09 if sharp else 0.05
  smooth = np.fft.irfft2(white * np.exp(-(fx**2 + fy**2) / size**2))
  ranks = smooth.ravel().argsort().argsort().reshape(smooth.shape)
  return (ranks / ranks.size).astype(np.float32)
