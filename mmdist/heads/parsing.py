"""Reads sentences: which attributes they ask for, and what cannot be.

Owns what a word means. The grammar that makes sentences is
`mmdist.heads.sentences`; both share a `wording.Wording`.
"""

from collections.abc import Iterable, Iterator, Mapping
import re
from typing import Any

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import emphasis
from mmdist.heads import characters
from mmdist.heads import palettes
from mmdist.heads import wording as wording_lib

# Whom a sentence is about is said, and no sign of a named character.
_NO_SIGNS = ('hat_color', 'shirt_color', 'kind', 'age')
_AGES = ('young', 'old')
# What is there or not, with its words.
_FLAGS = {
  'freckles': 'freckles',
  'horns': 'horns',
  'headphones': 'headphones',
  'pointed_ears': 'pointed ears',
  'red_nose': 'red nose',
}


def parse(wording: wording_lib.Wording, text: str) -> dict[str, Any]:
  """Returns what a sentence asks for; see `sentences.Captions.parse`."""
  text = _plain(text)
  choices = wording.traits.choices
  asked: dict[str, Any] = {}
  view = re.search(r'([a-z-]+) view\b', text)
  if view and view[1] in orbits.VIEW_WORDS:
    asked['view'] = view[1]
  subject = _subject(text)
  for name in _said(subject, palettes.NAMES[1:]):
    asked['name'] = name
    asked |= _signs(wording, name)
  for kind in _said(subject, sorted(choices['kind'], key=len, reverse=True)):
    asked.setdefault('kind', kind)
  for age in _said(subject, choices.get('age', ())[1:]):
    asked['age'] = age
  for expression in _said(text, choices['expression']):
    asked['expression'] = expression
  return asked | _details(wording, text)


def _plain(text: str) -> str:
  """Returns a text in lower case, without marks that change nothing."""
  # Marks of emphasis and ends of sentences change nothing of what is asked.
  text = re.sub(r'[.!?;:]+(?=\s|$)', ' ', emphasis.plain(text))
  return re.sub(r'\s+', ' ', text.lower().replace(' ,', ','))


def _subject(text: str) -> str:
  """Returns the part of a plain text that says whom it is about."""
  return text.split(' with ')[0]


def _said(text: str, values: Iterable[str]) -> Iterator[str]:
  """Yields the values whose words are in a text."""
  return (value for value in values if re.search(rf'\b{value}\b', text))


def _signs(wording: wording_lib.Wording, name: str) -> dict[str, Any]:
  """The visible signs of a named character, fixed by its definition."""
  rng = np.random.default_rng(0)
  signs = characters.signs(name, rng, wording.traits.old_man)
  return {
    key: value for key, value in signs.items() if value and key not in _NO_SIGNS
  }


def _colored_nouns(wording: wording_lib.Wording) -> dict[str, tuple]:
  """Returns field -> its colours, and the pattern of what they are said of."""
  hair = '|'.join(('hair', *wording.hair_nouns))
  return {
    'skin': (palettes.SKINS, 'skin'),
    'hair_color': (palettes.HAIR_COLORS, f'(?:{hair})'),
    'headphone_color': (palettes.OBJECT_COLORS, 'headphones'),
    'shirt_color': (palettes.OBJECT_COLORS, 'shirt'),
    'eye_color': (palettes.EYE_COLORS, 'eyes'),
  }


def _details(wording: wording_lib.Wording, text: str) -> dict[str, Any]:
  """Colours, hair, hats and accessories."""
  asked: dict[str, Any] = {}

  def put_color(field: str, colors: Iterable[str], noun: str) -> None:
    match = re.search(rf'\b({"|".join(colors)}) {noun}\b', text)
    if match:
      asked[field] = match[1]

  for field, (colors, noun) in _colored_nouns(wording).items():
    put_color(field, colors, noun)
  adjective = re.search(_hair_of(wording.hair_adjectives), text)
  if adjective:
    asked['hair_style'] = adjective[1]
  for style in _said(text, (wording_lib.BALD, *wording.hair_nouns)):
    asked['hair_style'] = style
  worn = max(_said(text, palettes.HATS[1:]), key=len, default='')
  if worn:
    asked['hat'] = worn
    put_color('hat_color', palettes.OBJECT_COLORS, worn)
  # The longer ones stand behind what they contain.
  for beard in _said(text, reversed(wording.traits.choices['beard'][1:])):
    asked.setdefault('beard', beard)
  glasses = re.search(r'\b(sunglasses|glasses)\b', text)
  if glasses:
    asked['glasses'] = glasses[1]
  for field in _said_flags(wording, text):
    asked[field] = True
  return asked


