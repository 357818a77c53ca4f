"""Light set-ups, as a photographer would vary them.

Owns which exist. Light is drawn per head, so that no network can take shading
for colour: the same skin is seen under lamps from the left, the right, above,
warm and cool. All are mild: no face is half black.
"""

import dataclasses

import numpy as np

from mmdist.heads.people import pieces

# (azimuth, elevation) of the key light in radians, key, fill and rim light,
# sky. The key stands on one side or the other.
_SET_UPS = (
  (0.55, 0.60, 0.85, 0.30, 0.20, 0.46),  # A window aside.
  (0.10, 0.75, 0.80, 0.22, 0.15, 0.52),  # A lamp above the camera.
  (0.95, 0.45, 0.90, 0.38, 0.30, 0.40),  # From the side, with a reflector.
  (0.35, 0.35, 0.55, 0.45, 0.10, 0.62),  # An overcast day.
)
_WARMTH = 0.07


@dataclasses.dataclass(frozen=True)
class Lights:
  """Lamps at infinity, and a sky.

  Attributes:
    directions: [L, 3] float32 unit, towards the lamps; the first is the key.
    colors: [L, 3] float32 linear.
    sky: [3] float32 linear light from everywhere.
  """

  directions: np.ndarray
  colors: np.ndarray
  sky: np.ndarray


def draw(rng: np.random.Generator) -> Lights:
  """Draws a set-up."""
  azimuth, elevation, key, fill, rim, sky = _SET_UPS[
    rng.integers(len(_SET_UPS))
  ]
  side = 1 if rng.random() < 0.5 else -1
  azimuth = side * azimuth + rng.normal(0, 0.12)
  elevation = elevation + rng.normal(0, 0.08)
  warmth = rng.uniform(-_WARMTH, _WARMTH)
  strength = rng.uniform(0.82, 0.95)
  directions = np.stack(
    [
      _direction(azimuth, elevation),
      _direction(azimuth - side * 1.5, 0.15),
      _direction(azimuth + np.pi, 0.5),
    ]
  )
  warm = np.array([1 + warmth, 1.0, 1 - warmth])
  colors = np.stack([key * warm, fill / warm, rim * np.ones(3)]) * strength
  return Lights(
    directions.astype(np.float32),
    colors.astype(np.float32),
    (sky * strength / warm).astype(np.float32),
  )


def _direction(azimuth: float, elevation: float) -> np.ndarray:
  return pieces.unit(
    np.array(
      [
        np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation),
        np.cos(azimuth) * np.cos(elevation),
      ]
    )
  )
