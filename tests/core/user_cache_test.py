"""Records in the user's cache, which may go or be damaged at any time."""

import os

import pytest

from mmdist.core import user_cache


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  return tmp_path / 'mmdist' / 'kind'


def test_a_record_is_read_as_it_was_written():
  assert user_cache.read('kind', 'a') is None
  user_cache.write('kind', 'a', {'text': 'ä', 'number': 2})
  assert user_cache.read('kind', 'a') == {'text': 'ä', 'number': 2}
  assert user_cache.read('kind', 'b') is None
  assert user_cache.read('other', 'a') is None


@pytest.mark.parametrize('damage', [b'', b'{"text": ', b'[1]', b'\xff'])
def test_a_damaged_record_is_none(folder, damage):
  user_cache.write('kind', 'a', {'number': 2})
  (folder / 'a.json').write_bytes(damage)
  assert user_cache.read('kind', 'a') is None


def test_the_oldest_records_are_dropped(folder, monkeypatch):
  monkeypatch.setattr(user_cache, '_MOST_RECORDS', 2)
  for time, key in enumerate('abc'):
    user_cache.write('kind', key, {})
    os.utime(folder / f'{key}.json', (time, time))
  user_cache.write('kind', 'd', {})
  assert sorted(path.stem for path in folder.iterdir()) == ['c', 'd']


def test_where_nothing_can_be_written_nothing_is_kept(folder):
  folder.parent.parent.mkdir(exist_ok=True)
  folder.parent.write_text('a file where the folder should be')
  user_cache.write('kind', 'a', {})
  assert user_cache.read('kind', 'a') is None


def test_parts_that_differ_have_different_keys():
  assert user_cache.key_of('a', 1) == user_cache.key_of('a', 1)
  keys = {user_cache.key_of(*p) for p in (('a', 1), ('a', '1'), ('a1',), ())}
  assert len(keys) == 4
