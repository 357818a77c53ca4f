"""What families of people differ in; see `mmdist.heads.kinship`."""

from typing import Any

import numpy as np

from mmdist.heads import kinship
from mmdist.heads.people import attributes

# Lids tell what a mouth does not: closed eyes, a wink.
FACE_EMPHASIS = {**kinship.FACE_EMPHASIS, 'eyes': 2.0}
_NOBODY_BEARDED = {'beard': ''}
# All that somebody can be: children have no age.
_PEOPLE = tuple(
  {'kind': kind, 'age': age, **_NOBODY_BEARDED}
  for kind in attributes.KINDS
  for age in (attributes.AGES if kind in attributes.ADULTS else ('',))
)


def _kinds(rng: np.random.Generator) -> list[dict[str, Any]]:
  """Returns some of all that somebody can be, shuffled."""
  order = rng.permutation(len(_PEOPLE))[: kinship.FAMILY_SIZE]
  return [dict(_PEOPLE[i]) for i in order]


def _ages(rng: np.random.Generator) -> list[dict[str, Any]]:
  """Returns a child and what becomes of it; and another old one, to compare."""
  sex = int(rng.integers(len(attributes.ADULTS)))
  adult, other = attributes.ADULTS[sex], attributes.ADULTS[1 - sex]
  people = [
    (attributes.CHILDREN[sex], ''),
    (adult, 'young'),
    (adult, ''),
    (adult, 'old'),
    (other, 'old'),
  ]
  return [{'kind': kind, 'age': age, **_NOBODY_BEARDED} for kind, age in people]


def _freckles(rng: np.random.Generator) -> list[dict[str, Any]]:
  """Returns skins that may have freckles with and without; one has a red nose.

  That one is there because freckles are on the nose too.
  """
  del rng
  changes: list[dict[str, Any]] = [
    {'skin': skin, 'freckles': freckles, 'red_nose': False}
    for skin in attributes.FRECKLED_SKINS
    for freckles in (False, True)
  ]
  return [*changes, {**changes[0], 'red_nose': True}]


SIBLINGS = kinship.Kinship(
  traits=attributes.TRAITS,
  variations={
    **kinship.make_variations(
      attributes.TRAITS.choices,
      kinship.one_of_each('beard', attributes.BEARDS, kind='man'),
      _kinds,
    ),
    'age': _ages,
    'freckles': _freckles,
  },
  emphasis={
    kinship.EXPRESSION: FACE_EMPHASIS,
    'freckles': FACE_EMPHASIS,
  },
)
