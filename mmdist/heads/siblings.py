"""Families: heads that differ in one thing, so that its word can be learned.

Two random heads differ in identity and view more than in most words. The
pictures of a family share one body and one view, so that only one word tells
them apart.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from mmdist.core import names
from mmdist.heads import attributes as head_attributes

FAMILY_SIZE = 5
EXPRESSIONS_SHARE = 0.5  # Of all families: expressions are the hardest to see.
BARE: dict[str, object] = {
  'hat': '',
  'horns': False,
  'headphones': False,
  'glasses': '',
}

# Where a family is looked at; see `orbits.cumulative_odds`.
FACE_EMPHASIS = {
  'mouth': 4.0,
  'front': 2.0,
  'side': 0.5,
  'overhead': 0.25,
  'back': 0.0,
  'hair': 0.0,
  'chest': 0.0,
}
HEAD_EMPHASIS = {
  'front': 2.0,
  'mouth': 0.3,
  'nose': 0.3,
  'chin': 0.3,
  'chest': 0.0,
}


@dataclasses.dataclass(frozen=True)
class Family:
  """Siblings.

  Attributes:
    attributes: FAMILY_SIZE of them, all different.
    emphasis: from where they are best told apart.
  """

  attributes: tuple[head_attributes.Attributes, ...]
  emphasis: Mapping[str, float]


def sample_family(
  rng: np.random.Generator, kinds: Sequence[str] = ()
) -> Family:
  """Draws a family without any held-out combination.

  Named characters are left out: their attributes are part of who they are.

  Args:
    kinds: names of `VARIATIONS` to choose from, all alike; without any, half
      of the families differ in expression.

  Raises:
    UserError: there is no such kind; names the nearest.
  """
  for kind in kinds:
    names.check_choice('a kind of family', kind, VARIATIONS)
  while True:
    base = head_attributes.sample_training_attributes(rng)
    choices = list(kinds or VARIATIONS)
    name = choices[rng.integers(len(choices))]
    if not kinds and rng.random() < EXPRESSIONS_SHARE:
      name = 'expression'
    siblings = tuple(
      dataclasses.replace(base, **change) for change in VARIATIONS[name](rng)
    )
    if not base.name and not any(map(head_attributes.is_held_out, siblings)):
      emphasis = FACE_EMPHASIS if name == 'expression' else HEAD_EMPHASIS
      return Family(siblings, emphasis)


def _one_of_each(
  field: str, values: Iterable[object], **shared: object
) -> Callable:
  """Returns a drawer of changes: as many values of a field as fit, shuffled."""
  values = tuple(values)

  def draw(rng: np.random.Generator) -> list[dict[str, Any]]:
    order = rng.permutation(len(values))[:FAMILY_SIZE]
    return [{**shared, field: values[i]} for i in order]

  return draw


def _hat_colors(rng: np.random.Generator) -> list[dict[str, Any]]:
  hat = head_attributes.HATS[1 + rng.integers(len(head_attributes.HATS) - 1)]
  colors = _one_of_each('hat_color', head_attributes.OBJECT_COLORS)
  return [{**BARE, 'hat': hat} | change for change in colors(rng)]


def _wear(rng: np.random.Generator) -> list[dict[str, Any]]:
  del rng
  changes: tuple[dict[str, object], ...] = (
    {},
    {'horns': True},
    {'headphones': True},
    {'glasses': 'glasses'},
    {'glasses': 'sunglasses'},
  )
  return [BARE | change for change in changes]


def _beards(rng: np.random.Generator) -> list[dict[str, Any]]:
  kind = ('man', 'old man')[rng.integers(2)]
  changes: list[dict[str, object]] = [
    {'beard': beard} for beard in head_attributes.BEARDS
  ]
  changes.append({'beard': '', 'red_nose': True})
  plain: dict[str, object] = {'kind': kind, 'red_nose': False}
  return [plain | change for change in changes]


# Kind of family -> draws the changes that turn the first sibling into each of
# the others.
VARIATIONS: dict[str, Callable] = {
  'expression': _one_of_each('expression', head_attributes.EXPRESSIONS),
  'skin': _one_of_each('skin', head_attributes.SKINS),
  'hair_color': _one_of_each(
    'hair_color', head_attributes.HAIR_COLORS, hat='', hair_style='short'
  ),
  'hair_style': _one_of_each('hair_style', head_attributes.HAIR_STYLES, hat=''),
  'hat': _one_of_each(
    'hat', head_attributes.HATS, horns=False, headphones=False
  ),
  'hat_color': _hat_colors,
  'wear': _wear,
  'beard': _beards,
  'kind': _one_of_each('kind', head_attributes.KINDS, beard=''),
}
