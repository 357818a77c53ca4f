import dataclasses

import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.heads import kinship
from mmdist.heads import shards as head_shards
from mmdist.heads import subjects
from mmdist.heads import worlds

PEOPLE = worlds.get('people')
# One view of each, so that few pictures show several. How many views there are
# is tested in people/persons_test.py.
ONCE = dataclasses.replace(PEOPLE, views_per_head=1)

RESOLUTION = 64  # The production resolution.


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
  monkeypatch.setattr(head_shards, 'SHARD_SIZE', 3)


def write(folder, number=1, **changes):
  return head_shards.write_shard(ONCE, folder, 7, number, RESOLUTION, **changes)


def test_a_shard_is_read_back_as_it_was_drawn(tmp_path):
  shard = head_shards.read_shard(write(tmp_path))
  people = [subjects.sample_head(PEOPLE, 7, 3 + i) for i in range(3)]
  assert shard.attributes == tuple(head.attributes for head in people)
  assert len(shard) == 3 and set(shard.views) <= set(orbits.VIEW_WORDS)
  assert shard.rgba.shape == (3, RESOLUTION, RESOLUTION, 4)
  assert shard.normals.shape == (3, RESOLUTION, RESOLUTION, 3)
  assert shard.rgba.dtype == shard.normals.dtype == np.uint8
  # Premultiplied; one grey level of rounding.
  assert (shard.rgba[..., :3] <= shard.rgba[..., 3:].astype(int) + 1).all()


def test_the_same_seed_and_number_give_the_same_bytes(tmp_path):
  first, second = write(tmp_path / 'a'), write(tmp_path / 'b')
  for suffix in ('.npz', '.jsonl'):
    a, b = first.with_suffix(suffix), second.with_suffix(suffix)
    assert a.read_bytes() == b.read_bytes()


def test_shards_do_not_share_heads(tmp_path):
  one = head_shards.read_shard(write(tmp_path, 1))
  two = head_shards.read_shard(write(tmp_path, 2))
  assert not np.array_equal(one.rgba, two.rgba)
  assert one.attributes != two.attributes


def test_a_finished_shard_is_left_alone(tmp_path, monkeypatch):
  path = write(tmp_path)
  monkeypatch.setattr(subjects, 'render_heads', None)  # Would fail if called.
  assert write(tmp_path) == path


def test_a_shard_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
  def fail(path, **arrays):
    path.write_bytes(b'half of it')
    raise OSError('disk full')

  with monkeypatch.context() as patch:
    patch.setattr(np, 'savez', fail)
    with pytest.raises(OSError, match='disk full'):
      write(tmp_path)
  with pytest.raises(FileNotFoundError):
    head_shards.list_shards(tmp_path)
  assert len(head_shards.read_shard(write(tmp_path))) == 3
  assert head_shards.list_shards(tmp_path) == [tmp_path / 'shard_00001.npz']


def test_held_out_heads_are_drawn_only_when_allowed(tmp_path, monkeypatch):
  asked = []

  def sample_head(world, seed, index, allow_held_out=False):
    asked.append(allow_held_out)
    return original(world, seed, index)

  original = subjects.sample_head
  monkeypatch.setattr(subjects, 'sample_head', sample_head)
  write(tmp_path / 'a')
  write(tmp_path / 'b', allow_held_out=True)
  assert asked == [False] * 3 + [True] * 3


def test_shards_are_listed_in_order(tmp_path):
  for number in (10, 2, 7):
    (tmp_path / f'shard_{number:05d}.npz').touch()
  (tmp_path / 'shard_00003.tmp.npz').touch()
  names = [path.name for path in head_shards.list_shards(tmp_path)]
  assert names == ['shard_00002.npz', 'shard_00007.npz', 'shard_00010.npz']


def test_an_empty_folder_is_answered_with_the_command(tmp_path):
  with pytest.raises(FileNotFoundError, match='mmdist heads'):
    head_shards.list_shards(tmp_path / 'nothing')


def test_attributes_survive_the_round_trip_through_json(tmp_path):
  shard = head_shards.read_shard(write(tmp_path))
  for attributes in shard.attributes:
    PEOPLE.attributes.check(attributes)
    assert isinstance(attributes.horns, bool)


def test_siblings_have_one_body_and_one_view(tmp_path, monkeypatch):
  monkeypatch.setattr(head_shards, 'NUM_FAMILIES', 2)
  monkeypatch.setattr(kinship, 'EXPRESSIONS_SHARE', 1.0)
  path = head_shards.write_siblings(ONCE, tmp_path, 3, 1, RESOLUTION)
  shard = head_shards.read_shard(path)
  size = kinship.FAMILY_SIZE
  assert len(shard) == 2 * size
  pictures = shard.rgba.astype(float).reshape(2, size, -1)
  for family, words in ((0, shard.views[:size]), (1, shard.views[size:])):
    assert len(set(words)) == 1
    own = np.abs(pictures[family, 1:] - pictures[family, 0]).mean(1)
    others = np.abs(pictures[1 - family] - pictures[family, 0]).mean()
    # No two faces alike, and far more alike than two heads.
    assert (own > 0).all() and own.max() < 0.5 * others
  assert head_shards.list_siblings(tmp_path) == [path]
