"""Emphasis and texts in pieces, as encoders of every family read them."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from mmdist.core import emphasis
from mmdist.priors import checks
from mmdist.priors import families
from mmdist.priors import family_texts
from mmdist.priors import pipeline as pipelines
from mmdist.priors import prompt_chunks
from mmdist.priors import score as scores
from tests.priors import guidance_oracle
from tests.priors import tiny
from tests.priors import tiny_families

FEW = ('sd1', 'sdxl', 'if', 'sd3', 'pixels')
TEXT, MARKED = 'happy man', 'happy (man:1.5)'


@pytest.fixture(name='directories', scope='module')
def fixture_directories(tmp_path_factory):
  return {
    family: tiny_families.write(family, tmp_path_factory.mktemp(family))
    for family in FEW
  }


def open_text(directory, **options):
  return pipelines.open_pipeline(directory, device='cpu', **options).text


@pytest.mark.parametrize('family', FEW)
def test_a_weight_scales_what_a_token_adds_to_the_empty_text(
  directories, family
):
  text = open_text(directories[family])
  plain, marked = text.encode([TEXT]), text.encode([MARKED])
  if text.empty_is_zero:  # SDXL says nothing with zeros, not with ''.
    empty = text._join([reader.read(['']) for reader in text.readers])
  else:
    empty = text.encode([''])
  # By the definition, from the places of the letters in each tokenizer.
  weights = []
  for reader in text.readers:
    tokens = reader.tokenizer(
      TEXT,
      padding='max_length',
      max_length=reader.length,
      return_offsets_mapping=True,
    )
    at = TEXT.index('man')
    weights.append(
      [1.5 if end > at else 1.0 for _, end in tokens['offset_mapping']]
    )
  z, e = plain.sequence[0], empty.sequence[0]
  joined = (
    torch.tensor(weights[0])
    if len({len(one) for one in weights}) == 1 and family != 'sd3'
    else torch.tensor(weights[0] + weights[-1])
  )
  expected = e + joined[:, None] * (z - e)
  torch.testing.assert_close(marked.sequence[0], expected)
  assert (marked.sequence[0] - z).abs().max() > 1e-3
  if plain.pooled is not None:
    torch.testing.assert_close(marked.pooled, plain.pooled, rtol=0, atol=0)


@pytest.mark.parametrize('family', FEW)
def test_a_weight_of_one_is_no_mark_and_of_zero_says_nothing(
  directories, family
):
  text = open_text(directories[family])
  plain = text.encode([TEXT]).sequence
  assert torch.equal(text.encode(['happy (man:1.0)']).sequence, plain)
  assert torch.equal(text.encode(['happy (man:1)']).sequence, plain)
  faint = text.encode(['(happy man:0)']).sequence
  assert (faint - plain).abs().max() > 1e-3


def test_a_marked_prompt_is_answered_otherwise(directories):
  pipeline = pipelines.open_pipeline(directories['sd1'], device='cpu')
  answers = []
  for word in ('happy', '(happy:2)'):
    term = guidance_oracle.make_request().terms[0]
    prompts = tuple(p.replace('happy', word) for p in term.prompts)
    term = dataclasses.replace(term, prompts=prompts)
    request = guidance_oracle.make_request(terms=(term,))
    answers.append(scores.score(pipeline, None, request).cotangent)
  assert np.abs(answers[0] - answers[1]).max() > 0


def test_the_embedded_vocabulary_reads_over_ends_of_sentences(tmp_path):
  directory = tiny.write_pipeline(tmp_path)
  text = open_text(directory)
  plain = text.encode(['a happy man with hat']).sequence
  for written in (
    'a happy man with hat.',
    'A happy man.\n\nWith hat!',
    'a happy man; with hat ...',
    'a happy man with hat.\n',
  ):
    checks.check_prior(directory, [written])
    checks.check_prior(directory, [written])  # As it is remembered.
    assert torch.equal(text.encode([written]).sequence, plain), written
  with pytest.raises(ValueError, match="unknown words: 'v1.5'"):
    checks.check_prior(directory, ['a man v1.5 .'])


def test_byte_pairs_read_full_stops(directories):
  reader = open_text(directories['sd1']).readers[0]
  asked = emphasis.parse('a man.')
  assert prompt_chunks.prepare(reader.tokenizer, asked).text == 'a man.'


@pytest.mark.parametrize('family', FEW)
def test_marks_that_are_wrong_are_refused_for_every_tokenizer(
  directories, family
):
  for written, what in (
    ('a (happy man', r"'\(' is not closed"),
    ('<lora:hat:0.8> a man', 'names a file of weights'),
    (
      'a man BREAK a hat',
      'BREAK, which begins a new chunk; expected prompt_ch',
    ),
  ):
    with pytest.raises(ValueError, match=what) as error:
      checks.check_prior(directories[family], [written])
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('family', ['sd1', 'sdxl', 'pixels'])
def test_pieces_are_read_one_behind_the_other(directories, family):
  one = open_text(directories[family])
  two = open_text(directories[family], prompt_chunks=2)
  length = one.readers[0].length
  for written, pieces in (
    ('happy BREAK (man:1.5)', ['happy', '(man:1.5)']),
    ('happy man', ['happy man', '']),
  ):
    read = two.encode([written])
    assert read.sequence.shape[1] == 2 * length
    for number, piece in enumerate(pieces):
      if not piece and one.empty_is_zero:
        continue  # The piece is read; only a whole text of nothing is zeros.
      there = read.sequence[:, number * length : (number + 1) * length]
      torch.testing.assert_close(there, one.encode([piece]).sequence)
    if read.pooled is not None:
      torch.testing.assert_close(read.pooled, one.encode([pieces[0]]).pooled)


def test_a_long_text_is_cut_between_words_and_what_is_lost_is_named(
  directories,
):
  text = open_text(directories['sd1'], prompt_chunks=2)
  reader = text.readers[0]
  words = ['happy', 'man', 'with', 'green', 'skin', 'and', 'a', 'hat']
  written = ' '.join(words)
  asked = prompt_chunks.prepare(reader.tokenizer, emphasis.parse(written))
  pieces, rest = prompt_chunks.cut(reader.tokenizer, asked, reader.length, 2)
  assert len(pieces) == 2 and rest
  joined = [w for piece in pieces for w in piece.text.split()]
  assert [*joined, *rest.split()] == words
  for piece in pieces:
    ids = reader.tokenizer(piece.text)['input_ids']
    assert len(ids) <= reader.length
  with pytest.warns(UserWarning, match=f'2 chunks; cut off: {rest!r}'):
    text.encode([written])
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    open_text(directories['sd1'], prompt_chunks=8).encode([written])


def test_a_vocabulary_of_words_takes_more_of_them_in_pieces(tmp_path):
  directory = tiny.write_pipeline(tmp_path)
  written = ' '.join(['happy man'] * 10)  # 20 words; 14 fit.
  with pytest.raises(ValueError, match='use fewer words'):
    checks.check_prior(directory, [written])
  checks.check_prior(directory, [written], prompt_chunks=2)
  with pytest.raises(ValueError, match='does not fit into 2 chunks; use fewer'):
    checks.check_prior(directory, [written * 2], prompt_chunks=2)
  with pytest.raises(ValueError, match='unknown words'):
    checks.check_prior(directory, [f'{written} dragon'], prompt_chunks=2)


@pytest.mark.parametrize('family', ['if', 'sd3'])
def test_a_t5_reads_long_texts_whole(directories, family):
  line = 'prompt_chunks is 2; expected 1, since text_encoder.* is a T5'
  with pytest.raises(ValueError, match=line):
    checks.check_prior(directories[family], ['man'], prompt_chunks=2)
  with pytest.raises(ValueError, match=line):
    found = families.read_family(directories[family])
    family_texts.check_chunks(found.directory, found.texts, 2)
