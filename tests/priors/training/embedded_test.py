import numpy as np
import pytest
import torch

from mmdist.heads import sentences
from mmdist.heads import worlds
from mmdist.priors import prompt_encoder
from mmdist.priors.training import embedded
from mmdist.priors.training import from_scratch
from mmdist.training import prior_sheet
from tests.priors import tiny

PEOPLE = worlds.get('people')


@pytest.fixture(scope='module')
def tokenizer():
  return embedded.make_tokenizer(
    PEOPLE.captions.vocabulary(), embedded.Architecture().prompt_length
  )


def make_tiny(seed=0):
  return embedded.make_pipeline(
    PEOPLE.captions.vocabulary(), tiny.ARCHITECTURE, 'float32', seed
  )


def weights_of(pipeline):
  return [w.detach().clone() for w in from_scratch.trainable_weights(pipeline)]


def assert_same(first, second):
  for a, b in zip(first, second, strict=True):
    assert torch.equal(a, b)


# The tokenizer.


def test_sentences_survive_the_tokenizer(tokenizer):
  text = 'A portrait of a happy man,with green skin , front view'
  ids = tokenizer(text)['input_ids']
  assert (ids[0], ids[-1]) == (1, 2)
  decoded = tokenizer.decode(ids, skip_special_tokens=True)
  words = decoded.replace(' ,', ',').replace(',', ' ,').split()
  assert words == (
    'a portrait of a happy man , with green skin , front view'.split()
  )


def test_every_word_and_identifier_is_a_token_of_its_own(tokenizer):
  words = PEOPLE.captions.vocabulary() + embedded.IDENTIFIER_TOKENS
  ids = [tokenizer(word)['input_ids'] for word in words]
  assert all(len(tokens) == 3 for tokens in ids)
  assert len({tokens[1] for tokens in ids}) == len(words)
  assert max(max(tokens) for tokens in ids) < embedded.VOCABULARY_SIZE


def test_unknown_words_are_named_with_the_nearest(tokenizer):
  with pytest.raises(ValueError, match="'mustache'.*nearest: 'moustache'"):
    prompt_encoder.check_text(tokenizer, 'a man with a mustache', 40)
  assert tokenizer('zebra')['input_ids'] == [1, 3, 2]


def test_the_prompts_of_the_sample_sheet_are_known_words(tokenizer):
  for text in prior_sheet.PROMPTS['people']:
    prompt_encoder.check_text(
      tokenizer, text, embedded.Architecture().prompt_length
    )
    normal = text.replace(sentences.COLOR_PREFIX, sentences.NORMAL_PREFIX)
    prompt_encoder.check_text(
      tokenizer, normal, embedded.Architecture().prompt_length
    )


def test_the_longest_caption_of_many_heads_fits(tokenizer):
  rng = np.random.default_rng(0)
  heads = [PEOPLE.attributes.sample(rng) for _ in range(1500)]
  texts = [
    PEOPLE.captions.describe(a, 'low-angle', sentences.NORMAL_PREFIX)
    for a in heads
  ]
  texts += [PEOPLE.captions.caption(a, 'low-angle', rng) for a in heads]
  longest = max(len(ids) for ids in tokenizer(texts)['input_ids'])
  length = embedded.Architecture().prompt_length
  # Both ends take a token; captions are cut to what is left.
  assert longest <= length == sentences.MAX_WORDS + 2


def test_too_many_words_are_refused():
  with pytest.raises(ValueError, match='at most 128 fit'):
    embedded.make_tokenizer([f'word{i}' for i in range(150)], 40)


# The pipeline.


def test_the_seed_decides_the_first_weights_and_nothing_else_is_drawn():
  before = torch.get_rng_state()
  first, again, other = make_tiny(0), make_tiny(0), make_tiny(1)
  assert torch.equal(before, torch.get_rng_state())
  assert_same(weights_of(first), weights_of(again))
  assert any(
    not torch.equal(a, b)
    for a, b in zip(weights_of(first), weights_of(other), strict=True)
  )


def test_the_embedded_architecture_folds_pixels_as_its_settings_say():
  pipeline = make_tiny()
  assert (
    pipeline.denoiser.config.in_channels == 12 == pipeline.codec.factor**2 * 3
  )
  assert pipeline.settings['image_size'] == pipeline.image_size == 8
  assert pipeline.settings['identifier_tokens']['normal'] == '[w]'


def test_the_sentence_does_not_drown_the_time_embedding():
  pipeline = embedded.make_pipeline(
    PEOPLE.captions.vocabulary(), dtype='float32'
  )
  texts = ['a portrait of a happy man, front view', 'a portrait of a devil']
  with torch.no_grad():
    prompt_embeds = pipeline.text.encode_afresh(texts)
    unet = pipeline.denoiser
    of_text = unet.add_embedding(prompt_embeds.sequence)
    times = unet.time_proj(torch.tensor([100, 800]))
    of_time = unet.time_embedding(times)
  # 7.3 as layers are by default, 2.2 here.
  assert 0.05 < of_text.std() < 3 * of_time.std()