def _hair_of(adjectives: Iterable[str]) -> str:
  return rf'\b({"|".join(adjectives)})(?: [a-z]+)? hair\b'


def _said_flags(wording: wording_lib.Wording, text: str) -> list[str]:
  return [
    field
    for field, words in _FLAGS.items()
    if wording.has(field) and re.search(rf'\b{words}\b', text)
  ]


def contradictions(wording: wording_lib.Wording, text: str) -> list[str]:
  """Returns what cannot be; see `sentences.Captions.contradictions`."""
  text = _plain(text)
  found = [
    (said, f'a head has one {what}')
    for what, said in _single_things(wording, text).items()
    if len(said) > 1
  ]
  hair = _hair(wording, text)
  if wording_lib.BALD in hair:
    colors = _alternatives(palettes.HAIR_COLORS)
    hair += _finds(rf'\b(?:{colors}) hair\b', text)
    if len(hair) > 1:
      found.append((hair, 'a bald head has no hair'))
  elif len(hair) > 1:
    found.append((hair, 'a head has one style of hair'))
  ages = _any_of(_subject(text), _AGES)
  for kind in _any_of(_subject(text), wording.traits.ageless):
    if ages:
      found.append(([*ages, kind], f'a {kind} is neither young nor old'))
  return [f'{_listed(said)} cannot be together: {why}' for said, why in found]


def _single_things(
  wording: wording_lib.Wording, text: str
) -> Mapping[str, list[str]]:
  """Returns what a head has one of -> those that a text names, in its words."""
  choices, subject = wording.traits.choices, _subject(text)
  things = {
    'name': _any_of(subject, palettes.NAMES[1:]),
    'kind': _any_of(subject, choices['kind']),
    'age': _any_of(subject, choices.get('age', ())[1:]),
    'expression': _any_of(text, choices['expression']),
    'hat': _any_of(text, palettes.HATS[1:]),
    'pair of glasses': _any_of(text, palettes.GLASSES[1:]),
    'beard': _any_of(text, choices['beard'][1:]),
  }
  colored = {
    **_colored_nouns(wording),
    'hat_color': (
      palettes.OBJECT_COLORS,
      f'(?:{_alternatives(palettes.HATS[1:])})',
    ),
  }
  for field, (colors, noun) in colored.items():
    what = field.removesuffix('_color').replace('_', ' ')
    either = _alternatives(colors)
    # As in "red and blue skin" and "a red and a blue hat" too.
    named = [
      word
      for phrase in _finds(
        rf'\b(?:(?:{either})(?:,| and|, and)?(?: an?)? )*(?:{either}) {noun}\b',
        text,
      )
      for word in _finds(rf'\b(?:{either})\b', phrase)
    ]
    things[f'colour of {what}'] = list(dict.fromkeys(named))
  return things


def _hair(wording: wording_lib.Wording, text: str) -> list[str]:
  """Returns the styles of hair that a text names."""
  adjectives = _alternatives(wording.hair_adjectives)
  colors = _alternatives((*palettes.HAIR_COLORS, *palettes.SKINS))
  said = _finds(
    # As in "long, short red hair" too.
    rf'\b(?:(?:{adjectives}|{colors})(?:,| and|, and)? )*'
    rf'(?:{adjectives})(?: [a-z]+)? hair\b',
    text,
  )
  styles = [
    f'{word} hair'
    for phrase in said
    for word in _finds(rf'\b(?:{adjectives})\b', phrase)
  ]
  nouns = _any_of(text, (wording_lib.BALD, *wording.hair_nouns))
  return list(dict.fromkeys([*nouns, *styles]))


def _alternatives(values: Iterable[str]) -> str:
  """Returns a pattern of values, of which the longest that fits is taken."""
  return '|'.join(sorted(values, key=len, reverse=True))


def _any_of(text: str, values: Iterable[str]) -> list[str]:
  """Returns the values that a text names; a top hat is no hat besides."""
  pattern = _alternatives(values)
  return _finds(rf'\b(?:{pattern})\b', text) if pattern else []


def _finds(pattern: str, text: str) -> list[str]:
  """Returns what a pattern finds, each once."""
  return list(dict.fromkeys(m[0] for m in re.finditer(pattern, text)))


def _listed(words: Iterable[str]) -> str:
  *first, last = [f"'{word}'" for word in words]
  return f'{", ".join(first)} and {last}'
