import numpy as np
from PIL import Image
import pytest

from mmdist.data import sheets


def pictures(count, height=3, width=5):
  return np.random.default_rng(0).uniform(size=(count, height, width, 3))


def test_pictures_lie_in_rows():
  given = pictures(6)
  sheet = sheets.grid(given, columns=3)
  assert sheet.shape == (6, 15, 3)
  for i, picture in enumerate(given):
    row, column = divmod(i, 3)
    cell = sheet[3 * row : 3 * row + 3, 5 * column : 5 * column + 5]
    np.testing.assert_array_equal(cell, picture)


def test_missing_cells_are_white():
  sheet = sheets.grid(pictures(4), columns=3)
  np.testing.assert_array_equal(sheet[3:, 5:], 1.0)


def test_a_sheet_is_read_back_zoomed(tmp_path):
  path = tmp_path / 'sheet.png'
  given = np.array([0.0, 0.5, 1.0, 2.0]).reshape(4, 1, 1, 1) * np.ones(3)
  sheets.save_grid(path, given, columns=2, zoom=3)
  found = np.asarray(Image.open(path))
  assert found.shape == (6, 6, 3)
  np.testing.assert_array_equal(found[::3, ::3, 0], [[0, 128], [255, 255]])
  np.testing.assert_array_equal(found[:3, :3], 0)


def test_a_sheet_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
  def fail(self, file, format):
    raise OSError('disk full')

  monkeypatch.setattr(Image.Image, 'save', fail)
  with pytest.raises(OSError, match='disk full'):
    sheets.save_grid(tmp_path / 'sheet.png', pictures(1))
  assert not list(tmp_path.iterdir())
