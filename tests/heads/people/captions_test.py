import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.heads import sentences
from mmdist.heads import worlds
from mmdist.heads.people import attributes as people_attributes

PEOPLE = worlds.get('people')
Attributes = people_attributes.Attributes
# Never in the full sentence, or only through what they belong to.
UNSAID = {'eye_color', 'shirt_color'}


def anything(rng: np.random.Generator, name: str = '') -> Attributes:
  """Draws each field by itself: every combination that can be."""
  fields = {
    field: choices[rng.integers(len(choices))]
    for field, choices in PEOPLE.attributes.choices.items()
  }
  fields['name'] = name
  if fields['kind'] in people_attributes.CHILDREN:
    fields['age'] = ''
  return Attributes(**fields)


@pytest.fixture(scope='module')
def anybody():
  """Combinations of all values, and characters as they are drawn."""
  rng = np.random.default_rng(10)
  drawn = [PEOPLE.attributes.sample(rng) for _ in range(1000)]
  return [anything(rng) for _ in range(1500)] + drawn


def all_said(a: Attributes) -> dict:
  """What a full sentence says of a person: everything that is there."""
  said = {
    key: value
    for key, value in PEOPLE.attributes.visible(a).items()
    if key not in UNSAID and value not in ('', False)
  }
  if a.name:  # "a joker", not "a joker old man".
    said = {k: v for k, v in said.items() if k not in ('kind', 'age')}
  return said


def test_the_full_sentence_is_read_back_completely(anybody):
  for i, a in enumerate(anybody):
    word = orbits.VIEW_WORDS[i % len(orbits.VIEW_WORDS)]
    text = PEOPLE.captions.describe(a, word)
    assert PEOPLE.captions.parse(text) == all_said(a) | {'view': word}, text


def test_no_sentence_of_a_head_contradicts_itself(anybody):
  rng = np.random.default_rng(16)
  for a in anybody:
    for text in (
      PEOPLE.captions.describe(a, 'front'),
      PEOPLE.captions.caption(a, 'eyes', rng),
    ):
      assert PEOPLE.captions.contradictions(text) == [], text


def test_a_caption_says_nothing_that_is_not_so(anybody):
  rng = np.random.default_rng(11)
  for i, a in enumerate(anybody):
    word = orbits.VIEW_WORDS[i % len(orbits.VIEW_WORDS)]
    text = PEOPLE.captions.caption(a, word, rng)
    truth = PEOPLE.attributes.visible(a) | {'view': word}
    assert PEOPLE.captions.parse(text).items() <= truth.items(), text


def test_captions_say_every_attribute_now_and_then(anybody):
  rng = np.random.default_rng(12)
  said = set()
  for a in anybody:
    text = PEOPLE.captions.caption(a, 'front', rng)
    said |= PEOPLE.captions.parse(text).keys()
  assert said == {*PEOPLE.attributes.choices, 'view'}


def test_every_word_is_in_the_vocabulary(anybody):
  known = set(PEOPLE.captions.vocabulary())
  prefixes = (None, sentences.NORMAL_PREFIX)
  rng = np.random.default_rng(13)
  for i, a in enumerate(anybody):
    word = orbits.VIEW_WORDS[i % len(orbits.VIEW_WORDS)]
    text = PEOPLE.captions.caption(a, word, rng, prefixes[i % 2])
    text += ' ' + PEOPLE.captions.describe(a, word)
    words = set(text.replace(',', ' , ').split()) - {'[w]'}
    assert words <= known, words - known


def test_captions_fit_a_prior_however_much_there_is_to_say():
  everything = Attributes(
    'woman',
    age='young',
    expression='closed eyes',
    skin='golden',
    freckles=True,
    hair_style='long',
    hat='wizard hat',
    glasses='glasses',
    beard='long beard',
    horns=True,
    headphones=True,
    pointed_ears=True,
    red_nose=True,
  )
  assert not sentences.fits(PEOPLE.captions.describe(everything))
  rng = np.random.default_rng(15)
  lengths = []
  for _ in range(300):
    text = PEOPLE.captions.caption(
      everything, 'low-angle', rng, sentences.NORMAL_PREFIX
    )
    assert sentences.fits(text)
    lengths.append(len(text.replace(',', ' , ').split()))
  assert max(lengths) > sentences.MAX_WORDS - 3


@pytest.mark.parametrize(
  'attributes, expected',
  [
    (
      Attributes(age='old'),
      'a neutral old man with pale skin and short brown hair',
    ),
    (
      Attributes('woman', age='young', expression='angry', hair_style='bob'),
      'an angry young woman with pale skin and a brown bob',
    ),
    (
      Attributes('girl', expression='wink', freckles=True, hair_style='curly'),
      'a girl with a wink, pale skin, freckles and curly brown hair',
    ),
    (
      Attributes(expression='puffed cheeks', beard='stubble', skin='dark'),
      'a man with puffed cheeks, dark skin, short brown hair and stubble',
    ),
    (
      Attributes(expression='pucker', beard='goatee', hair_style='ponytail'),
      'a man with a pucker, pale skin, a brown ponytail and a goatee',
    ),
  ],
)
def test_sentences_read_well(attributes, expected):
  assert PEOPLE.captions.describe(attributes) == f'a portrait of {expected}'


def test_articles_agree_with_the_word_behind_them(anybody):
  rng = np.random.default_rng(14)
  for a in anybody[::3]:
    text = PEOPLE.captions.caption(a, 'front', rng)
    words = text.replace(',', '').split()
    for article, word in zip(words, words[1:]):
      if article in ('a', 'an') and word != '[w]':
        assert (article == 'an') == (word[0] in 'aeio'), (article, word)


@pytest.mark.parametrize(
  'text, asked',
  [
    ('a portrait of a boy', {'kind': 'boy'}),
    (
      'An angry YOUNG woman with closed eyes',
      {'kind': 'woman', 'age': 'young', 'expression': 'closed eyes'},
    ),
    (
      'an old man with freckles, blue eyes and a long beard, nose view',
      {
        'kind': 'man',
        'age': 'old',
        'freckles': True,
        'eye_color': 'blue',
        'beard': 'long beard',
        'view': 'nose',
      },
    ),
    (
      'a girl with a pink ponytail and puffed cheeks',
      {
        'kind': 'girl',
        'hair_style': 'ponytail',
        'hair_color': 'pink',
        'expression': 'puffed cheeks',
      },
    ),
    ('a tree', {}),
  ],
)
def test_sentences_of_people_are_read(text, asked):
  assert PEOPLE.captions.parse(text) == asked


def test_a_name_brings_its_signs_and_nobodys_age():
  asked = PEOPLE.captions.parse('a portrait of a wizard')
  assert asked['beard'] == 'long beard' and asked['hair_color'] == 'white'
  assert not {'kind', 'age'} & set(asked)


def test_what_is_drawn_for_reading_is_said_and_never_held_out():
  rng = np.random.default_rng(0)
  questions = PEOPLE.captions.questions()
  for _ in range(300):
    text, answers = PEOPLE.captions.draw(rng)
    assert text.startswith(answers['prefix']) or 'photo of' in text
    for name, answer in answers.items():
      assert answer in questions[name]
    assert not any(
      combination.items() <= answers.items()
      for combination in PEOPLE.attributes.held_out
    )
