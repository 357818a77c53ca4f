import dataclasses
import os

import numpy as np
from PIL import Image
import pytest

from mmdist.core import errors
from mmdist.data import multiview
from mmdist.data import photos
from mmdist.heads import folders
from mmdist.heads import kinship
from mmdist.heads import shards as head_shards
from mmdist.heads import subjects
from mmdist.heads import worlds
from tests.heads import fake_pictures

PEOPLE = worlds.get('people')


@pytest.fixture(autouse=True)
def _fake_pictures(monkeypatch):
  monkeypatch.setattr(subjects, 'render_heads', fake_pictures.render_heads)
  monkeypatch.setenv('XLA_FLAGS', '')  # Put back after `write_shards`.


@pytest.mark.parametrize(
  'text, numbers',
  [('0:3', [0, 1, 2]), ('1:6:2', [1, 3, 5]), ('7:8', [7]), ('', [])],
)
def test_shards_are_a_range(text, numbers):
  assert list(folders.shard_numbers(text)) == numbers


@pytest.mark.parametrize(
  'text', ['5', 'a:b', '3:3', '0:9:0', '-2:4', '1:2:3:4', '9:0:-1', ':']
)
def test_what_is_no_range_is_refused(text):
  with pytest.raises(ValueError, match='is not FIRST:LAST'):
    folders.shard_numbers(text)


def test_heads_are_written_as_sheet_captions_and_views(tmp_path):
  options = folders.Options(
    out=str(tmp_path / 'out'),
    world='people',
    num=3,
    seed=2,
    resolution=8,
    cameras=2,
  )
  said = []
  folders.write(options, said.append)
  sheet = np.asarray(Image.open(tmp_path / 'out' / 'sheet.png'))
  assert sheet.shape == (3 * 8, 6 * 8, 3)  # Three views, and their normals.
  lines = (tmp_path / 'out' / 'captions.txt').read_text().splitlines()
  assert lines == [
    PEOPLE.captions.describe(subjects.sample_head(PEOPLE, 2, i).attributes)
    for i in range(3)
  ]
  made = multiview.read_transforms(tmp_path / 'out' / 'multiview')
  assert (made.num_subjects, made.num_cameras, made.resolution) == (3, 2, 8)
  assert said[0] == f'sheet:      {tmp_path / "out" / "sheet.png"}'
  assert len(said) == 3


def test_shards_are_written_or_pictures_as_the_options_say(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(head_shards, 'SHARD_SIZE', 2)
  monkeypatch.setattr(head_shards, 'NUM_FAMILIES', 1)
  options = folders.Options(
    out=str(tmp_path / 'shards'),
    world='people',
    shards='0:4:3',
    siblings='2:3',
    families=('hat',),
    held_out=True,
    num=1,
    seed=5,
    resolution=8,
    cameras=1,
    neutral=True,
  )
  folders.write(options)
  names = sorted(path.name for path in (tmp_path / 'shards').glob('*.npz'))
  assert names == [
    'shard_00000.npz',
    'shard_00003.npz',
    'siblings_00002.npz',
  ]
  shard = head_shards.read_shard(tmp_path / 'shards' / names[-1])
  assert len({a.hat for a in shard.attributes}) == kinship.FAMILY_SIZE
  assert 'intra_op_parallelism_threads=1' in os.environ['XLA_FLAGS']
  folders.write(
    dataclasses.replace(
      options, shards='', siblings='', out=str(tmp_path / 'pictures')
    )
  )
  text = (tmp_path / 'pictures' / 'captions.txt').read_text()
  head = subjects.sample_head(PEOPLE, 5, 0, neutral=True)
  assert text == PEOPLE.captions.describe(head.attributes) + '\n'


def test_pictures_of_one_head_are_taken_as_by_a_friend(tmp_path):
  said = []
  options = folders.Options(
    out=str(tmp_path / 'photos'),
    world='people',
    photos=5,
    seed=3,
    index=1,
    resolution=32,
  )
  folders.write(options, said.append)
  read = photos.read_photos(tmp_path / 'photos', 16)  # As personalize does,
  assert read.names == tuple(f'photo-{i:02}.png' for i in range(5))
  head = subjects.sample_head(PEOPLE, 3, 1)
  assert PEOPLE.captions.describe(head.attributes) in said[0]


def test_close_ups_say_which_view_they_are(tmp_path):
  out = tmp_path / 'photos'
  options = folders.Options(
    out=str(out),
    world='people',
    photos=7,
    close_ups=4,
    seed=3,
    index=1,
    resolution=32,
  )
  folders.write(options)
  read = photos.read_photos(out, 16)
  whole, close = read.texts[:3], read.texts[3:]
  assert set(whole) <= {'front view', 'side view'}
  assert close == ('mouth view', 'eyes view') * 2
  plain = dataclasses.replace(options, close_ups=0, out=str(tmp_path / 'plain'))
  folders.write(plain)
  assert not list((tmp_path / 'plain').glob('*.txt'))
  # The first pictures do not depend on how many are close.
  name = 'photo-02.png'
  assert (out / name).read_bytes() == (tmp_path / 'plain' / name).read_bytes()


@pytest.mark.parametrize('num', [0, 2])
def test_more_close_ups_than_photos_are_refused(tmp_path, num):
  options = folders.Options(
    out=str(tmp_path / 'photos'), photos=num, close_ups=3
  )
  with pytest.raises(errors.UserError, match=f'3 close-ups of {num} photos'):
    folders.write(options)
  assert not (tmp_path / 'photos').exists()
