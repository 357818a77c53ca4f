"""Files under the names that other people's tools give them."""

import pathlib

import pytest

from mmdist.data import file_names


def touch(folder, name):
  path = folder / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.touch()
  return path


@pytest.mark.parametrize(
  'name, file',
  [
    (r'images\0.png', 'images/0.png'),
    (r'.\images\0.png', 'images/0.png'),
    ('./images/0.png', 'images/0.png'),
    ('images//0.png', 'images/0.png'),
    ('images/0', 'images/0.JPG'),
    ('images/0', 'images/0.JPEG'),
    (r'images\0', 'images/0.PNG'),
    ('images/0.jpg', 'images/0.JPG'),
    ('images/0.JPG', 'images/0.jpg'),
    ('Images/0.png', 'images/0.png'),
    (r'Images\0.Png', 'images/0.png'),
    ('0', 'images/0.JPG'),
    ('0.png', 'images/0.png'),
    ('0', '0.JPG'),
    ('my%20photos/0%2B1.png', 'my photos/0+1.png'),
    ('my%20photos/0.png', 'my%20photos/0.png'),
    ('images/0.5', 'images/0.5.png'),
    ('/data/other/machine/images/0.png', 'images/0.png'),
    ('/data/other/machine/images/0', 'machine/images/0.JPG'),
    (r'C:\Users\me\set\images\0.png', 'images/0.png'),
    ('D:/set/images/0.png', '0.png'),
    (r'\\server\share\images\0.png', 'images/0.png'),
    ('file:///C:/set/images/my%200.png', 'images/my 0.png'),
    ('file:///data/images/0.png', 'images/0.png'),
    ('../images/0.png', '../images/0.png'),
    (r'..\Images\0.png', '../images/0.png'),
    ('Gr\u00fcn.png', 'gr\u00fcn.PNG'),
  ],
)
def test_a_file_is_found_as_other_tools_call_it(tmp_path, name, file):
  folder = tmp_path / 'a' / 'set'
  folder.mkdir(parents=True)
  path = touch(folder, file)
  assert file_names.find(folder, name).resolve() == path.resolve()


def test_a_file_of_just_that_name_goes_before_all_others(tmp_path):
  written = [r'a\0.png', 'b%20.png', '0', 'x.png']
  for name in [*written, 'a/0.png', 'b .png', '0.png', 'X.PNG', 'images/0']:
    touch(tmp_path, name)
  for name in written:
    assert file_names.find(tmp_path, name) == tmp_path / name
  assert file_names.find(tmp_path, 'X') == tmp_path / 'X.PNG'


def test_the_longest_end_of_another_machines_path_is_taken(tmp_path):
  touch(tmp_path, '0.png')
  longer = touch(tmp_path, 'images/0.png')
  assert file_names.find(tmp_path, '/there/images/0.png') == longer
  here = touch(tmp_path, 'elsewhere/0.png')
  assert file_names.find(tmp_path / 'images', str(here)) == here


def test_names_that_differ_in_case_only_are_not_guessed(tmp_path):
  for name in ('a.PNG', 'A.png'):
    touch(tmp_path, name)
  with pytest.raises(ValueError, match="'a.Png' may be A.png or a.PNG in"):
    file_names.find(tmp_path, 'a.Png')
  assert file_names.find(tmp_path, 'a.PNG') == tmp_path / 'a.PNG'


@pytest.mark.parametrize(
  'name', ['', '.', 'images', 'none.png', 'a' * 300, 'a/' * 3000, 'a\0b', '/']
)
def test_what_is_no_file_is_none(tmp_path, name):
  touch(tmp_path, 'images/0.png')
  assert file_names.find(tmp_path, name) is None


def test_a_file_of_another_kind_is_told_of(tmp_path):
  touch(tmp_path, 'images/7.webp')
  said = file_names.missing(tmp_path, r'images\7')
  assert said == f'{tmp_path}/images/7.png is missing (there is 7.webp)'
  assert file_names.missing(tmp_path, 'x/8.png').endswith('8.png is missing')


def test_a_folder_that_changes_is_listed_anew(tmp_path):
  assert file_names.find(tmp_path, 'a') is None
  path = touch(tmp_path, 'A.JPG')
  assert file_names.find(tmp_path, 'a') == path


@pytest.mark.parametrize(
  'name',
  ['.DS_Store', '._a.jpg', 'Thumbs.db', 'thumbs.db', 'ehthumbs.db', 'Icon\r']
  + ['ehthumbs_vista.db', 'desktop.ini', 'Desktop.ini', 'Picasa.ini', '@eaDir']
  + ['__MACOSX', 'IMG_1.AAE', 'IMG_1.jpg.xmp', 'a.jpg:Zone.Identifier'],
)
def test_what_a_system_leaves_is_no_file_of_a_person(name):
  assert file_names.is_litter(pathlib.Path('photos', name))


@pytest.mark.parametrize(
  'name', ['a.jpg', 'thumbs.png', 'desktop.jpg', 'notes.txt', 'a.heic', 'x.db']
)
def test_other_files_are_a_persons(name):
  assert not file_names.is_litter(pathlib.Path(name))
