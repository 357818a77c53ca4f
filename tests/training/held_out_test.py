import json

import numpy as np
import pytest

from mmdist.heads import sentences
from mmdist.training import held_out
from tests.heads import fake_pictures


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
  line = held_out.read(tmp_path, 'rgb').line(None)
  assert line == (
    'held out: PSNR of 4 pictures in dB by t: 20.00 at 200, 15.50 at 400, '
    '12.25 at 600, 9.00 at 800'
  )


def test_no_shards_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='no shards'):
    held_out.read(tmp_path, 'rgb')
