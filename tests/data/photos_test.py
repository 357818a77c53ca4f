"""Somebody's pictures: read upright and square, or refused by name."""

import json
import pathlib
import subprocess
import sys
import tracemalloc

import numpy as np
from PIL import Image
import pytest

from mmdist.data import photos
from tests.data import deep_pngs

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZE = 16


def save(path, size=(60, 48), color=(200, 30, 30), subject=None, **kwargs):
  """Writes a grey picture with a coloured rectangle [l, t, r, b] in it."""
  pixels = np.full((size[1], size[0], 3), 180, np.uint8)
  left, top, right, bottom = subject or (20, 12, 40, 36)
  pixels[top:bottom, left:right] = color
  Image.fromarray(pixels).save(path, **kwargs)


@pytest.fixture(name='folder')
def fixture_folder(tmp_path):
  folder = tmp_path / 'photos'
  folder.mkdir()
  for number in range(5):
    save(folder / f'{number}.png')
  return folder


def error_of(folder, **kwargs) -> str:
  with pytest.raises((ValueError, FileNotFoundError)) as caught:
    photos.read_photos(folder, SIZE, **kwargs)
  assert '\n' not in str(caught.value)
  return str(caught.value)


def test_pictures_come_square_sorted_and_of_one_size(folder):
  save(folder / 'wide.jpg', (120, 50), subject=(70, 5, 100, 45))
  read = photos.read_photos(folder, SIZE)
  assert read.names == ('0.png', '1.png', '2.png', '3.png', '4.png', 'wide.jpg')
  assert read.rgba.shape == (6, SIZE, SIZE, 4)
  assert read.rgba.dtype == np.uint8
  for left, top, right, bottom in read.boxes:
    assert right - left == bottom - top


def test_the_square_is_around_what_differs_from_the_border(folder):
  read = photos.read_photos(folder, SIZE)
  left, top, right, bottom = read.boxes[0]
  # 24 pixels high and 12 % more on either side, about its middle (30, 24).
  assert (right - left, left, top) == (30, 15, 9)
  np.testing.assert_allclose(read.rgba[0, 8, 8, :3], (200, 30, 30), atol=3)


def test_opacity_says_what_the_subject_is(folder):
  pixels = np.zeros((50, 70, 4), np.uint8)
  pixels[10:30, 40:60] = 255
  Image.fromarray(pixels).save(folder / '0.png')
  read = photos.read_photos(folder, SIZE)
  left, top, right, bottom = read.boxes[0]
  assert left <= 40 and right >= 60 and top <= 10 and bottom >= 30
  assert right - left == 25
  assert read.rgba[0, 0, 0, 3] < 128 < read.rgba[0, 8, 8, 3]


def test_a_cluttered_picture_is_cut_in_the_middle(folder):
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (50, 80, 3), np.uint8)
  Image.fromarray(pixels).save(folder / '0.png')
  assert photos.read_photos(folder, SIZE).boxes[0] == (0, -15, 80, 65)


def test_a_given_box_is_taken_as_it_is(folder):
  boxes = {'1.png': [0, 0, 20, 20]}
  read = photos.read_photos(folder, SIZE, boxes)
  assert read.boxes[1] == (0, 0, 20, 20)
  assert np.all(read.rgba[1, :6, :6, :3] == 180)


def test_a_camera_held_sideways_is_turned_upright(folder):
  exif = Image.Exif()
  exif[0x0112] = 6  # Turn a quarter clockwise to see it upright.
  save(folder / '0.jpg', (60, 48), subject=(0, 0, 12, 48), exif=exif)
  read = photos.read_photos(folder, SIZE, {'0.jpg': [0, 0, 48, 48]})
  # The left edge as stored is the upper edge as seen.
  picture = read.rgba[read.names.index('0.jpg'), ..., :3].astype(int)
  assert picture[1, 8, 0] > picture[1, 8, 1] + 80
  assert np.ptp(picture[14, 8]) < 20


