"""`~` becomes the home folder, and remote storage is refused in one line."""

import pathlib
import sys

import pytest

from mmdist.core import local_paths


@pytest.fixture(name='home', autouse=True)
def fixture_home(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  return tmp_path


@pytest.mark.parametrize(
  'path',
  ['runs/a', '/a/b', 'color', 'a/b@c', '5:2', 'a:/b', 'x/gs://y', '.']
  + ['generate:paper', 'experiments/smoke.py:tiny', './gs:', 'gs/b'],
)
def test_a_path_of_this_machine_stays_as_it_is(path):
  assert local_paths.expand(path) == path
  assert local_paths.local(path) == pathlib.Path(path)


def test_nothing_stays_nothing():
  assert local_paths.expand('') == ''


@pytest.mark.parametrize('kind', [str, pathlib.Path])
def test_the_home_folder_stands_for_its_sign(home, kind):
  assert local_paths.local(kind('~/runs/a')) == home / 'runs/a'
  assert local_paths.local(kind('~')) == home


@pytest.mark.parametrize('kind', [str, pathlib.Path])
@pytest.mark.parametrize(
  'path', ['gs://b/x', 's3://b', 'hf://a/b/c', 'https://a.b/c', 'abfs+x://b/x']
)
def test_remote_storage_is_refused_in_one_line(path, kind):
  with pytest.raises(ValueError, match='is in remote storage') as error:
    local_paths.expand(kind(path), 'workdir')
  text = str(error.value)
  assert text.startswith(f"workdir '{path}' is in") and '\n' not in text
  assert 'mount it' in text and 'copy it there afterwards' in text


@pytest.mark.parametrize(
  'path',
  [' gs://b', 'gs:', 'gs:b', 's3:b/c', 'memory:x', '\tmemory://x']
  + ['simplecache::s3://b', 'a::b::gs://c', 'blockcache::b'],
)
def test_remote_storage_is_refused_however_it_is_written(path):
  with pytest.raises(ValueError, match='is in remote storage') as error:
    local_paths.expand(path, 'workdir')
  assert f"'{path.strip()}'" in str(error.value)


@pytest.mark.parametrize(
  'address, path',
  [
    ('file:///a/b', '/a/b'),
    ('file:/a/b', '/a/b'),
    ('file://localhost/a/b', '/a/b'),
    ('file://other/a/b', '/a/b'),
    (pathlib.Path('file://localhost/a/b'), '/a/b'),
    ('FILE:a', 'a'),
  ],
)
def test_the_address_of_a_file_names_the_path(address, path):
  with pytest.raises(ValueError, match=f'expected the path alone, {path}[.]$'):
    local_paths.expand(address)


def test_the_home_of_nobody_makes_no_folder(home, monkeypatch):
  monkeypatch.chdir(home)
  with pytest.raises(ValueError, match=r'home of a user .* or \./~nobody_here'):
    local_paths.expand('~nobody_here/runs')
  (home / '~nobody_here').mkdir()
  assert local_paths.expand('~nobody_here/runs') == '~nobody_here/runs'


def test_a_user_without_a_home_gets_no_folder(monkeypatch):
  gone = {'~nobody': '/not/there', '~nobody/x': '/not/there/x'}
  monkeypatch.setattr('os.path.expanduser', lambda path: gone[path])
  with pytest.raises(ValueError, match=r'has none \(/not/there\); give'):
    local_paths.expand('~nobody/x')


@pytest.mark.parametrize('value', ['', 'relative', '/nonexistent', None])
def test_without_a_home_its_sign_is_refused(value, monkeypatch):
  class Nobody:
    getpwuid = {}.__getitem__

  monkeypatch.setitem(sys.modules, 'pwd', Nobody)
  monkeypatch.delenv('HOME')
  if value is not None:
    monkeypatch.setenv('HOME', value)
  assert local_paths.home() is None
  with pytest.raises(ValueError, match="^workdir '~/x' begins with your home"):
    local_paths.expand('~/x', 'workdir')
  assert local_paths.expand('/x', 'workdir') == '/x'


def test_the_longest_name_and_the_longest_path_are_taken(tmp_path):
  longest = tmp_path / ('a' * 255)
  longest.touch()
  assert local_paths.local(longest) == longest
  assert local_paths.expand('a/' * 2047 + 'b') == 'a/' * 2047 + 'b'
  with pytest.raises(ValueError, match='name of 256 bytes .* at most 255'):
    local_paths.expand('a' * 256)
  with pytest.raises(ValueError, match='has 4096 bytes; expected at most 4095'):
    local_paths.expand('a/' * 2048)
