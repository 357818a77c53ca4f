"""Which people exist, in words.

Owns the vocabulary of attributes, how they are drawn and the held-out
combinations. What they look like is the business of the modules beside this
one. Nothing here imports JAX: processes that only draw captions import this.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import difflib
from typing import Any

import numpy as np

from mmdist.core import errors

KINDS = ('man', 'woman', 'boy', 'girl')
# Of men and women; '' is between the two and is not said.
AGES = ('', 'young', 'old')
NAMES = ('', 'joker', 'devil', 'clown', 'alien', 'wizard', 'elf')
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
ADULTS = ('man', 'woman')
FEMALE = ('woman', 'girl')
# How often, in the order of `HAIR_STYLES`, `BEARDS` and `EXPRESSIONS`.
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
# They do not fit under a hat.
TALL_STYLES = ('mohawk', 'bun', 'afro', 'ponytail')
HATS = ('', 'hat', 'top hat', 'beanie', 'wizard hat', 'cap', 'crown')
BEARDS = ('', 'stubble', 'moustache', 'goatee', 'beard', 'long beard')
GLASSES = ('', 'glasses', 'sunglasses')
NATURAL_SKINS = {
  'pale': (0.95, 0.80, 0.72),
  'tan': (0.80, 0.57, 0.42),
  'brown': (0.55, 0.36, 0.25),
  'dark': (0.34, 0.22, 0.16),
}
FANTASY_SKINS = {
  'green': (0.30, 0.66, 0.24),
  'blue': (0.25, 0.42, 0.85),
  'red': (0.80, 0.16, 0.13),
  'purple': (0.55, 0.28, 0.70),
  'white': (0.95, 0.95, 0.95),
  'golden': (0.88, 0.68, 0.18),
}
NATURAL_HAIR = {
  'black': (0.07, 0.06, 0.06),
  'brown': (0.30, 0.18, 0.10),
  'blond': (0.85, 0.68, 0.35),
  'ginger': (0.72, 0.32, 0.10),
}
OLD_HAIR = {'grey': (0.55, 0.55, 0.56), 'white': (0.92, 0.92, 0.92)}
FANTASY_HAIR = {
  'green': (0.15, 0.60, 0.18),
  'blue': (0.15, 0.25, 0.80),
  'pink': (0.95, 0.45, 0.65),
  'purple': (0.50, 0.20, 0.65),
}
OBJECT_COLORS = {
  'red': (0.80, 0.08, 0.08),
  'blue': (0.10, 0.20, 0.75),
  'green': (0.10, 0.55, 0.18),
  'yellow': (0.93, 0.80, 0.12),
  'black': (0.08, 0.08, 0.09),
  'white': (0.93, 0.93, 0.93),
  'purple': (0.50, 0.16, 0.62),
  'orange': (0.92, 0.48, 0.08),
}
EYE_COLORS = {
  'brown': (0.30, 0.16, 0.07),
  'blue': (0.15, 0.38, 0.75),
  'green': (0.18, 0.50, 0.22),
}
SKINS = {**NATURAL_SKINS, **FANTASY_SKINS}
HAIR_COLORS = {**NATURAL_HAIR, **OLD_HAIR, **FANTASY_HAIR}


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


@dataclasses.dataclass(frozen=True)
class Attributes:
  """A person in words. Empty strings mean that the part is absent."""

  kind: str = 'man'
  age: str = ''
  name: str = ''
  expression: str = 'neutral'
  skin: str = 'pale'
  freckles: bool = False
  hair_style: str = 'short'
  hair_color: str = 'brown'
  hat: str = ''
  hat_color: str = 'red'
  glasses: str = ''
  beard: str = ''
  horns: bool = False
  headphones: bool = False
  headphone_color: str = 'black'
  pointed_ears: bool = False
  red_nose: bool = False
  eye_color: str = 'brown'
  shirt_color: str = 'blue'


CHOICES: dict[str, tuple] = {
  'kind': KINDS,
  'age': AGES,
  'name': NAMES,
  'expression': EXPRESSIONS,
  'skin': tuple(SKINS),
  'freckles': (False, True),
  'hair_style': HAIR_STYLES,
  'hair_color': tuple(HAIR_COLORS),
  'hat': HATS,
  'hat_color': tuple(OBJECT_COLORS),
  'glasses': GLASSES,
  'beard': BEARDS,
  'horns': (False, True),
  'headphones': (False, True),
  'headphone_color': tuple(OBJECT_COLORS),
  'pointed_ears': (False, True),
  'red_nose': (False, True),
  'eye_color': tuple(EYE_COLORS),
  'shirt_color': tuple(OBJECT_COLORS),
}

# Combinations that no prior is trained on. What a prior draws for them shows
# whether it composes words or remembers pictures. The judge is trained on them
# too, since it has to recognise them.
HELD_OUT = (
  {'skin': 'green', 'hat_color': 'red'},
  {'skin': 'blue', 'hat_color': 'yellow'},
  {'skin': 'purple', 'horns': True},
  {'skin': 'golden', 'beard': 'moustache'},
  {'skin': 'red', 'headphones': True},
  {'hair_color': 'pink', 'glasses': 'glasses'},
  {'hair_style': 'mohawk', 'hair_color': 'blue'},
  {'hat': 'crown', 'beard': 'long beard'},
)


def is_held_out(attributes: Attributes) -> bool:
  """Returns whether a head shows one of the `HELD_OUT` combinations."""
  seen = visible(attributes)
  return any(
    all(seen.get(key) == value for key, value in combination.items())
    for combination in HELD_OUT
  )


def visible(attributes: Attributes) -> dict:
  """Returns the attributes that a picture can show (no colour of no hat)."""
  shown = dataclasses.asdict(attributes)
  if not attributes.hat:
    del shown['hat_color']
  if attributes.hair_style == 'bald':
    del shown['hair_color']
  if not attributes.headphones:
    del shown['headphone_color']
  return shown


def check(attributes: Attributes) -> None:
  """Raises UserError, with the nearest value, for an unknown attribute."""
  for field, choices in CHOICES.items():
    value = getattr(attributes, field)
    if value not in choices:
      near = difflib.get_close_matches(str(value), map(str, choices), 1)
      hint = f'; did you mean {near[0]!r}?' if near else '.'
      raise errors.UserError(
        f'{field}={value!r} is not an attribute of procedural heads{hint} '
        f'Known: {", ".join(repr(choice) for choice in choices)}.'
      )


def sample_attributes(
  rng: np.random.Generator,
  neutral: bool = False,
  fixed: Mapping[str, object] | None = None,
) -> Attributes:
  """Draws a person's attributes.

  Args:
    rng: decides everything that is not fixed.
    neutral: a plain human subject, as the conditional NeRF is pretrained on:
      neutral face, natural colours, no accessories.
    fixed: attributes to keep, by field name; named characters and the
      plausibility rules yield to them.
  """
  fixed = dict(fixed or {})
  kind = str(fixed.get('kind') or _choose(rng, KINDS, (0.4, 0.4, 0.1, 0.1)))
  drawn = _draw_person(rng, kind)
  if not neutral:
    drawn |= _draw_fantasy(rng, drawn['age'])
    if not fixed and rng.random() < 0.14:
      drawn['name'] = _choose(rng, NAMES[1:])
  drawn |= fixed
  drawn |= {
    key: value
    for key, value in character(drawn.get('name', ''), rng).items()
    if key not in fixed
  }
  attributes = Attributes(**drawn)
  check(attributes)
  return _plausible(attributes, fixed)


def sample_training_attributes(rng: np.random.Generator) -> Attributes:
  """Draws attributes outside the held-out combinations."""
  while True:
    attributes = sample_attributes(rng)
    if not is_held_out(attributes):
      return attributes


def _choose(
  rng: np.random.Generator,
  values: Iterable[str],
  p: Sequence[float] | None = None,
) -> str:
  values = tuple(values)
  return values[int(rng.choice(len(values), p=p))]


def _draw_person(rng: np.random.Generator, kind: str) -> dict[str, Any]:
  """What every subject has: an age, natural skin, hair, eyes, a shirt."""
  adult, female = kind in ADULTS, kind in FEMALE
  age = _choose(rng, AGES, (0.4, 0.3, 0.3)) if adult else ''
  styles = FEMALE_STYLES if female else MALE_STYLES
  skin = _choose(rng, NATURAL_SKINS)
  bearded = kind == 'man'
  return {
    'kind': kind,
    'age': age,
    'skin': skin,
    'freckles': skin in ('pale', 'tan') and rng.random() < 0.15,
    'hair_style': _choose(rng, HAIR_STYLES, styles),
    'hair_color': _choose(rng, OLD_HAIR if age == 'old' else NATURAL_HAIR),
    'beard': _choose(rng, BEARDS, BEARDS_SHARES) if bearded else '',
    'eye_color': _choose(rng, EYE_COLORS),
    'shirt_color': _choose(rng, OBJECT_COLORS),
    'hat_color': _choose(rng, OBJECT_COLORS),
    'headphone_color': _choose(rng, OBJECT_COLORS),
  }


def _draw_fantasy(rng: np.random.Generator, age: str) -> dict[str, Any]:
  """What the priors know beyond plain subjects."""
  drawn = {
    'expression': _choose(rng, EXPRESSIONS, EXPRESSIONS_SHARES),
    'glasses': _choose(rng, GLASSES, (0.80, 0.11, 0.09)),
    'pointed_ears': rng.random() < 0.08,
    'red_nose': rng.random() < 0.04,
  }
  if rng.random() < 0.40:
    drawn['skin'] = _choose(rng, FANTASY_SKINS)
    drawn['freckles'] = False
  if rng.random() < 0.28 and age != 'old':
    drawn['hair_color'] = _choose(rng, FANTASY_HAIR)
  wears = rng.random()
  if wears < 0.42:
    drawn['hat'] = _choose(rng, HATS[1:], (0.3, 0.14, 0.14, 0.14, 0.12, 0.16))
  elif wears < 0.52:
    drawn['horns'] = True
  elif wears < 0.62:
    drawn['headphones'] = True
  return drawn


def character(name: str, rng: np.random.Generator) -> dict[str, object]:
  """Returns what makes a named character, by attribute; '' makes nothing."""
  bare = {'beard': '', 'hat': '', 'glasses': '', 'headphones': False}
  plain = bare | {'horns': False, 'pointed_ears': False, 'red_nose': False}
  return {
    '': {},
    'joker': plain
    | {
      'expression': 'happy',
      'skin': 'white',
      'hair_color': 'green',
      'hair_style': 'short',
      'shirt_color': 'purple',
      'kind': 'man',
    },
    'devil': bare | {'skin': 'red', 'horns': True, 'pointed_ears': True},
    'clown': plain | {'skin': 'white', 'hair_style': 'afro', 'red_nose': True},
    'alien': plain | {'skin': 'green', 'hair_style': 'bald', 'kind': 'man'},
    'wizard': plain
    | {
      'hat': 'wizard hat',
      'hat_color': _choose(rng, ('purple', 'blue')),
      'beard': 'long beard',
      'hair_color': 'white',
      'hair_style': 'long',
      'kind': 'man',
      'age': 'old',
      'skin': 'pale',
    },
    'elf': plain
    | {
      'pointed_ears': True,
      'hair_style': 'long',
      'hair_color': 'blond',
      'skin': 'pale',
    },
  }[name]


def _plausible(
  attributes: Attributes, fixed: Mapping[str, object]
) -> Attributes:
  """Drops accessories that would collide, unless they were asked for."""
  drop: dict[str, Any] = {}
  if attributes.hat not in ('', 'crown'):
    if attributes.horns and 'horns' not in fixed:
      drop['horns'] = False
    if attributes.headphones and 'headphones' not in fixed:
      drop['headphones'] = False
    if attributes.hair_style in TALL_STYLES:
      if 'hair_style' not in fixed and attributes.name == '':
        drop['hair_style'] = 'short'
  if attributes.hat == 'crown' and attributes.headphones:
    if 'headphones' not in fixed:
      drop['headphones'] = False
  return dataclasses.replace(attributes, **drop)
