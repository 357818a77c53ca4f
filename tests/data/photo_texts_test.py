"""Texts beside somebody's pictures."""

import numpy as np
from PIL import Image
import pytest

from mmdist.data import photos


@pytest.fixture
def folder(tmp_path):
  rng = np.random.default_rng(0)
  for name in ('a.jpg', 'b.png', 'c d.PNG'):
    picture = rng.integers(0, 255, (40, 40, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / name)
  return tmp_path


def read(folder):
  return photos.read_photos(folder, 16, min_pictures=3)


def test_pictures_have_no_texts_unless_some_are_beside_them(folder):
  assert read(folder).texts == ('', '', '')
  (folder / 'b.txt').write_text('side view', 'utf-8')
  (folder / 'c d.txt').write_text(
    '\ufeff in  a café,\r\n mouth view \n', 'utf-8'
  )
  shown = read(folder)
  assert shown.names == ('a.jpg', 'b.png', 'c d.PNG')
  assert shown.texts == ('', 'side view', 'in a café, mouth view')


@pytest.mark.parametrize(
  'name, content, words',
  [
    ('x.txt', b'front view', 'x.txt is a text without its picture'),
    ('a.txt', b'caf\xe9', 'a.txt is no text in UTF-8'),
    ('a.json', b'{}', 'a.json is no picture that is read here'),
  ],
)
def test_what_is_wrong_with_a_text_is_one_line(folder, name, content, words):
  (folder / name).write_bytes(content)
  with pytest.raises(ValueError) as caught:
    read(folder)
  assert words in str(caught.value) and '\n' not in str(caught.value)


def test_a_folder_of_texts_has_no_pictures(folder):
  for path in list(folder.iterdir())[1:]:
    path.with_suffix('.txt').write_text('front view')
  with pytest.raises(ValueError, match=r'3 picture\(s\); expected 5 or more'):
    photos.read_photos(folder, 16)
