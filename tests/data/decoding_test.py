"""Colour profiles, turns and odd files, of photos and multi-view pictures."""

import io
import struct
import warnings

import numpy as np
from PIL import Image
from PIL import ImageCms
from PIL import PngImagePlugin
import pytest

from mmdist.data import decoding
from mmdist.data import photos
from mmdist.data import picture_files
from tests.data import profiles

P3 = profiles.of_primaries(profiles.DISPLAY_P3)
ADOBE = profiles.of_primaries(profiles.ADOBE_RGB, 563 / 256)
READERS = {
  'photos': lambda path: photos.read_photos(path.parent, 16, None, 1).rgba[0],
  'views': picture_files.read_picture,
}


@pytest.fixture(name='read', params=READERS)
def fixture_read(request, tmp_path):
  """Writes a picture, reads it and returns its middle, [4] int."""

  def read(image, suffix='.png', **options):
    path = tmp_path / f'a{suffix}'
    image.save(path, **options)
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      rgba = READERS[request.param](path)
    height, width = rgba.shape[:2]
    return rgba[height // 2, width // 2].astype(int)

  return read


def by_primaries(rgb, primaries, gamma):
  """Returns what sRGB has for a colour of other primaries, by the formulas."""
  linear = np.asarray(primaries).T @ (np.asarray(rgb) / 255) ** gamma
  # Of sRGB under D50, as profiles have it (IEC 61966-2-1, Bradford).
  srgb = np.array(
    [
      [0.43607, 0.38515, 0.14307],
      [0.22249, 0.71687, 0.06061],
      [0.01392, 0.09708, 0.71410],
    ]
  )
  linear = np.clip(np.linalg.solve(srgb, linear), 0, 1)
  low, high = 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
  return np.round(255 * np.where(linear <= 0.0031308, low, high))


@pytest.mark.parametrize(
  'color', [(200, 60, 60), (40, 180, 90), (30, 60, 200), (128, 128, 128)]
)
@pytest.mark.parametrize(
  'profile, primaries, gamma',
  [(P3, profiles.DISPLAY_P3, 2.2), (ADOBE, profiles.ADOBE_RGB, 563 / 256)],
)
def test_a_cameras_colours_become_those_of_srgb(
  read, color, profile, primaries, gamma
):
  found = read(Image.new('RGB', (64, 64), color), icc_profile=profile)
  expected = by_primaries(color, primaries, gamma)
  # 3 of 255: a profile's numbers have 16 bits, and its table rounds.
  np.testing.assert_allclose(found[:3], expected, atol=3)
  assert found[3] == 255


def test_a_profile_of_srgb_and_none_change_nothing(read):
  srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
  image = Image.new('RGB', (64, 64), (200, 60, 60))
  np.testing.assert_array_equal(read(image), [200, 60, 60, 255])
  found = read(image, icc_profile=srgb)
  np.testing.assert_allclose(found, [200, 60, 60, 255], atol=1)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_a_grey_picture_has_a_profile_too(read, suffix):
  # Of gamma 1.8, as of old Macs: brighter than sRGB's for the same number.
  image = Image.new('L', (64, 64), 100)
  found = read(image, suffix, icc_profile=profiles.of_grey(1.8))
  value = (100 / 255) ** 1.8
  expected = 255 * (1.055 * value ** (1 / 2.4) - 0.055)
  np.testing.assert_allclose(found[:3], expected, atol=3)
  # And a grey picture may have a profile of colours, as some editors write.
  found = read(image, suffix, icc_profile=P3)
  np.testing.assert_allclose(found[:3], 100, atol=3)


def test_opacity_passes_a_profile_unchanged(read):
  image = Image.new('RGBA', (64, 64), (200, 60, 60, 77))
  found = read(image, icc_profile=P3)
  np.testing.assert_allclose(found, [219, 37, 49, 77], atol=3)
  grey = Image.new('LA', (64, 64), (100, 77))
  found = read(grey, icc_profile=profiles.of_grey(2.2))
  np.testing.assert_allclose(found, [100, 100, 100, 77], atol=3)
  palette = Image.new('P', (64, 64), 1)
  palette.putpalette([0, 0, 0, 200, 60, 60])
  found = read(palette, icc_profile=P3, transparency=bytes([255, 77]))
  np.testing.assert_allclose(found, [219, 37, 49, 77], atol=3)
  found = read(palette, icc_profile=P3, transparency=0)
  np.testing.assert_allclose(found, [219, 37, 49, 255], atol=3)


def test_inks_become_colours_by_their_profile(read):
  image = Image.new('CMYK', (64, 64), (0, 128, 0, 0))
  found = read(image, '.jpg', icc_profile=profiles.of_print(), quality=100)
  expected = ImageCms.profileToProfile(
    image,
    ImageCms.ImageCmsProfile(io.BytesIO(profiles.of_print())),
    ImageCms.createProfile('sRGB'),
    outputMode='RGB',
  ).getpixel((9, 9))
  np.testing.assert_allclose(found[:3], expected, atol=3)
  assert found[0] > found[1] + 20  # As magenta is.


def test_a_grey_picture_of_16_bits_keeps_its_profile_and_its_turn(
  read, tmp_path
):
  numbers = np.full((64, 64), 257 * 100, np.uint16)
  deep, plain = Image.fromarray(numbers), Image.new('L', (64, 64), 100)
  profile = profiles.of_grey(1.8)
  found = read(deep, icc_profile=profile)
  np.testing.assert_array_equal(found, read(plain, icc_profile=profile))
  assert found[0] != 100
  numbers[:20] = 0
  exif = Image.Exif()
  exif[0x0112] = 3  # Upside down.
  path = tmp_path / 'a.png'
  Image.fromarray(numbers).save(path, exif=exif)
  box = {'a.png': [0, 0, 64, 64]}
  (rgba,) = photos.read_photos(tmp_path, 64, box, 1).rgba
  assert rgba[0, 0, 0] == 100 and rgba[-1, 0, 0] == 0


@pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
@pytest.mark.parametrize(
  'profile, line',
  [
    (b'no profile', 'a.png cannot be read'),
    (P3[:200], 'a.png cannot be read'),
    (profiles.of_grey(2.2), 'a.png is of GRAY and not of its mode RGB'),
    (profiles.of_print(), 'a.png is of CMYK and not of its mode RGB'),
  ],
)
def test_a_profile_that_is_wrong_is_warned_of(tmp_path, reader, profile, line):
  image = Image.new('RGB', (64, 64), (200, 60, 60))
  image.save(tmp_path / 'a.png', icc_profile=profile)
  with pytest.warns(UserWarning, match=line) as told:
    rgba = reader(tmp_path / 'a.png')
  np.testing.assert_array_equal(rgba[5, 5], [200, 60, 60, 255])
  assert len(told) == 1


def tiff(*entries, order='<'):
  """Returns EXIF with one directory of (tag, type, count, value's bytes)."""
  data = (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(f'{order}I', 8)
  data += struct.pack(f'{order}H', len(entries))
  for tag, kind, count, value in entries:
    data += struct.pack(f'{order}HHI', tag, kind, count) + value.ljust(4, b'\0')
  return b'Exif\0\0' + data + b'\0' * 4


SIX = (0x0112, 3, 1, struct.pack('<H', 6))
# Tags at which a reader of all EXIF fails.
BROKEN = {
  'a place beyond the end': (0x010F, 2, 400, struct.pack('<I', 2**31)),
  'a type that is none': (0x0110, 99, 1, b'ab'),
  'a fraction over nothing': (0x011A, 5, 1, struct.pack('<I', 8)),
  'text for a number': (0x0100, 2, 3, b'abc'),
  'a directory that is none': (0x8769, 4, 1, struct.pack('<I', 7)),
  'far too many': (0x0213, 3, 2**31, b'ab'),
}


def is_turned(picture, tmp_path) -> bool:
  """Returns whether a picture of a bright left edge is one of a top edge."""
  pixels = np.zeros((64, 64, 3), np.uint8)
  pixels[:, :20] = 255
  path = tmp_path / 'a.jpg'
  Image.fromarray(pixels).save(path, quality=95, **picture)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    box = {'a.jpg': [0, 0, 64, 64]}
    rgba = photos.read_photos(tmp_path, 16, box, 1).rgba[0].astype(int)
  top, left = rgba[1, 8, 0] > 200, rgba[8, 1, 0] > 200
  assert top != left
  return bool(top)


@pytest.mark.parametrize('broken', BROKEN.values(), ids=BROKEN)
def test_broken_exif_beside_an_orientation_is_left_alone(broken, tmp_path):
  assert is_turned({'exif': tiff(broken, SIX)}, tmp_path)
  assert is_turned({'exif': tiff(SIX, broken)}, tmp_path)
  assert not is_turned({'exif': tiff(broken)}, tmp_path)


@pytest.mark.parametrize('number', [0, 1, 9, 99, 65535])
def test_an_orientation_that_is_none_is_upright(number, tmp_path):
  entry = (0x0112, 3, 1, struct.pack('<H', number))
  assert not is_turned({'exif': tiff(entry)}, tmp_path)
  assert picture_files.read_picture(tmp_path / 'a.jpg').shape == (64, 64, 4)


@pytest.mark.parametrize(
  'exif',
  [
    tiff((0x0112, 3, 1, struct.pack('>H', 6)), order='>'),
    tiff((0x0112, 4, 1, struct.pack('<I', 6))),
    tiff((0x0112, 1, 1, bytes([6]))),
  ],
)
def test_an_orientation_is_read_however_it_is_stored(exif, tmp_path):
  assert is_turned({'exif': exif}, tmp_path)
  with pytest.raises(ValueError, match='turned by its EXIF orientation 6'):
    picture_files.read_picture(tmp_path / 'a.jpg')


@pytest.mark.parametrize(
  'exif',
  [b'', b'Exif\0\0', b'Exif\0\0II*\0', b'Exif\0\0no', tiff(SIX)[:18]]
  + [tiff((0x0112, 2, 2, b'6\0')), tiff((0x0112, 3, 0, b'\6'))],
)
def test_exif_that_is_cut_off_turns_nothing(exif, tmp_path):
  assert not is_turned({'exif': exif} if exif else {}, tmp_path)


@pytest.mark.parametrize('number', range(1, 9))
def test_every_turn_is_pillows(number):
  from PIL import ImageOps

  image = Image.fromarray(
    np.arange(2 * 3 * 3, dtype=np.uint8).reshape((2, 3, 3))
  )
  expected = image.copy()
  expected.getexif()[0x0112] = number
  np.testing.assert_array_equal(
    decoding.turn_upright(image, number), ImageOps.exif_transpose(expected)
  )


def test_a_turn_is_found_where_editors_of_png_write_it(tmp_path):
  image = Image.new('RGB', (8, 8))
  xmp, raw = PngImagePlugin.PngInfo(), PngImagePlugin.PngInfo()
  xmp.add_itxt('XML:com.adobe.xmp', '<x tiff:Orientation="6"/>')
  lines = ['', 'exif', '36', tiff(SIX).hex()]
  raw.add_text('Raw profile type exif', '\n'.join(lines))
  for number, info in enumerate((xmp, raw)):
    path = tmp_path / f'{number}.png'
    image.save(path, pnginfo=info)
    with Image.open(path) as opened:
      opened.load()
      assert decoding.read_orientation(opened) == 6


@pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
@pytest.mark.parametrize(
  'content, line',
  [
    (b'', 'it is empty, of 0 bytes'),
    (b'\0\0\0\x18ftypheic\0\0\0\0mif1', 'it is HEIC, whatever it is called'),
    (b'\0\0\0\x18ftypavif\0\0\0\0mif1', 'it is AVIF, whatever'),
    (b'\0\0\0\x18ftypcrx \0\0\0\1', 'it is a RAW file of a camera'),
    (b'version https://git-lfs.github.com/spec/v1', 'it is a pointer of Git'),
    (b'<html>not found</html>', 'cannot identify image file'),
  ],
)
def test_a_file_that_is_none_says_what_it_is(tmp_path, reader, content, line):
  (tmp_path / 'a.jpg').write_bytes(content)
  with pytest.raises(ValueError, match=f'a.jpg cannot be read .*{line}') as e:
    reader(tmp_path / 'a.jpg')
  assert '\n' not in str(e.value)


@pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
def test_an_animation_is_not_its_first_picture(tmp_path, reader):
  pictures = [Image.new('RGB', (64, 64), color) for color in ('red', 'blue')]
  pictures[0].save(
    tmp_path / 'a.png', save_all=True, append_images=pictures[1:]
  )
  with pytest.raises(ValueError, match='a.png is an animation of 2 pictures'):
    reader(tmp_path / 'a.png')


@pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
def test_a_phones_second_picture_is_no_animation(tmp_path, reader):
  pictures = [Image.new('RGB', (64, 64), color) for color in ('red', 'blue')]
  pictures[0].save(
    tmp_path / 'a.mpo', 'MPO', save_all=True, append_images=pictures[1:]
  )
  path = (tmp_path / 'a.mpo').rename(tmp_path / 'a.jpg')
  assert reader(path)[8, 8, 0] > 250


@pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
def test_a_picture_that_would_fill_the_memory_is_not_decoded(
  tmp_path, reader, monkeypatch
):
  Image.new('RGB', (64, 64)).save(tmp_path / 'a.png')
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
  with pytest.raises(
    ValueError, match='a.png has more pixels .* save it small'
  ):
    reader(tmp_path / 'a.png')
