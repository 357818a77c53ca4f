"""Which people exist: their values, and how often each is drawn.

What all worlds share is `mmdist.heads.traits`. What people look like is the
business of the modules beside this one. Nothing here imports JAX.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from mmdist.heads import chances
from mmdist.heads import traits

KINDS = ('man', 'woman', 'boy', 'girl')
# Of men and women; '' is between the two and is not said.
AGES = ('', 'young', 'old')
HAIR_STYLES = (
  'bald',
  'short',
  'long',
  'curly',
  'bob',
  'ponytail',
  'afro',
  'mohawk',
  'bun',
)
BEARDS = ('', 'stubble', 'moustache', 'goatee', 'beard', 'long beard')
EXPRESSIONS = (
  'neutral',
  'happy',
  'sad',
  'surprised',
  'angry',
  'open mouth',
  'closed eyes',
  'puffed cheeks',
  'pucker',
  'wink',
)
ADULTS = ('man', 'woman')
CHILDREN = ('boy', 'girl')
FEMALE = ('woman', 'girl')
FRECKLED_SKINS = ('pale', 'tan')
FRECKLES_SHARE = 0.15  # Of people of these skins.
# How often, in the order of the values.
KINDS_SHARES = (0.4, 0.4, 0.1, 0.1)
AGES_SHARES = (0.4, 0.3, 0.3)
MALE_STYLES = (0.16, 0.44, 0.08, 0.12, 0.0, 0.04, 0.10, 0.06, 0.0)
FEMALE_STYLES = (0.03, 0.14, 0.28, 0.12, 0.14, 0.10, 0.08, 0.0, 0.11)
BEARDS_SHARES = (0.44, 0.12, 0.12, 0.10, 0.12, 0.10)
EXPRESSIONS_SHARES = (
  0.14,
  0.16,
  0.12,
  0.12,
  0.10,
  0.10,
  0.07,
  0.06,
  0.06,
  0.07,
)


@dataclasses.dataclass(frozen=True)
class Attributes(traits.Attributes):
  """A person in words.

  Attributes:
    age: of `AGES`; '' for boys and girls.
    freckles: on the cheeks and the nose.
  """

  age: str = ''
  freckles: bool = False


def _draw_kind(rng: np.random.Generator, fixed: Mapping[str, Any]) -> str:
  """Returns who it is, so that an age or a beard that is fixed fits."""
  if fixed.get('kind'):
    return str(fixed['kind'])
  if fixed.get('beard'):
    return 'man'
  kind = chances.choose(rng, KINDS, KINDS_SHARES)
  if fixed.get('age') and kind in CHILDREN:
    return ADULTS[CHILDREN.index(kind)]
  return kind


def _draw_person(
  rng: np.random.Generator, fixed: Mapping[str, Any]
) -> dict[str, Any]:
  kind = _draw_kind(rng, fixed)
  age = chances.choose(rng, AGES, AGES_SHARES) if kind in ADULTS else ''
  age = str(fixed.get('age', age))
  drawn = chances.draw_person(
    rng,
    (HAIR_STYLES, FEMALE_STYLES if kind in FEMALE else MALE_STYLES),
    (BEARDS, BEARDS_SHARES) if kind == 'man' else None,
    age == 'old',
  )
  # Those of other skins lose them again; see `traits.Traits.sample`.
  freckles = rng.random() < FRECKLES_SHARE
  return {'kind': kind, 'age': age, 'freckles': freckles, **drawn}


def _draw_fantasy(
  rng: np.random.Generator, drawn: Mapping[str, Any]
) -> dict[str, Any]:
  return chances.draw_fantasy(
    rng, (EXPRESSIONS, EXPRESSIONS_SHARES), drawn['age'] == 'old'
  )


TRAITS = traits.Traits(
  record=Attributes,
  choices={
    **traits.make_choices(KINDS, EXPRESSIONS, HAIR_STYLES, BEARDS),
    'age': AGES,
    'freckles': (False, True),
  },
  draw_person=_draw_person,
  draw_fantasy=_draw_fantasy,
  old_man={'kind': 'man', 'age': 'old'},
  # A ponytail fits under a cap, and not under most hats.
  tall_styles=('mohawk', 'bun', 'afro', 'ponytail'),
  ageless=CHILDREN,
  freckled=FRECKLED_SKINS,
)
