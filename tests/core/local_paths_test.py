"""`~` becomes the home folder, and remote storage is refused in one line."""

import pathlib

import pytest

from mmdist.core import local_paths


@pytest.fixture(name='home', autouse=True)
def fixture_home(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  return tmp_path


@pytest.mark.parametrize(
  'path', ['runs/a', '/a/b', 'color', 'a/b@c', '5:2', 'a:/b', 'x/gs://y', '.']
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


def test_the_address_of_a_file_names_the_path():
  with pytest.raises(ValueError, match='expected the path alone, /a/b'):
    local_paths.expand('file:///a/b')


def test_the_home_of_nobody_makes_no_folder(home, monkeypatch):
  monkeypatch.chdir(home)
  with pytest.raises(ValueError, match=r'home of a user .* or \./~nobody_here'):
    local_paths.expand('~nobody_here/runs')
  (home / '~nobody_here').mkdir()
  assert local_paths.expand('~nobody_here/runs') == '~nobody_here/runs'
