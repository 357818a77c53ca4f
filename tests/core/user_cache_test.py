"""Records in the user's cache, which may go or be damaged at any time."""

import os
import stat
import sys
import tempfile

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


class Nobody:
  """What the system says of a user without a name; see `nobody`."""

  @staticmethod
  def getpwuid(uid):
    raise KeyError(f'getpwuid(): uid not found: {uid}')


@pytest.fixture(name='nobody')
def fixture_nobody(tmp_path, monkeypatch):
  """`docker run --user 12345`: no home, no name, an empty TMPDIR of its own."""
  for name in ('HOME', 'XDG_CACHE_HOME', 'USER', 'LOGNAME', 'LNAME'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setitem(sys.modules, 'pwd', Nobody)
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  return tmp_path / f'mmdist-cache-{os.getuid()}'


def test_a_user_without_home_and_name_has_a_private_cache(nobody):
  assert user_cache.directory() == nobody
  assert stat.S_IMODE(nobody.stat().st_mode) == 0o700
  user_cache.write('kind', 'a', {'number': 2})
  assert user_cache.read('kind', 'a') == {'number': 2}
  assert user_cache.directory() == nobody  # Also in the next process.


@pytest.mark.parametrize('home', ['', '/nonexistent', 'relative'])
def test_a_home_that_is_none_is_not_made(nobody, home, monkeypatch):
  monkeypatch.chdir(nobody.parent)
  monkeypatch.setenv('HOME', home)
  assert user_cache.directory() == nobody
  assert not os.path.exists('relative') and not os.path.exists('/nonexistent')


def test_a_place_that_cannot_be_written_is_not_taken(
  nobody, tmp_path, monkeypatch
):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert user_cache.directory() == tmp_path / '.cache' / 'mmdist'
  # For root every folder can be written, so the answer is replaced.
  monkeypatch.setattr(os, 'access', lambda path, mode: False)
  assert user_cache.directory() == nobody
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert user_cache.directory() == nobody


def test_a_folder_of_somebody_else_is_not_taken(nobody, tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert user_cache.directory() == tmp_path / 'mmdist'
  (tmp_path / 'mmdist').mkdir()
  assert user_cache.directory() == tmp_path / 'mmdist'
  monkeypatch.setattr(os, 'access', lambda path, mode: path == tmp_path)
  assert user_cache.directory() == nobody


@pytest.mark.parametrize('root', ['', 'relative', './a'])
def test_a_cache_that_is_not_absolute_is_ignored(root, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.setenv('XDG_CACHE_HOME', root)
  assert user_cache.directory() == tmp_path / '.cache' / 'mmdist'


@pytest.mark.parametrize('name', ['a' * 300, 'file/below'])
def test_a_cache_that_can_be_no_folder_is_not_taken(
  name, nobody, tmp_path, monkeypatch
):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', f'{tmp_path}/{name}')
  assert user_cache.directory() == nobody


@pytest.mark.parametrize('kind', ['open', 'link', 'file', 'foreign'])
def test_what_somebody_else_made_there_is_not_trusted(
  kind, nobody, tmp_path, monkeypatch
):
  if kind == 'link':
    (tmp_path / 'other').mkdir(mode=0o700)
    nobody.symlink_to(tmp_path / 'other')
  elif kind == 'file':
    nobody.touch(mode=0o600)
  else:
    nobody.mkdir(mode=0o700)
  if kind == 'open':
    nobody.chmod(0o777)
  if kind == 'foreign':
    uid = os.getuid()
    nobody.rename(tmp_path / f'mmdist-cache-{uid + 1}')
    monkeypatch.setattr(os, 'getuid', lambda: uid + 1)
  assert user_cache.directory() is None
  user_cache.write('kind', 'a', {'number': 2})  # Keeps nothing, and no error.
  assert user_cache.read('kind', 'a') is None
