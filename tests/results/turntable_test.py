import sys

import imageio_ffmpeg
import numpy as np
from PIL import Image
import pytest

from mmdist.cameras import orbits
from mmdist.results import turntable


def read_video(path):
  """Returns [V, H, W, 3] frames of a video, by ffmpeg."""
  reader = imageio_ffmpeg.read_frames(str(path))
  width, height = next(reader)['size']
  frames = [np.frombuffer(frame, np.uint8) for frame in reader]
  return np.stack(frames).reshape(-1, height, width, 3)


def colored_frames(num_frames, height, width):
  """Frames of one colour each, so that their order can be read back."""
  levels = np.linspace(20, 235, num_frames).astype(np.uint8)
  return np.broadcast_to(
    levels[:, None, None, None], (num_frames, height, width, 3)
  )


def test_a_video_gives_back_its_frames_in_order(tmp_path):
  frames = colored_frames(6, 32, 64)
  turntable.write_mp4(tmp_path / 'a.mp4', frames)
  read = read_video(tmp_path / 'a.mp4')
  assert read.shape == frames.shape
  # Lossy, and stored as video levels of 16 to 235.
  np.testing.assert_allclose(read.astype(float), frames, atol=4)


def test_a_video_of_odd_size_gets_a_row_and_a_column_more(tmp_path):
  turntable.write_mp4(tmp_path / 'a.mp4', colored_frames(2, 33, 35))
  assert read_video(tmp_path / 'a.mp4').shape == (2, 34, 36, 3)


def test_an_animation_gives_back_its_frames_and_repeats(tmp_path):
  frames = colored_frames(5, 20, 40)
  turntable.write_webp(tmp_path / 'a.webp', frames, fps=10)
  with Image.open(tmp_path / 'a.webp') as animation:
    assert animation.n_frames == 5
    assert animation.size == (40, 20)
    assert animation.info['loop'] == 0
    animation.seek(4)
    last = np.asarray(animation.convert('RGB'), float)
    assert animation.info['duration'] == 100  # Milliseconds.
  np.testing.assert_allclose(last, frames[4], atol=4)  # Lossy.


def test_what_ffmpeg_cannot_write_is_an_error_with_its_reason(tmp_path):
  with pytest.raises(RuntimeError, match='2 frames of 32x32: .*No such file'):
    turntable.write_mp4(tmp_path / 'absent/a.mp4', colored_frames(2, 32, 32))


@pytest.mark.parametrize('write', [turntable.write_mp4, turntable.write_webp])
def test_a_video_without_frames_is_refused(write, tmp_path):
  with pytest.raises(ValueError, match='expected at least one frame'):
    write(tmp_path / 'a.mp4', np.zeros((0, 8, 8, 3), np.uint8))
  assert not list(tmp_path.iterdir())


def test_nothing_but_the_file_is_left_in_the_folder(tmp_path):
  turntable.write_mp4(tmp_path / 'a.mp4', colored_frames(2, 32, 32))
  turntable.write_webp(tmp_path / 'a.webp', colored_frames(2, 32, 32))
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ['a.mp4', 'a.webp']


def test_colour_stands_left_of_normals():
  rgb, normals = np.zeros((2, 4, 5, 3)), np.ones((2, 4, 5, 3))
  frames = turntable.side_by_side(rgb, normals)
  assert frames.shape == (2, 4, 10, 3)
  assert frames.dtype == np.uint8
  assert (frames[:, :, :5] == 0).all()
  assert (frames[:, :, 5:] == 255).all()


def test_values_out_of_range_are_clipped_not_wrapped():
  assert turntable.to_uint8(np.array([-0.5, 0.5, 1.5])).tolist() == [
    0,
    128,
    255,
  ]


def test_a_sheet_shows_colour_above_normals_under_a_label(tmp_path):
  rgb = np.full((3, 16, 16, 3), (1.0, 0, 0))
  normals = np.full((3, 16, 16, 3), (0, 0, 1.0))
  labels = ['front', 'side', 'back']
  turntable.write_sheet(tmp_path / 's.png', rgb, normals, labels, num_columns=2)
  sheet = np.asarray(Image.open(tmp_path / 's.png'))
  label = sheet.shape[0] // 2 - 32
  assert sheet.shape[1] == 32
  assert (sheet[label : label + 16] == (255, 0, 0)).all()
  assert (sheet[label + 16 : label + 32] == (0, 0, 255)).all()
  assert (sheet[-16:, 16:] == 255).all()  # The table's empty fourth cell.
  assert (sheet[:label] < 128).any()  # The labels' letters.


def test_a_sheet_with_too_few_labels_is_refused():
  pictures = np.zeros((2, 4, 4, 3))
  with pytest.raises(ValueError, match='2 colour pictures .* got 2 and 1'):
    turntable.contact_sheet(pictures, pictures, ['front'])


def test_a_sheet_looks_from_every_side_and_closely():
  words = turntable.sheet_views().words
  assert {'front', 'side', 'back', 'overhead', 'mouth', 'eyes'} <= set(words)
  assert set(words) <= set(orbits.VIEW_WORDS)


@pytest.mark.parametrize('missing', ['package', 'program'])
def test_without_ffmpeg_there_is_an_animation_and_a_line(
  tmp_path, monkeypatch, caplog, missing
):
  if missing == 'package':
    monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
  else:

    def find():
      raise RuntimeError('No ffmpeg exe could be found.')

    monkeypatch.setattr(imageio_ffmpeg, 'get_ffmpeg_exe', find)
  paths = {'video': tmp_path / 'a.mp4', 'animation': tmp_path / 'a.webp'}
  paths['video'].write_bytes(b'of an earlier avatar')
  made = turntable.write_film(paths, colored_frames(2, 8, 8))
  assert made == {'animation': paths['animation']}
  assert [path.name for path in tmp_path.iterdir()] == ['a.webp']
  assert 'no film: imageio-ffmpeg or its program is missing' in caplog.text
