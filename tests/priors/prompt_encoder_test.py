"""Texts: each encoded once, unknown words and long ones named."""

import warnings

import pytest
import torch

from mmdist.priors import directory
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prompt_encoder
from tests.priors import tiny


@pytest.fixture(scope='module')
def text(tmp_path_factory):
  path = tiny.write_pipeline(tmp_path_factory.mktemp('text'))
  return pipelines.open_pipeline(path, device='cpu').text


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
  path = tmp_path_factory.mktemp('clip')
  tiny.clip_tokenizer(path / 'tokenizer')
  return directory.load_tokenizer(path)


def test_unknown_words_come_with_the_nearest_known_ones(text):
  words = prompt_encoder.unknown_words(
    text.readers[0].tokenizer, 'A hapy man, with a haat'
  )
  assert words == {'hapy': 'happy', 'haat': 'hat'}


def test_special_tokens_are_never_the_nearest(text):
  assert prompt_encoder.unknown_words(text.readers[0].tokenizer, '<pa>') != {
    '<pa>': '<pad>'
  }


def test_known_words_in_any_case_pass(text):
  assert not prompt_encoder.unknown_words(
    text.readers[0].tokenizer, 'A [w] Portrait,front view'
  )
  prompt_encoder.check_text(
    text.readers[0].tokenizer, 'a happy man , front view', tiny.LENGTH
  )
  prompt_encoder.check_text(text.readers[0].tokenizer, '', tiny.LENGTH)


def test_an_unknown_word_is_one_line(text):
  with pytest.raises(ValueError) as caught:
    text.encode(['a portrait of a hapy man'])
  assert str(caught.value) == (
    "prompt 'a portrait of a hapy man' has unknown words: "
    "'hapy' (nearest: 'happy')."
  )


def test_a_prompt_without_end_is_one_short_line(text):
  with pytest.raises(ValueError) as caught:
    text.encode(['a happy man ' * 1000])
  message = str(caught.value)
  assert 'has 3000 tokens; at most 14 fit; use fewer words' in message
  assert len(message) < 200


def test_one_endless_word_is_one_short_line(text):
  with pytest.raises(ValueError) as caught:
    text.encode(['x' * 10_000])
  assert len(str(caught.value)) < 200


def test_a_byte_pair_vocabulary_knows_every_word(clip):
  assert not prompt_encoder.unknown_words(clip, 'a hapy haat')
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    prompt_encoder.check_text(clip, 'a hapy man', tiny.LENGTH)


def test_a_byte_pair_vocabulary_warns_of_what_it_cuts(clip):
  with pytest.warns(UserWarning, match="19 tokens; at most 14 .* 'words'"):
    prompt_encoder.check_text(clip, 'a man of many many words', tiny.LENGTH)


def test_a_text_is_encoded_once(text, monkeypatch):
  first = text.encode(['a sad man', 'a sad woman'])
  monkeypatch.setattr(text, 'encode_afresh', None)
  again = text.encode(['a sad woman', 'a sad man', 'a sad man'])
  assert torch.equal(again.sequence, first.sequence[[1, 0, 0]])
  assert not again.sequence.requires_grad
  assert first.sequence.shape == (2, tiny.LENGTH, tiny.EMBED)


def test_forgetting_encodes_again(text):
  before = text.encode(['a green hat']).sequence
  text.forget()
  assert torch.equal(text.encode(['a green hat']).sequence, before)


def test_different_texts_have_different_embeddings(text):
  happy, sad = text.encode(['a happy man', 'a sad man']).sequence
  assert (happy - sad).abs().max() > 0.1
