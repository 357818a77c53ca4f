"""Names of embedded assets and paths become directories."""

import os

import pytest

from mmdist.core import asset_paths


def test_an_embedded_name_is_a_directory_of_the_package(tmp_path):
  (tmp_path / 'color').mkdir()
  assert asset_paths.resolve('color', tmp_path) == str(tmp_path / 'color')
  assert asset_paths.ROOT.parts[-3:] == ('mmdist', 'assets', 'heads')


def test_a_path_becomes_absolute(tmp_path, monkeypatch):
  (tmp_path / 'mine').mkdir()
  monkeypatch.chdir(tmp_path)
  assert asset_paths.resolve('mine') == os.path.realpath(tmp_path / 'mine')
  assert asset_paths.resolve(str(tmp_path / 'mine')) == str(tmp_path / 'mine')


def test_a_misspelt_name_is_answered_with_the_nearest():
  with pytest.raises(FileNotFoundError) as caught:
    asset_paths.resolve('colr')
  message = str(caught.value)
  assert "'colr' is neither a directory nor an embedded name" in message
  assert "did you mean 'color'?" in message
  assert '\n' not in message


@pytest.mark.parametrize('name', ['', '/nowhere/at/all'])
def test_a_name_like_no_other_lists_the_embedded(name):
  with pytest.raises(FileNotFoundError, match='Embedded: color, normal, nerf'):
    asset_paths.resolve(name)


def test_a_file_is_no_directory(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(
    FileNotFoundError, match='is a file; expected a directory'
  ):
    asset_paths.resolve(str(tmp_path / 'file'))


def test_a_missing_embedded_directory_says_where_it_should_be(tmp_path):
  with pytest.raises(FileNotFoundError, match=f'not at {tmp_path}.*reinstall'):
    asset_paths.resolve('judge', tmp_path)
