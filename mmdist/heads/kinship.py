"""Families: heads that differ in one thing, so that its word can be learned.

Two random heads differ in identity and view more than in most words. The
pictures of a family share one body and one view, so that only one word tells
them apart. Owns how families are drawn; what they differ in is each world's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from mmdist.core import names
from mmdist.heads import palettes
from mmdist.heads import traits as head_traits

FAMILY_SIZE = 5
EXPRESSIONS_SHARE = 0.5  # Of all families: expressions are the hardest to see.
EXPRESSION = 'expression'  # The kind of family that differs in it.
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

# Draws the changes that turn the first sibling into each of the others.
Variation = Callable[[np.random.Generator], list[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Family:
  """Siblings.

  Attributes:
    attributes: FAMILY_SIZE of them, all different.
    emphasis: from where they are best told apart.
  """

  attributes: tuple[head_traits.Attributes, ...]
  emphasis: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Kinship:
  """The families of a world.

  Attributes:
    traits: which heads there are.
    variations: kind of family -> draws its changes.
    emphasis: kind of family -> where it is looked at; HEAD_EMPHASIS if not
      named.
  """

  traits: head_traits.Traits
  variations: Mapping[str, Variation]
  emphasis: Mapping[str, Mapping[str, float]]

  def sample(
    self, rng: np.random.Generator, kinds: Sequence[str] = ()
  ) -> Family:
    """Draws a family without any held-out combination.

    Named characters are left out: their attributes are part of who they are.

    Args:
      rng: decides.
      kinds: names of `variations` to choose from, all alike; without any, half
        of the families differ in expression.

    Raises:
      UserError: there is no such kind; names the nearest.
    """
    for kind in kinds:
      names.check_choice('a kind of family', kind, self.variations)
    while True:
      base = self.traits.sample_training(rng)
      choices = list(kinds or self.variations)
      name = choices[rng.integers(len(choices))]
      if not kinds and rng.random() < EXPRESSIONS_SHARE:
        name = EXPRESSION
      siblings = tuple(
        dataclasses.replace(base, **change)
        for change in self.variations[name](rng)
      )
      if not base.name and not any(map(self.traits.is_held_out, siblings)):
        return Family(siblings, self.emphasis.get(name, HEAD_EMPHASIS))


def one_of_each(
  field: str, values: Iterable[object], **shared: object
) -> Variation:
  """Returns a drawer of changes: as many values of a field as fit, shuffled."""
  values = tuple(values)

  def draw(rng: np.random.Generator) -> list[dict[str, Any]]:
    order = rng.permutation(len(values))[:FAMILY_SIZE]
    return [{**shared, field: values[i]} for i in order]

  return draw


def hat_colors(rng: np.random.Generator) -> list[dict[str, Any]]:
  """Draws one hat in several colours."""
  hat = palettes.HATS[1 + rng.integers(len(palettes.HATS) - 1)]
  colors = one_of_each('hat_color', palettes.OBJECT_COLORS)
  return [{**BARE, 'hat': hat} | change for change in colors(rng)]


def wear(rng: np.random.Generator) -> list[dict[str, Any]]:
  """Returns nothing, horns, headphones and two kinds of glasses."""
  del rng
  changes: tuple[dict[str, object], ...] = (
    {},
    {'horns': True},
    {'headphones': True},
    {'glasses': 'glasses'},
    {'glasses': 'sunglasses'},
  )
  return [BARE | change for change in changes]


def make_variations(
  choices: Mapping[str, Sequence], beards: Variation, kinds: Variation
) -> dict[str, Variation]:
  """Returns the kinds of family that every world has.

  Args:
    choices: field -> the world's values.
    beards: draws families that differ in beards.
    kinds: draws families that differ in who they are.
  """
  return {
    EXPRESSION: one_of_each('expression', choices['expression']),
    'skin': one_of_each('skin', choices['skin']),
    'hair_color': one_of_each(
      'hair_color', choices['hair_color'], hat='', hair_style='short'
    ),
    'hair_style': one_of_each('hair_style', choices['hair_style'], hat=''),
    'hat': one_of_each('hat', choices['hat'], horns=False, headphones=False),
    'hat_color': hat_colors,
    'wear': wear,
    'beard': beards,
    'kind': kinds,
  }