def test_grey_and_palette_pictures_become_colour(folder):
  Image.open(folder / '0.png').convert('L').save(folder / '0.png')
  Image.open(folder / '1.png').convert('P').save(folder / '1.png')
  assert photos.read_photos(folder, SIZE).rgba.shape == (5, SIZE, SIZE, 4)


def test_too_few_pictures_are_refused(folder, tmp_path):
  (folder / '4.png').unlink()
  assert 'has 4 picture(s); expected 5 or more' in error_of(folder)
  empty = tmp_path / 'empty'
  empty.mkdir()
  assert 'has 0 picture(s)' in error_of(empty)
  assert 'is not a folder' in error_of(tmp_path / 'nowhere')


def test_corrupt_and_tiny_pictures_are_named(folder):
  path = folder / '2.png'
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
  assert '2.png cannot be read as a picture' in error_of(folder)
  path.write_bytes(b'hello')
  assert '2.png cannot be read as a picture' in error_of(folder)
  # A program for Ghostscript, whatever it is called.
  path.write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nquit\n')
  assert 'cannot identify image file' in error_of(folder)
  save(path, (40, 20), subject=(1, 1, 5, 5))
  assert '2.png is 40 x 20 pixels; expected 32 or more' in error_of(folder)


def test_an_error_without_words_is_told_by_its_kind(folder, monkeypatch):
  def fail(*args, **kwargs):
    raise OSError

  monkeypatch.setattr(Image, 'open', fail)
  assert 'cannot be read as a picture (OSError)' in error_of(folder)


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_pictures_of_16_bits_are_as_those_of_8(folder, channels):
  pixels = np.full((48, 60, channels), 257 * 180, np.uint16)
  pixels[12:36, 20:40] = 257 * 30
  if channels in (2, 4):
    pixels[..., -1] = 65535
  deep_pngs.write(folder / '3.png', pixels)
  save(folder / '4.png', color=(30, 30, 30))
  read = photos.read_photos(folder, SIZE)
  assert read.boxes[3] == read.boxes[4]
  np.testing.assert_array_equal(read.rgba[3], read.rgba[4])


@pytest.mark.parametrize(
  'name, words',
  [
    ('a.heic', 'a.heic is HEIC, which is not read here; export it as JPEG'),
    ('a.AVIF', 'a.AVIF is AVIF, which is not read here; export it as JPEG'),
    ('a.CR2', 'a.CR2 is a RAW file of a camera (.cr2), which is not read here'),
    ('a.dng', 'a.dng is a RAW file of a camera (.dng), which is not read here'),
    ('a.gif', 'a.gif is no picture that is read here; expected .jpg, '),
    ('a.tif', 'so export it as JPEG or PNG, or move it away.'),
    ('notes.txt', 'notes.txt is a text without its picture'),
    ('0.md', '0.md is no picture that is read here'),
  ],
)
def test_other_files_are_named(folder, name, words):
  (folder / name).write_bytes(b'')
  assert words in error_of(folder)


def test_hidden_files_and_folders_are_left_alone(folder):
  for name in ('.DS_Store', '._0.png', 'Thumbs.db', 'desktop.ini', '0.png.xmp'):
    (folder / name).write_bytes(b'no picture')
  (folder / 'more').mkdir()
  assert len(photos.read_photos(folder, SIZE).names) == 5


@pytest.mark.parametrize(
  'box', [[0, 0, 61, 10], [-1, 0, 5, 5], [9, 0, 9, 5], [9, 0, 3, 5]]
)
def test_a_box_outside_is_refused(folder, box):
  message = error_of(folder, boxes={'0.png': box})
  assert 'of 0.png is not inside its 60 x 48 pixels' in message
  assert 'box for x.png' in error_of(folder, boxes={'x.png': [0, 0, 5, 5]})


