import numpy as np
from PIL import ExifTags
from PIL import Image
import pytest

from mmdist.data import picture_files
from tests.data import deep_pngs

DEEP = np.random.default_rng(1).integers(0, 65536, (6, 8, 4), np.uint16)
RGBA = np.random.default_rng(0).integers(0, 256, (6, 8, 4), np.uint8)


def save(path, array, **options):
  Image.fromarray(array).save(path, **options)
  return path


def test_a_png_keeps_its_colours_and_opacity(tmp_path):
  path = save(tmp_path / 'a.png', RGBA)
  np.testing.assert_array_equal(picture_files.read_picture(path), RGBA)


@pytest.mark.parametrize('name', ['a.png', 'a.jpg'])
def test_a_picture_without_opacity_is_opaque(tmp_path, name):
  path = save(tmp_path / name, RGBA[..., :3])
  image = picture_files.read_picture(path)
  assert image.shape == (6, 8, 4) and image.dtype == np.uint8
  assert np.all(image[..., 3] == 255)


def test_a_grey_picture_has_three_equal_colours(tmp_path):
  path = save(tmp_path / 'a.png', RGBA[..., 0])
  image = picture_files.read_picture(path)
  np.testing.assert_array_equal(image[..., 2], RGBA[..., 0])


def test_a_palettes_clear_colour_is_clear(tmp_path):
  image = Image.new('P', (6, 6), 1)
  image.putpalette([0, 0, 0, 200, 100, 50])
  image.save(tmp_path / 'a.png', transparency=1)
  pixel = picture_files.read_picture(tmp_path / 'a.png')[0, 0]
  np.testing.assert_array_equal(pixel, [200, 100, 50, 0])


def test_a_grey_picture_of_16_bits_is_rounded_to_8(tmp_path):
  numbers = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8)
  path = save(tmp_path / 'a.png', numbers)
  image = picture_files.read_picture(path)
  expected = np.round(255 * (numbers / 65535))
  for channel in range(3):
    np.testing.assert_array_equal(image[..., channel], expected)
  assert (image[..., 3] == 255).all()
  assert (image[0, 0, 0], image[-1, -1, 0]) == (0, 255)


def test_every_number_of_16_bits_is_rounded(tmp_path):
  numbers = np.arange(65536, dtype=np.uint16).reshape(256, 256)
  image = picture_files.read_picture(save(tmp_path / 'a.png', numbers))
  np.testing.assert_array_equal(image[..., 0], np.round(numbers / 257))


def test_of_a_grey_picture_of_16_bits_one_number_may_be_clear(tmp_path):
  path = deep_pngs.write(
    tmp_path / 'a.png', DEEP[..., :1], (int(DEEP[2, 3, 0]),)
  )
  image = picture_files.read_picture(path)
  assert image[2, 3, 3] == 0 and (image[..., 3] == 0).sum() == 1
  np.testing.assert_array_equal(image[..., 1], np.round(DEEP[..., 0] / 257))


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_colours_and_opacity_of_16_bits_are_read(tmp_path, channels):
  path = deep_pngs.write(tmp_path / 'a.png', DEEP[..., :channels])
  image = picture_files.read_picture(path)
  whole = DEEP[..., :channels] / 65535 * 255
  colours = whole[..., : 3 if channels > 2 else 1]
  # Pillow keeps the upper 8 bits of what has several channels.
  assert np.abs(image[..., :3] - colours).max() < 1
  opacity = whole[..., -1] if channels in (2, 4) else np.full((6, 8), 255)
  assert np.abs(image[..., 3] - opacity).max() < 1


def test_a_mask_may_have_16_bits(tmp_path):
  white = np.zeros((6, 8), np.uint16)
  white[2:4, 1:] = 65535
  path = save(tmp_path / 'm.png', white)
  mask = picture_files.read_mask(path, (6, 8))
  np.testing.assert_array_equal(mask, white // 257)


def turned(path):
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = 6
  save(path, RGBA[..., :3], exif=exif)


SPOILED = [
  (
    'a.png',
    lambda path: deep_pngs.write(path, DEEP[..., :3], clear=(1, 2, 3)),
    'has 16 bits a channel and names one of its colours as clear; save it',
  ),
  (
    'a.jpg',
    lambda path: Image.new('CMYK', (8, 8)).save(path),
    "has mode 'CMYK'; expected RGB",
  ),
  (
    'a.png',
    lambda path: save(path, RGBA[:3]),
    'has 8 x 3 pixels; expected at least 4',
  ),
  ('a.jpg', turned, 'turned by its EXIF orientation 6; save it'),
  ('a.png', lambda path: path.write_bytes(b''), 'cannot be read as PNG or'),
  ('a.png', lambda path: path.write_text('no'), 'cannot be read as PNG or'),
  (
    'a.png',
    lambda path: save(path, RGBA, format='WEBP'),
    'cannot be read as PNG or JPEG',
  ),
]


@pytest.mark.parametrize('name, spoil, message', SPOILED)
def test_what_cannot_be_used_is_named(tmp_path, name, spoil, message):
  spoil(tmp_path / name)
  with pytest.raises(ValueError, match=f'{name} .*{message}') as error:
    picture_files.read_picture(tmp_path / name)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['a.png', 'a.jpg'])
def test_half_a_file_is_named(tmp_path, name):
  rng = np.random.default_rng(0)
  path = save(tmp_path / name, rng.integers(0, 256, (64, 64, 3), np.uint8))
  path.write_bytes(path.read_bytes()[:-1500])
  with pytest.raises(ValueError, match=f'{name} cannot be read'):
    picture_files.read_picture(path)


@pytest.mark.parametrize('mode', ['L', 'RGB', '1'])
def test_a_mask_is_white_where_the_subject_is(tmp_path, mode):
  white = np.zeros((6, 8), np.uint8)
  white[2:4, 1:] = 255
  Image.fromarray(white).convert(mode).save(tmp_path / 'm.png')
  mask = picture_files.read_mask(tmp_path / 'm.png', (6, 8))
  np.testing.assert_array_equal(mask, white)


@pytest.mark.parametrize(
  'array, message',
  [
    (np.full((6, 8), 1, np.uint8), r'white nowhere \(its highest value is 1'),
    (np.zeros((6, 8), np.uint8), 'white nowhere'),
    (np.full((8, 6), 255, np.uint8), 'has 6 x 8 pixels, but its picture 8 x 6'),
    (np.full((6, 8, 4), 255, np.uint8), "has mode 'RGBA'; expected a mask"),
  ],
)
def test_what_is_no_mask_is_named(tmp_path, array, message):
  path = save(tmp_path / 'm.png', array)
  with pytest.raises(ValueError, match=f'm.png .*{message}'):
    picture_files.read_mask(path, (6, 8))
