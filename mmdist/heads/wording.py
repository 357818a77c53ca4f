"""What the sentences of a world need besides its attributes."""

from collections.abc import Mapping
import dataclasses

from mmdist.heads import traits as head_traits

BALD = 'bald'


@dataclasses.dataclass(frozen=True)
class Wording:
  """How a world's attributes are said.

  Attributes:
    traits: which heads there are.
    hair_adjectives: styles that are said of hair, as in "long brown hair".
    hair_nouns: styles that are things, as in "a brown afro". The rest is bald.
    expressions: those that are said as something a face has, with their words;
      the rest are adjectives of whom it is about.
    uncounted: things without an article.
    words: that captions have besides those of the grammar and of the values.
  """

  traits: head_traits.Traits
  hair_adjectives: tuple[str, ...]
  hair_nouns: tuple[str, ...]
  expressions: Mapping[str, str]
  uncounted: tuple[str, ...] = ()
  words: tuple[str, ...] = ()

  def has(self, field: str) -> bool:
    """Returns whether the heads of the world have a field."""
    return field in self.traits.choices

  def thing(self, noun: str) -> str:
    """Returns a noun with "a", if it takes one."""
    return noun if noun in self.uncounted else f'a {noun}'

  def who(self, attributes: head_traits.Attributes) -> str:
    """Returns whom a sentence is about: a name, or an age and a kind."""
    if attributes.name:
      return attributes.name
    age = getattr(attributes, 'age', '')  # Not in every world.
    return f'{age} {attributes.kind}'.strip()
