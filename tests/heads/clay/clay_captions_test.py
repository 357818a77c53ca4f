import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.heads import sentences
from mmdist.heads import worlds
from mmdist.heads.clay import clay_attributes

CLAY = worlds.get('clay')

Attributes = clay_attributes.Attributes
# Never in the full sentence, or only through what they belong to.
UNSAID = {'eye_color', 'shirt_color'}


@pytest.fixture(scope='module')
def sampled():
  rng = np.random.default_rng(10)
  return [CLAY.attributes.sample(rng) for _ in range(2000)]


def all_said(a: Attributes) -> dict:
  """What a full sentence says of a head: everything that is there."""
  shown = CLAY.attributes.visible(a)
  said = {
    key: value
    for key, value in shown.items()
    if key not in UNSAID and value not in ('', False)
  }
  if a.name:
    del said['kind']  # "a joker", not "a joker man".
  return said


def test_the_full_sentence_is_read_back_completely(sampled):
  for i, a in enumerate(sampled):
    word = orbits.VIEW_WORDS[i % len(orbits.VIEW_WORDS)]
    text = CLAY.captions.describe(a, word)
    assert CLAY.captions.parse(text) == all_said(a) | {'view': word}, text


def test_a_caption_says_nothing_that_is_not_so(sampled):
  rng = np.random.default_rng(11)
  for i, a in enumerate(sampled):
    word = orbits.VIEW_WORDS[i % len(orbits.VIEW_WORDS)]
    text = CLAY.captions.caption(a, word, rng)
    truth = CLAY.attributes.visible(a) | {'view': word}
    assert CLAY.captions.parse(text).items() <= truth.items(), text


def test_captions_say_every_attribute_now_and_then(sampled):
  rng = np.random.default_rng(12)
  said = set()
  for a in sampled[:1500]:
    said |= CLAY.captions.parse(CLAY.captions.caption(a, 'front', rng)).keys()
  assert said == {*CLAY.attributes.choices, 'view'}


def test_every_word_is_in_the_vocabulary(sampled):
  known = set(CLAY.captions.vocabulary())
  prefixes = (None, sentences.NORMAL_PREFIX)
  rng = np.random.default_rng(13)
  for i, a in enumerate(sampled):
    word = orbits.VIEW_WORDS[i % len(orbits.VIEW_WORDS)]
    text = CLAY.captions.caption(a, word, rng, prefixes[i % 2])
    text += ' ' + CLAY.captions.describe(a, word)
    words = set(text.replace(',', ' , ').split()) - {'[w]'}
    assert words <= known, words - known


def test_the_vocabulary_is_sorted_lowercase_and_without_doubles():
  words = CLAY.captions.vocabulary()
  assert list(words) == sorted(set(words))
  assert all(word == word.lower() and ' ' not in word for word in words)


def test_captions_fit_a_prior_however_much_there_is_to_say():
  everything = Attributes(
    'old woman',
    expression='open mouth',
    skin='golden',
    hair_style='long',
    hat='wizard hat',
    glasses='glasses',
    beard='long beard',
    horns=True,
    headphones=True,
    pointed_ears=True,
    red_nose=True,
  )
  rng = np.random.default_rng(15)
  lengths = []
  for _ in range(300):
    text = CLAY.captions.caption(
      everything, 'low-angle', rng, sentences.NORMAL_PREFIX
    )
    lengths.append(len(text.replace(',', ' , ').split()))
  assert max(lengths) <= sentences.MAX_WORDS < max(lengths) + 3


def test_the_rng_decides_the_caption():
  a = Attributes(hat='hat', glasses='glasses')
  texts = [
    CLAY.captions.caption(a, 'front', np.random.default_rng(seed))
    for seed in (0, 0, *range(1, 30))
  ]
  assert texts[0] == texts[1] and len(set(texts)) > 15


