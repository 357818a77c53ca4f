"""The rig: nearly the same cameras for every subject, close-ups for people."""

import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.heads import rigs
from mmdist.heads import worlds

RIG = worlds.get('people').rig


@pytest.mark.parametrize('rig', [rigs.WHOLE_HEADS, RIG])
def test_the_rig_stands_nearly_the_same_for_every_subject(rig):
  first, second = (rigs.views(rig, 0, index, len(rig)) for index in (0, 1))
  azimuth, elevation, half_height, target = map(np.array, zip(*rig))
  for views in (first, second):
    turn = (views.azimuth - azimuth + np.pi) % (2 * np.pi) - np.pi
    # Four sigmas of the jitter.
    assert np.abs(turn).max() < 0.48
    assert np.abs(views.elevation - elevation).max() < 0.24
    np.testing.assert_array_equal(views.target, target)
    seen = views.tan_half_fov * views.distance
    np.testing.assert_array_less(np.abs(seen / half_height - 1), 0.06)
  assert not np.allclose(first.azimuth, second.azimuth)
  np.testing.assert_array_equal(
    first.azimuth, rigs.views(rig, 0, 0, len(rig)).azimuth
  )


def test_cameras_beyond_the_rig_stand_anywhere_but_the_rig_stays():
  views = rigs.views(rigs.WHOLE_HEADS, 3, 0, 40)
  assert len(views) == 40
  behind = np.abs(views.azimuth[13:]) > np.pi / 2
  assert 5 < behind.sum() < 22
  assert len(rigs.views(rigs.WHOLE_HEADS, 3, 0, 2)) == 2


def test_the_rig_of_people_has_close_ups_of_mouth_and_eyes():
  kinds = {kind.word: kind.target for kind in orbits.ORBIT_KINDS}
  targets = [camera.target for camera in RIG]
  assert targets.count(kinds['mouth']) == 3
  assert targets.count(kinds['eyes']) == 2
  assert len(RIG) == len(rigs.WHOLE_HEADS) + 5 == 18
