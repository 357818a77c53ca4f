"""Which heads exist in a world, in words.

Owns what all worlds have in common: the fields of a head, the checks of them,
what of them a picture shows, which combinations are held out, and the order in
which they are drawn. A world brings its values, and who its people are. Nothing
here imports JAX: processes that only draw captions import this.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import difflib
from typing import Any

import numpy as np

from mmdist.core import errors
from mmdist.heads import chances
from mmdist.heads import characters
from mmdist.heads import palettes

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


@dataclasses.dataclass(frozen=True)
class Attributes:
  """A head in words. Empty strings mean that the part is absent."""

  kind: str = 'man'
  name: str = ''
  expression: str = 'neutral'
  skin: str = 'pale'
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


def make_choices(
  kinds: Sequence[str],
  expressions: Sequence[str],
  hair_styles: Sequence[str],
  beards: Sequence[str],
) -> dict[str, tuple]:
  """Returns the values of every field of `Attributes`, in their order.

  Args:
    kinds, expressions, hair_styles, beards: those of a world; the values of
      the other fields are the same in every world.
  """
  return {
    'kind': tuple(kinds),
    'name': palettes.NAMES,
    'expression': tuple(expressions),
    'skin': tuple(palettes.SKINS),
    'hair_style': tuple(hair_styles),
    'hair_color': tuple(palettes.HAIR_COLORS),
    'hat': palettes.HATS,
    'hat_color': tuple(palettes.OBJECT_COLORS),
    'glasses': palettes.GLASSES,
    'beard': tuple(beards),
    'horns': (False, True),
    'headphones': (False, True),
    'headphone_color': tuple(palettes.OBJECT_COLORS),
    'pointed_ears': (False, True),
    'red_nose': (False, True),
    'eye_color': tuple(palettes.EYE_COLORS),
    'shirt_color': tuple(palettes.OBJECT_COLORS),
  }


@dataclasses.dataclass(frozen=True)
class Traits:
  """The heads that a world has.

  Attributes:
    record: the dataclass of a head in words; `Attributes`, or with more fields.
    choices: field -> its values.
    draw_person: `(rng, fixed) -> fields` of a plain subject, which fit what is
      fixed.
    draw_fantasy: `(rng, drawn) -> fields` beyond plain subjects.
    old_man: the fields by which this world says so.
    tall_styles: hair that does not fit under a hat.
    ageless: kinds that have no age, in a world whose heads have one.
    freckled: skins that may have freckles, in a world whose heads have any.
    held_out: combinations that no prior is trained on.
  """

  record: type[Attributes]
  choices: Mapping[str, tuple]
  draw_person: Callable[
    [np.random.Generator, Mapping[str, Any]], dict[str, Any]
  ]
  draw_fantasy: Callable[
    [np.random.Generator, Mapping[str, Any]], dict[str, Any]
  ]
  old_man: Mapping[str, object]
  tall_styles: tuple[str, ...]
  ageless: tuple[str, ...] = ()
  freckled: tuple[str, ...] = ()
  held_out: tuple[Mapping[str, object], ...] = HELD_OUT

  def is_held_out(self, attributes: Attributes) -> bool:
    """Returns whether a head shows one of the held-out combinations."""
    seen = self.visible(attributes)
    return any(
      all(seen.get(key) == value for key, value in combination.items())
      for combination in self.held_out
    )

  def visible(self, attributes: Attributes) -> dict[str, Any]:
    """Returns the attributes that a picture can show (no colour of no hat)."""
    shown = dataclasses.asdict(attributes)
    if not attributes.hat:
      del shown['hat_color']
    if attributes.hair_style == 'bald':
      del shown['hair_color']
    if not attributes.headphones:
      del shown['headphone_color']
    return shown

  def kept(
    self, attributes: Attributes, asked: Mapping[str, object]
  ) -> dict[str, Any]:
    """Returns what is visible and can stay where something else is asked.

    An old man who becomes a girl does not keep his age.
    """
    kept = {k: v for k, v in self.visible(attributes).items() if k not in asked}
    if not self._age_fits({**kept, **asked}):
      kept = {k: v for k, v in kept.items() if k not in ('kind', 'age')}
    return kept

  def check(self, attributes: Attributes) -> None:
    """Checks that there is such a head.

    Raises:
      UserError: a value is unknown, and the nearest one; or an age does not fit
        who it is.
    """
    for field, choices in self.choices.items():
      value = getattr(attributes, field)
      if value not in choices:
        near = difflib.get_close_matches(str(value), map(str, choices), 1)
        hint = f'; did you mean {near[0]!r}?' if near else '.'
        raise errors.UserError(
          f'{field}={value!r} is not an attribute of procedural heads{hint} '
          f'Known: {", ".join(repr(choice) for choice in choices)}.'
        )
    self._check_age(dataclasses.asdict(attributes))

  def _age_fits(self, fields: Mapping[str, object]) -> bool:
    return not (fields.get('age') and fields.get('kind') in self.ageless)

  def _check_age(self, fields: Mapping[str, object]) -> None:
    if not self._age_fits(fields):
      adults = [k for k in self.choices['kind'] if k not in self.ageless]
      raise errors.UserError(
        f"kind='{fields['kind']}' and age='{fields['age']}' cannot be; leave "
        f'out the age, or take one of the kinds {", ".join(adults)}.'
      )

  def sample(
    self,
    rng: np.random.Generator,
    neutral: bool = False,
    fixed: Mapping[str, object] | None = None,
  ) -> Any:
    """Draws a head's attributes, of the type `record`.

    Args:
      rng: decides everything that is not fixed.
      neutral: a plain human subject, as the conditional NeRF is pretrained on:
        neutral face, natural colours, no accessories.
      fixed: attributes to keep, by field name; named characters and the
        plausibility rules yield to them.

    Raises:
      UserError: a value is unknown, or what is fixed cannot be.
    """
    fixed = dict(fixed or {})
    self._check_age(fixed)
    drawn = self.draw_person(rng, fixed)
    if not neutral:
      drawn |= self.draw_fantasy(rng, drawn)
      if not fixed and rng.random() < chances.NAMED_SHARE:
        drawn['name'] = chances.choose(rng, palettes.NAMES[1:])
    drawn |= fixed
    name = str(drawn.get('name', ''))
    known = name if name in palettes.NAMES else ''  # `check` tells of others.
    signs = characters.signs(known, rng, self.old_man)
    drawn |= {key: value for key, value in signs.items() if key not in fixed}
    if not self._age_fits(drawn):  # A wizard that was asked to be a boy.
      drawn['age'] = ''
    attributes = self.record(**drawn)
    self.check(attributes)
    return self._plausible(attributes, fixed)

  def sample_training(self, rng: np.random.Generator) -> Any:
    """Draws attributes outside the held-out combinations."""
    while True:
      attributes = self.sample(rng)
      if not self.is_held_out(attributes):
        return attributes

  def _plausible(
    self, attributes: Attributes, fixed: Mapping[str, object]
  ) -> Attributes:
    """Drops what would collide, unless it was asked for."""
    drop: dict[str, Any] = {}
    if attributes.hat not in ('', 'crown'):
      if attributes.horns and 'horns' not in fixed:
        drop['horns'] = False
      if attributes.headphones and 'headphones' not in fixed:
        drop['headphones'] = False
      if attributes.hair_style in self.tall_styles:
        if 'hair_style' not in fixed and attributes.name == '':
          drop['hair_style'] = 'short'
    if attributes.hat == 'crown' and attributes.headphones:
      if 'headphones' not in fixed:
        drop['headphones'] = False
    if 'freckles' in self.choices and 'freckles' not in fixed:
      if attributes.skin not in self.freckled:
        drop['freckles'] = False
    return dataclasses.replace(attributes, **drop)