@pytest.mark.parametrize(
  'attributes, view, expected',
  [
    (
      Attributes('man', '', 'happy', 'green', hat='hat', hat_color='red'),
      'front',
      'a portrait of a happy man with green skin, short brown hair and a red '
      'hat, front view',
    ),
    (
      Attributes('old woman', expression='open mouth', hair_style='bald'),
      '',
      'a portrait of an old woman with an open mouth, pale skin and a bald '
      'head',
    ),
    (
      Attributes(hair_style='mohawk', hat='cap', hat_color='orange'),
      'side',
      'a portrait of a neutral man with pale skin, a brown mohawk and an '
      'orange cap, side view',
    ),
  ],
)
def test_sentences_read_well(attributes, view, expected):
  assert CLAY.captions.describe(attributes, view) == expected


def test_articles_agree_with_the_word_behind_them(sampled):
  rng = np.random.default_rng(14)
  for a in sampled[:1000]:
    words = CLAY.captions.caption(a, 'front', rng).replace(',', '').split()
    for article, word in zip(words, words[1:]):
      if article in ('a', 'an') and word != '[w]':
        assert (article == 'an') == (word[0] in 'aeio'), (article, word)


def test_the_normal_priors_sentence_has_its_token():
  text = CLAY.captions.describe(Attributes(), prefix=sentences.NORMAL_PREFIX)
  assert text.startswith('a [w] face map of a neutral man with')


@pytest.mark.parametrize(
  'text, asked',
  [
    ('a portrait of a man', {'kind': 'man'}),
    ('A Portrait of a WOMAN , Back View', {'kind': 'woman', 'view': 'back'}),
    ('a tree', {}),
    ('', {}),
    (
      'a portrait of an old man with long white hair and a long beard',
      {
        'kind': 'old man',
        'hair_style': 'long',
        'hair_color': 'white',
        'beard': 'long beard',
      },
    ),
    (
      'a man with a purple wizard hat and sunglasses',
      {
        'kind': 'man',
        'hat': 'wizard hat',
        'hat_color': 'purple',
        'glasses': 'sunglasses',
      },
    ),
    (
      'a surprised child with blue headphones, low-angle view',
      {
        'kind': 'child',
        'expression': 'surprised',
        'headphones': True,
        'headphone_color': 'blue',
        'view': 'low-angle',
      },
    ),
    ('a hat, upside-down view', {'hat': 'hat'}),
  ],
)
def test_sentences_of_people_are_read(text, asked):
  assert CLAY.captions.parse(text) == asked


def test_what_is_said_outweighs_what_a_name_implies():
  asked = CLAY.captions.parse('a portrait of a sad wizard with a red crown')
  assert (asked['expression'], asked['hat']) == ('sad', 'crown')
  assert asked['hat_color'] == 'red' and asked['beard'] == 'long beard'


def test_a_name_brings_its_signs():
  asked = CLAY.captions.parse('a portrait of a joker')
  assert asked == {
    'name': 'joker',
    'expression': 'happy',
    'skin': 'white',
    'hair_color': 'green',
    'hair_style': 'short',
  }


def test_what_is_drawn_for_reading_is_said_and_never_held_out():
  rng = np.random.default_rng(0)
  questions = CLAY.captions.questions()
  prefixes = set()
  for _ in range(300):
    text, answers = CLAY.captions.draw(rng)
    prefixes.add(answers['prefix'])
    assert text.startswith(answers['prefix']) or 'photo of' in text
    for name, answer in answers.items():
      assert answer in questions[name]
    assert not any(
      combination.items() <= answers.items()
      for combination in CLAY.attributes.held_out
    )
  assert prefixes == set(questions['prefix'])


def test_marks_and_full_stops_change_nothing_of_what_is_asked():
  plain = CLAY.captions.parse('a portrait of a happy man with a red cowboy hat')
  assert plain
  for text in (
    'a portrait of a happy man with a red cowboy hat.',
    'a portrait of a (happy:1.3) man with a (red cowboy hat).',
    'A portrait of a happy man\n with a red cowboy hat!',
  ):
    assert CLAY.captions.parse(text) == plain


def test_who_cannot_be_is_said():
  assert CLAY.captions.contradictions('an old child') == [
    "'old' and 'child' cannot be together: a child is neither young nor old"
  ]
