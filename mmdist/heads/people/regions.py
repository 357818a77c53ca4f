"""Where on a body things grow, are painted or worn.

Owns the regions: functions of positions on the base mesh (decimetres), so that
they follow the skin wherever a shape or an expression takes it. All return how
much a point belongs to the region, in [0, 1], for positions [..., 3].
"""

import numpy as np

# The mouth, the nose and the eyes of the base mesh.
MOUTH = (0.0, 6.65, 1.55)
NOSE = (0.0, 6.96, 1.67)
EYES = ((-0.31, 7.285, 1.25), (0.31, 7.285, 1.25))
# (z, y) of the hairline, from the nape to above the forehead.
_HAIRLINE = (
  (-0.9, 0.05, 0.25, 0.45, 0.75, 0.95, 1.3),
  (6.75, 6.8, 7.1, 7.42, 7.75, 7.98, 8.04),
)
# (|x|, y) of a beard's upper edge, from the lip to the sideburns.
_BEARD_TOP = (
  (0.0, 0.22, 0.34, 0.5, 0.66, 0.76),
  (6.55, 6.6, 6.7, 6.72, 6.9, 7.2),
)
_LOWEST_BEARD = 6.06


def ramp(value: np.ndarray, slope: float) -> np.ndarray:
  """Returns 0 below, 1 above and 0.5 at zero."""
  return np.clip(value * slope + 0.5, 0, 1)


def spot(
  positions: np.ndarray,
  centre: tuple[float, float, float],
  size: tuple[float, float, float],
) -> np.ndarray:
  """Returns a soft ellipsoid, 1 in its middle."""
  scaled = (positions - np.array(centre, np.float32)) / np.array(
    size, np.float32
  )
  return np.exp(-np.einsum('...c,...c->...', scaled, scaled))


def scalp(positions: np.ndarray, softness: float = 1.0) -> np.ndarray:
  """Where hair grows; `softness` widens the edge."""
  x, y, z = np.moveaxis(positions, -1, 0)
  line = np.interp(z, *_HAIRLINE).astype(np.float32)
  line = line + 0.05 * np.cos(np.clip(x, -0.6, 0.6) * 7) * (z > 0.8)
  return ramp(y - line, 14 / softness) * (np.abs(x) < 0.86)


def beard(positions: np.ndarray) -> np.ndarray:
  """Jaw, chin and upper lip."""
  return np.maximum(jaw(positions), moustache(positions))


def jaw(positions: np.ndarray) -> np.ndarray:
  """Jaw and chin, up to the sideburns."""
  x, y, z = np.moveaxis(positions, -1, 0)
  top = np.interp(np.abs(x), *_BEARD_TOP).astype(np.float32)
  return ramp(top - y, 12) * ramp(z - 0.5, 9) * ramp(y - _LOWEST_BEARD, 9)


def goatee(positions: np.ndarray) -> np.ndarray:
  """Chin and upper lip, joined beside the mouth."""
  x, y, z = np.moveaxis(positions, -1, 0)
  chin = ramp(6.5 - y, 14) * ramp(0.24 - np.abs(x), 12) * ramp(z - 1.0, 9)
  beside = ramp(6.72 - y, 14) * ramp(0.36 - np.abs(x), 18)
  beside = beside * ramp(np.abs(x) - 0.26, 18) * ramp(z - 1.0, 9)
  low = ramp(y - _LOWEST_BEARD, 9)
  return np.maximum(np.maximum(chin, beside) * low, moustache(positions))


def moustache(positions: np.ndarray) -> np.ndarray:
  """Between nose and upper lip, and a little beyond its corners."""
  x, y, z = np.moveaxis(positions, -1, 0)
  droop = 0.12 * np.clip(np.abs(x) - 0.16, 0, 1)
  low, high = 6.705 - droop, 6.86 - 1.2 * droop
  inside = ramp(y - low, 24) * ramp(high - y, 24)
  return inside * ramp(0.36 - np.abs(x), 14) * (z > 1.1)


def brows(positions: np.ndarray, thickness: float) -> np.ndarray:
  """Both brows, `thickness` from 0 to 1."""
  x, y, z = np.moveaxis(positions, -1, 0)
  x = np.abs(x)
  along = np.clip((x - 0.1) / 0.5, 0, 1)
  middle = 7.555 + 0.042 * np.sin(along * 2.9)
  width = (0.034 + 0.034 * thickness) * (1.1 - 0.5 * along)
  ends = ramp(x - 0.1, 25) * ramp(0.57 - x, 12)
  return np.exp(-(((y - middle) / width) ** 4)) * ends * (z > 0.7)


def shirt(positions: np.ndarray) -> np.ndarray:
  """What a shirt with a round neck covers."""
  x, y, z = np.moveaxis(positions, -1, 0)
  neck = 5.78 + 0.40 * np.clip(-z - 0.1, 0, 1) + 0.20 * np.abs(x)
  neck = neck - 0.45 * np.clip(z, 0, 1)
  return ramp(neck - y, 18)
