"""Texts that ask for what no head can have."""

import pytest

from mmdist.heads import worlds

PEOPLE = worlds.get('people')


@pytest.fixture(name='world', params=worlds.NAMES)
def fixture_world(request):
  return worlds.get(request.param)


@pytest.mark.parametrize(
  'text, why',
  [
    (
      'a bald woman with long red hair',
      "'bald' and 'long hair' cannot be together: a bald head has no hair",
    ),
    (
      'a bald man with black hair',
      "'bald' and 'black hair' cannot be together: a bald head has no hair",
    ),
    (
      'a man with long short hair',
      "'long hair' and 'short hair' cannot be together: a head has one style "
      'of hair',
    ),
    (
      'a happy sad man',
      "'happy' and 'sad' cannot be together: a head has one expression",
    ),
    (
      'a man with red and green skin',
      "'red' and 'green' cannot be together: a head has one colour of skin",
    ),
    (
      'a man with a red and a blue hat',
      "'red' and 'blue' cannot be together: a head has one colour of hat",
    ),
    (
      'a woman with a crown and a top hat',
      "'crown' and 'top hat' cannot be together: a head has one hat",
    ),
    (
      'a man with a moustache, a beard and sunglasses',
      "'moustache' and 'beard' cannot be together: a head has one beard",
    ),
    (
      'a (bald:1.4) woman with an AFRO.',
      "'bald' and 'afro' cannot be together: a bald head has no hair",
    ),
    (
      'a joker and a devil',
      "'joker' and 'devil' cannot be together: a head has one name",
    ),
  ],
)
def test_a_contradiction_is_said_in_a_sentence(world, text, why):
  assert world.captions.contradictions(text) == [why]


@pytest.mark.parametrize(
  'text, why',
  [
    (
      'an old boy',
      "'old' and 'boy' cannot be together: a boy is neither young nor old",
    ),
    (
      'a young old woman',
      "'young' and 'old' cannot be together: a head has one age",
    ),
    (
      'a boy, a girl',
      "'boy' and 'girl' cannot be together: a head has one kind",
    ),
  ],
)
def test_who_cannot_be_is_said(text, why):
  assert PEOPLE.captions.contradictions(text) == [why]


@pytest.mark.parametrize(
  'text',
  [
    'a portrait of a happy man with green skin and a red top hat, front view',
    'a bald man with a bald head',
    'a woman with long red hair',
    'a man with a wizard hat, a red nose and green eyes',
    'a man with red skin, a blue hat and a green shirt',
    'an old man with long white hair and a long beard',
    'a tree',
    '',
  ],
)
def test_what_can_be_is_no_contradiction(world, text):
  assert world.captions.contradictions(text) == []


def test_several_contradictions_are_said_each():
  found = PEOPLE.captions.contradictions(
    'a happy sad bald man with a brown bob'
  )
  assert len(found) == 2
