"""From a head in words to the numbers that draw it.

Owns the continuous part of an identity: proportions, how strongly a face
moves, the exact colours. Words are `mmdist.heads.clay.clay_attributes`.
"""

from typing import Any

import numpy as np
from numpy import typing as npt

from mmdist.heads import palettes
from mmdist.heads import traits as head_traits
from mmdist.heads.clay import clay_attributes


def shape_parameters(
  attributes: head_traits.Attributes, rng: np.random.Generator
) -> dict[str, np.ndarray]:
  """Draws the continuous identity behind the attributes.

  Returns:
    The dict of float32 scalars and [3] colours of `geometry`.
  """
  p = _identity(attributes, rng) | _face(attributes, rng)
  p |= {
    'hair_style': clay_attributes.HAIR_STYLES.index(attributes.hair_style),
    'hat': palettes.HATS.index(attributes.hat),
    'beard': clay_attributes.BEARDS.index(attributes.beard),
    'glasses': palettes.GLASSES.index(attributes.glasses),
    'horns': attributes.horns,
    'headphones': attributes.headphones,
    'pointed_ears': attributes.pointed_ears,
    'red_nose': attributes.red_nose,
  }
  if attributes.name == 'alien':
    p |= dict(head_w=1.18, head_h=1.18, face_w=0.82, face_h=0.98, nose=0.25)
    p |= dict(nose_w=0.6, neck=0.65, ear=0.5, eye_size=1.45)
  p |= _colors(attributes, rng)
  return {name: np.asarray(value, np.float32) for name, value in p.items()}


def _identity(
  attributes: head_traits.Attributes, rng: np.random.Generator
) -> dict[str, Any]:
  """Proportions of a head; kinds differ, people within a kind too."""
  female, old = 'woman' in attributes.kind, 'old' in attributes.kind
  u = rng.uniform
  p = {
    'head_w': u(0.93, 1.08),
    'head_h': u(0.94, 1.08),
    'face_w': u(0.88, 1.12) * (0.94 if female else 1.03),
    'face_h': u(0.93, 1.07) * (0.97 if female else 1.02),
    'chin': u(0.75, 1.2) * (0.8 if female else 1.15),
    'nose': u(0.5, 1.4) * (0.85 if female else 1.1),
    'nose_w': u(0.8, 1.2) * (0.9 if female else 1.1),
    'lip': u(0.85, 1.15) * (1.2 if female else 0.95),
    'ear': u(0.85, 1.15),
    'neck': u(0.9, 1.05) * (0.82 if female else 1.05),
    'eye_size': u(0.92, 1.08) * (1.06 if female else 0.98),
    'shoulders': u(0.92, 1.05) * (0.86 if female else 1.05),
    'hair_thickness': u(0.05, 0.085),
  }
  scale = {}
  if attributes.kind == 'child':
    scale = dict(head_w=1.06, head_h=1.05, face_h=0.9, chin=0.65, nose=0.5)
    scale |= dict(nose_w=0.8, eye_size=1.22, neck=0.72, shoulders=0.7)
  elif old:
    scale = dict(nose=1.25, ear=1.2, lip=0.85, nose_w=1.1)
  return {name: value * scale.get(name, 1.0) for name, value in p.items()}


def _face(
  attributes: head_traits.Attributes, rng: np.random.Generator
) -> dict[str, Any]:
  """The expression, of an intensity of its own."""
  move = clay_attributes.EXPRESSIONS[attributes.expression]
  strength = rng.uniform(0.85, 1.15)
  age = -0.5 if 'old' in attributes.kind else 0.0
  child = 0.85 if attributes.kind == 'child' else 1.0
  joker = 1.15 if attributes.name == 'joker' else 1.0
  return {
    'mouth_y': rng.uniform(-0.315, -0.285) * (0.93 if child < 1 else 1.0),
    'mouth_width': rng.uniform(0.165, 0.20) * move.width * child * joker,
    'mouth_curve': move.curve * strength + rng.uniform(-0.08, 0.08),
    'mouth_open': move.opening * strength,
    'brow_raise': move.brow_raise * strength,
    'brow_tilt': move.brow_tilt * strength + rng.uniform(-0.1, 0.1),
    'lid': move.lid + rng.uniform(-0.06, 0.06),
    'lower_lid': 0.55 if attributes.expression == 'happy' else 0.80,
    'cheek': move.cheek * strength + age,
  }


def _colors(
  attributes: head_traits.Attributes, rng: np.random.Generator
) -> dict[str, np.ndarray]:
  """Colours of the parts, each with a small jitter."""

  def jitter(color: npt.ArrayLike, scale: float = 0.022) -> np.ndarray:
    noise = rng.normal(0, scale, 3) + rng.normal(0, scale)
    return np.clip(np.asarray(color) + noise, 0.02, 0.98)

  skin = jitter(palettes.SKINS[attributes.skin])
  hair = jitter(palettes.HAIR_COLORS[attributes.hair_color], 0.018)
  lip = np.clip(skin * (0.80, 0.42, 0.44) + (0.08, 0.0, 0.01), 0, 1)
  if attributes.name in ('joker', 'clown'):
    lip = jitter((0.80, 0.05, 0.06))
  return {
    'color_skin': skin,
    'color_lip': lip,
    'color_hair': hair,
    'color_beard': hair,
    'color_brow': hair * (1.0 if attributes.hair_color == 'white' else 0.75),
    'color_eye': np.asarray(palettes.EYE_COLORS[attributes.eye_color]),
    'color_clothes': jitter(palettes.OBJECT_COLORS[attributes.shirt_color]),
    'color_hat': jitter(palettes.OBJECT_COLORS[attributes.hat_color]),
    'color_headphones': jitter(
      palettes.OBJECT_COLORS[attributes.headphone_color]
    ),
    'color_glasses': np.asarray((0.05, 0.05, 0.05)),
    'color_horns': jitter((0.38, 0.30, 0.20))
    if attributes.name != 'devil'
    else jitter((0.14, 0.07, 0.06)),
  }