def test_boxes_are_read_from_json(tmp_path):
  path = tmp_path / 'boxes.json'
  path.write_text(json.dumps({'a.png': [1, 2, 3, 4]}))
  assert photos.read_boxes(path) == {'a.png': [1, 2, 3, 4]}
  for text in ('{"a": [1, 2, 3]}', '[1]', '{"a": [1, 2, 3, "4"]}'):
    path.write_text(text)
    with pytest.raises(ValueError, match='holds no boxes; expected'):
      photos.read_boxes(path)
  path.write_text('{')
  with pytest.raises(ValueError, match='is no JSON'):
    photos.read_boxes(path)
  with pytest.raises(FileNotFoundError):
    photos.read_boxes(tmp_path / 'nowhere.json')


def test_a_link_to_nowhere_is_not_left_out(folder):
  (folder / '5.png').symlink_to(folder / '0.png')
  assert len(photos.read_photos(folder, SIZE).names) == 6
  (folder / '6.png').symlink_to(folder / 'nowhere.png')
  assert '6.png is no file, or a link to one that is not' in error_of(folder)


def test_boxes_may_have_the_mark_of_windows(tmp_path):
  path = tmp_path / 'boxes.json'
  path.write_text('{"a.png": [1, 2, 3, 4]}', encoding='utf-8-sig')
  assert photos.read_boxes(path) == {'a.png': [1, 2, 3, 4]}


def test_print_without_a_profile_is_roughly_its_colours(folder):
  Image.new('CMYK', (60, 48), (0, 255, 255, 0)).save(folder / '9.jpg')
  rgba = photos.read_photos(folder, SIZE).rgba[-1]
  assert rgba[8, 8, 0] > 200 and rgba[8, 8, 1] < 60


def test_an_animated_webp_is_named(folder):
  pictures = [Image.new('RGB', (64, 64), color) for color in ('red', 'blue')]
  path = folder / '9.webp'
  pictures[0].save(path, save_all=True, append_images=pictures[1:])
  assert '9.webp is an animation of 2 pictures' in error_of(folder)
  pictures[0].save(path)
  assert len(photos.read_photos(folder, SIZE).names) == 6


@pytest.mark.parametrize('seed', range(3))
def test_the_subject_is_what_differs_by_the_formula(seed):
  rng = np.random.default_rng(seed)
  rgba = np.full((40, 50, 4), 255, np.uint8)
  rgba[..., :3] = rng.integers(100, 140, (40, 50, 3))
  rgba[10:30, 20:35, :3] = rng.integers(0, 256, (20, 15, 3))
  border = np.concatenate([rgba[0], rgba[:, 0], rgba[:, -1]])[:, :3]
  apart = np.abs(rgba[..., :3] - np.median(border, axis=0)).max(-1) > 24
  rows, columns = (np.flatnonzero(apart.mean(a) > 0.01) for a in (1, 0))
  expected = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
  assert photos.find_subject(rgba) == expected


def test_finding_the_subject_of_a_photo_takes_little_memory():
  rgba = np.zeros((1000, 1500, 4), np.uint8)
  tracemalloc.start()
  photos.find_subject(rgba)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 2 * rgba.nbytes  # Differences in float64 would be 12 times.


def test_a_further_photo_takes_no_more_memory_than_its_square(tmp_path):
  """Photos of 6 megapixels are 23 MiB each when they are decoded."""
  program = """
import pathlib, resource, sys
from PIL import Image
from mmdist.data import photos

folder = pathlib.Path(sys.argv[1])
peaks = []
for first, last in ((0, 3), (3, 13)):
  for number in range(first, last):
    Image.new('RGB', (3000, 2000), 'red').save(folder / f'{number}.jpg')
  boxes = {f'{number}.jpg': [9, 9, 99, 99] for number in range(last)}
  photos.read_photos(folder, 64, boxes, 1)
  peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) / 10 / 1024)  # MiB; Linux counts in KiB.
"""
  done = subprocess.run(
    [sys.executable, '-c', program, str(tmp_path)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  assert float(done.stdout) < 5  # Of the 20 that are allowed.
