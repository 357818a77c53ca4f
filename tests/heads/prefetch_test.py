"""Draws made ahead: those of `HeadBatches`, whoever makes them."""

import dataclasses
import time

import numpy as np
import pytest

from mmdist.heads import batches as head_batches
from mmdist.heads import prefetch
from mmdist.heads import sentences
from mmdist.heads import worlds
from mmdist.priors.training import embedded
from tests.heads import fake_pictures

PEOPLE = worlds.get('people')

LENGTH = 40


@pytest.fixture(name='tokenizer', scope='module')
def fixture_tokenizer():
  return embedded.make_tokenizer(PEOPLE.captions.vocabulary(), LENGTH)


@pytest.fixture(name='words')
def fixture_words(tokenizer):
  return prefetch.WordIds(
    tokenizer.get_vocab(),
    tokenizer.bos_token_id,
    tokenizer.eos_token_id,
    tokenizer.pad_token_id,
    LENGTH,
  )


@pytest.fixture(name='source')
def fixture_source(tmp_path, words):
  for number in (3, 50):
    fake_pictures.write_shard(tmp_path, number)
  for number in (60, 90):
    fake_pictures.write_siblings(tmp_path, number)
  return prefetch.open_source(tmp_path, 'rgb', 18, 5, words)


def read_tokens(tokenizer, texts):
  return tokenizer(
    list(texts), padding='max_length', truncation=True, max_length=LENGTH
  )['input_ids']


def composed(source, batch):
  """Returns the pictures that a batch names, over its greys."""
  pixels = np.concatenate(prefetch.read_pixels(source))[batch.rows]
  pixels = pixels.astype(np.float32) / 255
  if pixels.shape[-1] == 3:
    return pixels
  return (
    pixels[..., :3] + (1 - pixels[..., 3:]) * batch.greys[:, None, None, None]
  )


def test_words_are_numbered_as_the_tokenizer_does(tokenizer, words):
  rng = np.random.default_rng(0)
  texts = ['', 'A Portrait of a man,front view', 'a man , with horns']
  texts += [PEOPLE.captions.draw(rng)[0] for _ in range(200)]
  np.testing.assert_array_equal(
    words.encode(texts), read_tokens(tokenizer, texts)
  )


@pytest.mark.parametrize(
  'text, message',
  [
    ('a man with gills', "has the word 'gills', which the prior does not know"),
    ('a ' * 39, 'has 39 words, and the prior takes 38'),
  ],
)
def test_a_caption_that_cannot_be_read_is_named(words, text, message):
  with pytest.raises(ValueError, match=message):
    words.encode([text])


@pytest.mark.parametrize('channel', ['rgb', 'normal'])
def test_a_step_is_the_one_that_a_cpu_sees(
  tmp_path, source, tokenizer, channel
):
  source = dataclasses.replace(source, channel=channel)
  reference = head_batches.HeadBatches(
    tmp_path,
    channel,
    source.batch_size,
    source.seed,
    prefix=sentences.NORMAL_PREFIX if channel == 'normal' else None,
  )
  with prefetch.Prefetcher(source, 7, 1) as batches:
    for step in (7, 8, 9):
      images, texts, families = reference.batch(step)
      batch = batches.take()
      np.testing.assert_array_equal(composed(source, batch), images)
      np.testing.assert_array_equal(batch.tokens, read_tokens(tokenizer, texts))
      np.testing.assert_array_equal(source.families, families)


def test_the_order_is_the_same_with_any_number_of_processes(source):
  found = []
  for count in (1, 3):
    with prefetch.Prefetcher(source, 2, count) as batches:
      found.append([batches.take() for _ in range(7)])
  for one, other in zip(*found, strict=True):
    for field in dataclasses.fields(one):
      np.testing.assert_array_equal(
        getattr(one, field.name), getattr(other, field.name)
      )


def test_a_process_that_has_ended_is_told_of(source):
  words = dataclasses.replace(source.words, ids={})
  broken = dataclasses.replace(source, words=words)
  with prefetch.Prefetcher(broken, 0, 1) as batches:
    with pytest.raises(ValueError, match='has ended; its message is above'):
      batches.take()


def test_nobody_draws_once_it_is_closed(source):
  batches = prefetch.Prefetcher(source, 0, 2)
  batches.take()
  started = time.monotonic()
  batches.close()
  assert time.monotonic() - started < 5
  assert not any(process.is_alive() for process in batches._processes)


def test_pictures_of_several_sizes_are_refused(tmp_path, source):
  path = tmp_path / 'shard_00070.npz'
  path.with_suffix('.jsonl').write_text('')
  np.savez(
    path,
    rgba=np.zeros((1, 4, 4, 4), np.uint8),
    normals=np.zeros((1, 4, 4, 3), np.uint8),
  )
  mixed = dataclasses.replace(source, shards=(*source.shards, path))
  with pytest.raises(ValueError, match='pictures of several sizes'):
    prefetch.read_pixels(mixed)


@pytest.mark.parametrize('cores, count', [(1, 1), (8, 4), (16, 12), (64, 12)])
def test_the_machine_decides_how_many_draw(monkeypatch, cores, count):
  monkeypatch.setattr('os.sched_getaffinity', lambda pid: range(cores))
  assert prefetch.default_num_processes() == count
