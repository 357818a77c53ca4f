"""The sentences that describe procedural heads.

Owns the grammar; the attributes come from `mmdist.heads.attributes` and
the view words from `mmdist.cameras.orbits`. `parse` reads a sentence back
into the attributes it asks for, which is what the judge scores a result by.
"""

from collections.abc import Iterable, Mapping, Sequence
import re

import numpy as np

from mmdist.cameras import orbits
from mmdist.core import emphasis
from mmdist.heads import attributes as head_attributes

COLOR_PREFIX = 'a portrait of'
NORMAL_PREFIX = 'a [w] face map of'
# A prior reads 40 tokens, of which two mark the start and the end of a text.
# A comma is a word of its own.
MAX_WORDS = 38
STYLE_PREFIXES = ('a photo of', 'a dslr photo of')


def describe(
  attributes: head_attributes.Attributes,
  view: str = '',
  prefix: str = COLOR_PREFIX,
) -> str:
  """Returns the full sentence, everything said, in the canonical order."""
  return _sentence(attributes, _phrases(attributes), True, view, prefix)


def caption(
  attributes: head_attributes.Attributes,
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
  said = [p for p, keep in _phrases(attributes, rng) if rng.random() < keep]
  phrases = [(said[i], 1.0) for i in rng.permutation(len(said))]
  neutral = attributes.expression == 'neutral'
  say_expression = rng.random() < (0.5 if neutral else 0.9)
  said_view = view if rng.random() < 0.9 else ''

  def sentence() -> str:
    return _sentence(attributes, phrases, say_expression, said_view, prefix)

  while not fits(sentence()):
    phrases.pop()  # About one caption in 100,000 would not fit.
  return sentence()


def fits(text: str) -> bool:
  """Returns whether a prior can read all of a sentence."""
  return len(text.replace(',', ' , ').split()) <= MAX_WORDS


def questions() -> dict[str, tuple]:
  """Returns what `draw` may answer: name -> values."""
  return {
    **head_attributes.CHOICES,
    'view': orbits.VIEW_WORDS,
    'prefix': (COLOR_PREFIX, NORMAL_PREFIX),
  }


def draw(rng: np.random.Generator) -> tuple[str, Mapping[str, object]]:
  """Returns a training caption of a head that nobody rendered, and its answers.

  For teaching a text encoder to read. Held-out combinations do not occur.
  """
  attributes = head_attributes.sample_training_attributes(rng)
  view = orbits.VIEW_WORDS[rng.integers(len(orbits.VIEW_WORDS))]
  normal = rng.random() < 0.25
  text = caption(attributes, view, rng, NORMAL_PREFIX if normal else None)
  prefix = NORMAL_PREFIX if normal else COLOR_PREFIX
  return text, {**parse(text), 'prefix': prefix}


def _sentence(
  attributes: head_attributes.Attributes,
  phrases: Sequence[tuple[str, float]],
  say_expression: bool,
  view: str,
  prefix: str,
) -> str:
  noun = attributes.name or attributes.kind
  expression = attributes.expression if say_expression else ''
  parts = [text for text, _ in phrases]
  if expression == 'open mouth':
    parts.insert(0, 'an open mouth')
    expression = ''
  words = f'{expression} {noun}'.strip()
  article = 'an' if words[0] in 'aeio' else 'a'
  text = f'{prefix} {article} {words}'
  if parts:
    text += ' with ' + ' and '.join(
      filter(None, [', '.join(parts[:-1]), parts[-1]])
    )
  return f'{text}, {view} view' if view else text


def _phrases(
  attributes: head_attributes.Attributes, rng: np.random.Generator | None = None
) -> list[tuple[str, float]]:
  """Returns (phrase, probability that a caption says it)."""
  a, phrases = attributes, []
  by_name = head_attributes.NAMES.index(a.name) > 0
  # Captions rarely say what a name implies, such as a joker's green hair.
  usual = 0.25 if by_name else 1.0
  fantasy = a.skin in head_attributes.FANTASY_SKINS
  phrases.append((f'{a.skin} skin', (0.9 if fantasy else 0.6) * usual))
  phrases.append((_hair_phrase(a, rng), 0.75 * usual))
  if a.hat:
    color = f'a {a.hat_color} {a.hat}'.replace('a orange', 'an orange')
    phrases.append((color, 0.95 * (0.3 if a.name == 'wizard' else 1.0)))
  if a.beard:
    phrases.append((f'a {a.beard}', 0.9 * usual))
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
    phrases.append(
      (f'a {a.shirt_color} shirt'.replace('a orange', 'an orange'), 0.35)
    )
  return phrases


def _hair_phrase(
  a: head_attributes.Attributes, rng: np.random.Generator | None
) -> str:
  if a.hair_style == 'bald':
    return 'a bald head'
  if a.hair_style in ('afro', 'mohawk', 'bun'):
    return f'a {a.hair_color} {a.hair_style}'
  if rng is not None and rng.random() < 0.25:
    return f'{a.hair_color} hair'
  return f'{a.hair_style} {a.hair_color} hair'


def vocabulary() -> tuple[str, ...]:
  """Returns every word that a caption can contain, lowercase, sorted."""
  fixed = (
    'a an portrait photo dslr face map of with and , view skin hair head shirt '
    'eyes ears open mouth pointed red nose horns headphones person the'
  )
  words = set(fixed.split())
  for choices in head_attributes.CHOICES.values():
    words.update(
      word for c in choices if isinstance(c, str) for word in c.split()
    )
  words.update(word for view in orbits.VIEW_WORDS for word in view.split())
  return tuple(sorted(words))


def parse(text: str) -> Mapping[str, object]:
  """Reads the attributes that a sentence asks for.

  Args:
    text: a caption, lower or upper case, with or without a view.

  Returns:
    Field of `Attributes` -> value, only for what is said; `view` too if named.
    A named character brings what makes it one.
  """
  # Marks of emphasis and ends of sentences change nothing of what is asked.
  text = re.sub(r'[.!?;:]+(?=\s|$)', ' ', emphasis.plain(text))
  text = re.sub(r'\s+', ' ', text.lower().replace(' ,', ','))
  asked: dict[str, object] = {}
  view = re.search(r'([a-z-]+) view\b', text)
  if view and view[1] in orbits.VIEW_WORDS:
    asked['view'] = view[1]
  subject = text.split(' with ')[0]
  for name in head_attributes.NAMES[1:]:
    if re.search(rf'\b{name}\b', subject):
      asked['name'] = name
      asked |= _named(name)
  for kind in sorted(head_attributes.KINDS, key=len, reverse=True):
    if re.search(rf'\b{kind}\b', subject) and 'kind' not in asked:
      asked['kind'] = kind
  for expression in head_attributes.EXPRESSIONS:
    if re.search(rf'\b{expression}\b', text):
      asked['expression'] = expression
  asked |= _parse_details(text)
  return asked


def _named(name: str) -> dict[str, object]:
  """The visible signs of a named character, fixed by its definition."""
  rng = np.random.default_rng(0)
  signs = head_attributes.character(name, rng)
  return {
    key: value
    for key, value in signs.items()
    if value and key not in ('hat_color', 'shirt_color', 'kind')
  }


def _parse_details(text: str) -> dict[str, object]:
  """Colours, hair, hats and accessories."""
  asked: dict[str, object] = {}

  def colored(choices: Iterable[str], noun: str) -> str | None:
    match = re.search(rf'\b({"|".join(choices)}) {noun}\b', text)
    return match[1] if match else None

  def put(field: str, value: object) -> None:
    if value is not None:
      asked[field] = value

  put('skin', colored(head_attributes.SKINS, 'skin'))
  put(
    'hair_color',
    colored(head_attributes.HAIR_COLORS, '(?:hair|afro|mohawk|bun)'),
  )
  length = re.search(r'\b(short|long)(?: [a-z]+)? hair\b', text)
  put('hair_style', length[1] if length else None)
  for style in ('bald', 'afro', 'mohawk', 'bun'):
    put('hair_style', style if re.search(rf'\b{style}\b', text) else None)
  worn = ''
  for hat in head_attributes.HATS[1:]:
    if re.search(rf'\b{hat}\b', text) and len(hat) > len(worn):
      worn = hat
  if worn:
    asked['hat'] = worn
    put('hat_color', colored(head_attributes.OBJECT_COLORS, worn))
  put('headphone_color', colored(head_attributes.OBJECT_COLORS, 'headphones'))
  put('shirt_color', colored(head_attributes.OBJECT_COLORS, 'shirt'))
  put('eye_color', colored(head_attributes.EYE_COLORS, 'eyes'))
  for beard in ('moustache', 'long beard', 'beard'):
    if re.search(rf'\b{beard}\b', text) and 'beard' not in asked:
      asked['beard'] = beard
  glasses = re.search(r'\b(sunglasses|glasses)\b', text)
  put('glasses', glasses[1] if glasses else None)
  for field, words in (
    ('horns', 'horns'),
    ('headphones', 'headphones'),
    ('pointed_ears', 'pointed ears'),
    ('red_nose', 'red nose'),
  ):
    put(field, True if re.search(rf'\b{words}\b', text) else None)
  return asked
