"""The sentences that describe procedural heads.

Owns the grammar, which is the same in every world; what differs is a
`wording.Wording`. The view words come from `mmdist.cameras.orbits`. `parse`
reads a sentence back into the attributes it asks for, which is what the judge
scores a result by.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from mmdist.cameras import orbits
from mmdist.heads import palettes
from mmdist.heads import parsing
from mmdist.heads import traits as head_traits
from mmdist.heads import wording as wording_lib

COLOR_PREFIX = 'a portrait of'
NORMAL_PREFIX = 'a [w] face map of'
# A prior reads 40 tokens, of which two mark the start and the end of a text.
# A comma is a word of its own.
MAX_WORDS = 38
STYLE_PREFIXES = ('a photo of', 'a dslr photo of')
_WORDS = (
  'a an portrait photo dslr face map of with and , view skin hair head shirt '
  'eyes ears open mouth pointed red nose horns headphones person the'
)


def fits(text: str) -> bool:
  """Returns whether a prior can read all of a sentence."""
  return len(text.replace(',', ' , ').split()) <= MAX_WORDS


@dataclasses.dataclass(frozen=True)
class Captions:
  """The sentences of a world.

  Attributes:
    wording: how its attributes are said.
  """

  wording: wording_lib.Wording

  @property
  def _traits(self) -> head_traits.Traits:
    return self.wording.traits

  def describe(
    self,
    attributes: head_traits.Attributes,
    view: str = '',
    prefix: str = COLOR_PREFIX,
  ) -> str:
    """Returns the full sentence, everything said, in the canonical order."""
    phrases = self._phrases(attributes)
    return self._sentence(attributes, phrases, True, view, prefix)

  def caption(
    self,
    attributes: head_traits.Attributes,
    view: str,
    rng: np.random.Generator,
    prefix: str | None = None,
  ) -> str:
    """Returns a training caption: some attributes left out, order shuffled.

    Args:
      attributes: what the picture shows.
      view: its view word.
      rng: decides what is said.
      prefix: how it starts; by default mostly "a portrait of".
    """
    if prefix is None:
      styled = rng.random() < 0.2
      prefix = (
        STYLE_PREFIXES[rng.integers(len(STYLE_PREFIXES))]
        if styled
        else COLOR_PREFIX
      )
    chances = self._phrases(attributes, rng)
    said = [p for p, keep in chances if rng.random() < keep]
    phrases = [(said[i], 1.0) for i in rng.permutation(len(said))]
    neutral = attributes.expression == 'neutral'
    say_expression = rng.random() < (0.5 if neutral else 0.9)
    said_view = view if rng.random() < 0.9 else ''

    def sentence() -> str:
      return self._sentence(
        attributes, phrases, say_expression, said_view, prefix
      )

    while not fits(sentence()):
      phrases.pop()  # About one caption in 100,000 would not fit.
    return sentence()

  def questions(self) -> dict[str, tuple]:
    """Returns what `draw` may answer: name -> values."""
    return {
      **self._traits.choices,
      'view': orbits.VIEW_WORDS,
      'prefix': (COLOR_PREFIX, NORMAL_PREFIX),
    }

  def draw(self, rng: np.random.Generator) -> tuple[str, Mapping[str, object]]:
    """Returns a training caption of a head nobody rendered, and its answers.

    For teaching a text encoder to read. Held-out combinations do not occur.
    """
    attributes = self._traits.sample_training(rng)
    view = orbits.VIEW_WORDS[rng.integers(len(orbits.VIEW_WORDS))]
    normal = rng.random() < 0.25
    said = NORMAL_PREFIX if normal else None
    text = self.caption(attributes, view, rng, said)
    prefix = NORMAL_PREFIX if normal else COLOR_PREFIX
    return text, {**self.parse(text), 'prefix': prefix}

  def vocabulary(self) -> tuple[str, ...]:
    """Returns every word that a caption can contain, lowercase, sorted."""
    words = {*_WORDS.split(), *self.wording.words}
    for choices in self._traits.choices.values():
      words.update(
        word for c in choices if isinstance(c, str) for word in c.split()
      )
    words.update(word for view in orbits.VIEW_WORDS for word in view.split())
    return tuple(sorted(words))

  def parse(self, text: str) -> Mapping[str, Any]:
    """Reads the attributes that a sentence asks for.

    Args:
      text: a caption, lower or upper case, with or without a view.

    Returns:
      Field of a head -> value, only for what is said; `view` too if named. A
      named character brings what makes it one.
    """
    return parsing.parse(self.wording, text)

  def contradictions(self, text: str) -> list[str]:
    """Returns what a text asks for that no head can have at once.

    Returns:
      A sentence for each, without a full stop; none for most texts.
    """
    return parsing.contradictions(self.wording, text)

  def _sentence(
    self,
    attributes: head_traits.Attributes,
    phrases: Sequence[tuple[str, float]],
    say_expression: bool,
    view: str,
    prefix: str,
  ) -> str:
    expression = attributes.expression if say_expression else ''
    parts = [text for text, _ in phrases]
    if expression in self.wording.expressions:
      parts.insert(0, self.wording.expressions[expression])
      expression = ''
    words = f'{expression} {self.wording.who(attributes)}'.strip()
    article = 'an' if words[0] in 'aeio' else 'a'
    text = f'{prefix} {article} {words}'
    if parts:
      text += ' with ' + ' and '.join(
        filter(None, [', '.join(parts[:-1]), parts[-1]])
      )
    return f'{text}, {view} view' if view else text

  def _phrases(
    self,
    attributes: head_traits.Attributes,
    rng: np.random.Generator | None = None,
  ) -> list[tuple[str, float]]:
    """Returns (phrase, probability that a caption says it)."""
    a, phrases = attributes, []
    # Captions rarely say what a name implies, such as a joker's green hair.
    usual = 0.25 if a.name else 1.0
    fantasy = a.skin in palettes.FANTASY_SKINS
    phrases.append((f'{a.skin} skin', (0.9 if fantasy else 0.6) * usual))
    if getattr(a, 'freckles', False):  # Not in every world.
      phrases.append(('freckles', 0.9))
    phrases.append((self._hair_phrase(a, rng), 0.75 * usual))
    if a.hat:
      keep = 0.95 * (0.3 if a.name == 'wizard' else 1.0)
      phrases.append((_colored(a.hat_color, a.hat), keep))
    if a.beard:
      phrases.append((self.wording.thing(a.beard), 0.9 * usual))
    if a.glasses:
      phrases.append((a.glasses, 0.95))
    if a.horns:
      phrases.append(('horns', 0.95 if a.name != 'devil' else 0.3))
    if a.headphones:
      phrases.append((f'{a.headphone_color} headphones', 0.95))
    if a.pointed_ears:
      phrases.append(('pointed ears', 0.9 * usual))
    if a.red_nose:
      phrases.append(('a red nose', 0.9 * usual))
    if rng is not None:  # Details that the full sentence leaves out.
      phrases.append((f'{a.eye_color} eyes', 0.12))
      phrases.append((_colored(a.shirt_color, 'shirt'), 0.35))
    return phrases

  def _hair_phrase(
    self, a: head_traits.Attributes, rng: np.random.Generator | None
  ) -> str:
    if a.hair_style == wording_lib.BALD:
      return 'a bald head'
    if a.hair_style in self.wording.hair_nouns:
      return f'a {a.hair_color} {a.hair_style}'
    if rng is not None and rng.random() < 0.25:
      return f'{a.hair_color} hair'
    return f'{a.hair_style} {a.hair_color} hair'


def _colored(color: str, noun: str) -> str:
  article = 'an' if color == 'orange' else 'a'
  return f'{article} {color} {noun}'
