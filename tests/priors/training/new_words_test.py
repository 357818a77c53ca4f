import pytest
import torch

from mmdist.heads import worlds
from mmdist.priors.training import embedded
from mmdist.priors.training import new_words
from tests.priors import tiny

PEOPLE = worlds.get('people')
TEXT = 'a portrait of a happy woman with freckles, front view'
OTHER = 'gone'  # No world that there is.
NEW = ('freckles', 'happy')
WORDS = [word for word in PEOPLE.captions.vocabulary() if word not in NEW]


def prior(words, world):
  return embedded.make_pipeline(
    words, tiny.ARCHITECTURE, dtype='float32', world=world
  )


def for_people(pipeline):
  return new_words.with_words(
    pipeline, PEOPLE.captions.vocabulary(), PEOPLE.name
  )


def encode(pipeline, text):
  return pipeline.text.encode([text]).sequence


def test_words_that_a_prior_knows_stay_where_they_are():
  pipeline = prior(['green', *WORDS[::-1]], OTHER)
  longer = for_people(pipeline)
  before, after = (
    p.text.readers[0].tokenizer.get_vocab() for p in (pipeline, longer)
  )
  assert before.items() <= after.items()
  assert set(after) - set(before) == set(NEW)
  known = TEXT.replace('happy ', '').replace('freckles', 'green skin')
  torch.testing.assert_close(encode(longer, known), encode(pipeline, known))


def test_new_words_are_read_and_differ():
  pipeline = prior(WORDS, OTHER)
  with pytest.raises(ValueError, match='happy'):
    encode(pipeline, TEXT)
  longer = for_people(pipeline)
  assert longer.settings['world'] == 'people'
  other = TEXT.replace('happy ', '')
  assert not torch.equal(encode(longer, TEXT), encode(longer, other))


def test_more_words_than_there_is_room_for_are_refused():
  words = [f'word{i}' for i in range(embedded.VOCABULARY_SIZE - 20)]
  with pytest.raises(ValueError, match='at most 128 fit'):
    for_people(prior(words, OTHER))
