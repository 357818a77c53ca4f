import dataclasses
import json

import numpy as np
import pytest

from mmdist.heads import kinship
from mmdist.heads import sentences
from mmdist.heads import worlds
from mmdist.training import held_out
from tests.heads import fake_pictures

EXPRESSIONS = ('neutral', 'happy', 'sad', 'surprised', 'angry')
BEARDS = ('', 'stubble', 'goatee', 'beard', 'moustache')


def shard(stem, world, people):
  """Writes a shard of opaque pictures, each as bright as its number."""
  rows = [
    {**dataclasses.asdict(person), 'view': 'front', 'world': world.name}
    for person in people
  ]
  text = '\n'.join(map(json.dumps, rows)) + '\n'
  stem.with_suffix('.jsonl').write_text(text)
  levels = np.arange(len(people), dtype=np.uint8)[:, None, None, None]
  rgba = np.broadcast_to(levels, (len(people), 8, 8, 4)).copy()
  rgba[..., 3] = 255
  np.savez(stem.with_suffix('.npz'), rgba=rgba, normals=rgba[..., :3])


def test_pictures_are_spread_over_the_first_shard(tmp_path, monkeypatch):
  monkeypatch.setattr(held_out, 'NUM_PICTURES', 3)
  fake_pictures.write_shard(tmp_path, 40, count=9)
  fake_pictures.write_shard(tmp_path, 50)
  taken = held_out.read(tmp_path, 'rgb')
  rows = (tmp_path / 'shard_00040.jsonl').read_text().splitlines()
  kinds = [json.loads(rows[i])['kind'] for i in (0, 4, 8)]
  assert taken.images.shape == (3, 8, 8, 3)
  assert all(
    kind in text or json.loads(rows[i])['name'] in text
    for kind, text, i in zip(kinds, taken.texts, (0, 4, 8), strict=True)
  )
  np.testing.assert_allclose(taken.images[:, 0, 0], held_out.GREY)
  np.testing.assert_allclose(taken.images[:, 0, -1], 40 / 255)


def test_normals_lie_over_nothing_and_are_named(tmp_path):
  fake_pictures.write_shard(tmp_path, 40)
  taken = held_out.read(tmp_path, 'normal')
  np.testing.assert_allclose(taken.images[..., 1:], 128 / 255)
  assert all(text.startswith('a [w] face map of a') for text in taken.texts)


def test_captions_that_are_too_long_are_left_out(tmp_path, monkeypatch):
  fake_pictures.write_shard(tmp_path, 40)
  texts = iter(['a man', 'a ' * 60, 'a child', 'a woman'])
  monkeypatch.setattr(sentences.Captions, 'describe', lambda *_: next(texts))
  assert held_out.read(tmp_path, 'rgb').texts == ['a man', 'a child', 'a woman']


def test_the_line_names_each_level(tmp_path, monkeypatch):
  fake_pictures.write_shard(tmp_path, 40)
  monkeypatch.setattr(
    'mmdist.priors.training.denoised_psnr.denoised_psnr',
    lambda *_: [20.0, 15.5, 12.25, 9.0],
  )
  assert held_out.read(tmp_path, 'rgb').lines(None) == [
    'held out: PSNR of 4 pictures in dB by t: 20.00 at 200, 15.50 at 400, '
    '12.25 at 600, 9.00 at 800'
  ]


def test_families_are_told_apart_by_what_they_differ_in(tmp_path, monkeypatch):
  world = worlds.get('people')
  traits, size = world.attributes, kinship.FAMILY_SIZE
  smiling = [traits.record(expression=e) for e in EXPRESSIONS]
  bearded = [traits.record(beard=b) for b in BEARDS]
  shard(tmp_path / 'shard_00000', world, smiling)
  shard(tmp_path / 'siblings_00003', world, smiling + bearded + smiling)
  monkeypatch.setattr(held_out, 'NUM_FAMILIES', 1)
  taken = held_out.read(tmp_path, 'rgb')
  assert [families.name for families in taken.families] == [
    'expressions',
    'others',
  ]
  for families, words in zip(taken.families, ('sad', 'goatee'), strict=True):
    assert families.images.shape == (1, size, 8, 8, 3)
    assert sum(words in text for text in families.texts[0]) == 1
  # Rows of the shard are as bright as their number.
  np.testing.assert_allclose(
    taken.families[1].images[0, :, 0, 0, 0] * 255, range(5, 10)
  )
  monkeypatch.setattr(
    'mmdist.priors.training.told.told', lambda *_: [0.001, 0.02, 0.25]
  )
  monkeypatch.setattr(
    'mmdist.priors.training.denoised_psnr.denoised_psnr', lambda *_: [9.0] * 4
  )
  assert taken.lines(None)[1] == (
    'held out: words tell of what siblings differ in, at t of 500, 700, 900: '
    'expressions 0.10%, 2.00%, 25.00%; others 0.10%, 2.00%, 25.00%'
  )


def test_families_are_taken_from_the_whole_shard(tmp_path, monkeypatch):
  """Neighbours are views of the same heads; two of them say nothing new."""
  world = worlds.get('people')
  smiling = [world.attributes.record(expression=e) for e in EXPRESSIONS]
  shard(tmp_path / 'shard_00000', world, smiling)
  shard(tmp_path / 'siblings_00003', world, 5 * smiling)
  monkeypatch.setattr(held_out, 'NUM_FAMILIES', 3)
  (families,) = held_out.read(tmp_path, 'rgb').families
  # Rows of the shard are as bright as their number.
  first = families.images[:, 0, 0, 0, 0] * 255
  np.testing.assert_allclose(first, [0, 10, 20])


def test_no_shards_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='no shards'):
    held_out.read(tmp_path, 'rgb')
