import collections
import math

import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.core import seeds


def rows_of(kind):
  """Returns the bank's rows that belong to one kind of orbit."""
  kinds = orbits.ORBIT_KINDS
  before = sum(k.count for k in kinds[: kinds.index(kind)])
  first = before * orbits.NUM_CAMERAS_PER_ORBIT
  return range(first, first + kind.count * orbits.NUM_CAMERAS_PER_ORBIT)


def test_the_bank_has_the_papers_39600_views():
  assert sum(kind.count for kind in orbits.ORBIT_KINDS) == 1320
  assert len(orbits.bank()) == 39_600


def test_the_bank_is_the_same_each_time_it_is_made():
  first, again = orbits.bank(), orbits.bank.__wrapped__()
  np.testing.assert_array_equal(first.azimuth, again.azimuth)
  np.testing.assert_array_equal(first.target, again.target)
  assert first.words == again.words


def test_an_orbit_is_evenly_spaced_at_one_elevation():
  views = orbits.bank().take(np.arange(30) + 30 * 700)
  steps = np.diff(np.unwrap(views.azimuth))
  np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
  assert np.ptp(views.elevation) == 0


def test_elevations_cover_the_range_of_their_kind():
  kind = orbits.ORBIT_KINDS[0]
  elevation = orbits.bank().elevation[list(rows_of(kind))[::30]]
  histogram, _ = np.histogram(elevation, 10, kind.elevation)
  np.testing.assert_allclose(histogram, kind.count / 10, atol=1)


@pytest.mark.parametrize(
  'kind', [k for k in orbits.ORBIT_KINDS if k.word], ids=lambda k: k.word
)
def test_every_closeup_is_named_by_what_it_was_made_to_show(kind):
  words = orbits.bank().words
  assert {words[row] for row in rows_of(kind)} == {kind.word}


def test_every_word_of_the_paper_is_in_the_bank():
  paper = 'front side overhead low-angle chin mouth nose eyes hair chest'
  assert set(paper.split()) | {'back'} == set(orbits.bank().words)
  assert set(orbits.bank().words) == set(orbits.VIEW_WORDS)


@pytest.mark.parametrize(
  'azimuth_deg, elevation_deg, word',
  [
    (0, 0, 'front'),
    (39, 0, 'front'),
    (-41, 0, 'side'),
    (90, 10, 'side'),
    (180, 0, 'back'),
    (-130, 0, 'back'),
    (350, 0, 'front'),
    (0, 50, 'overhead'),
    (180, 50, 'overhead'),
    (0, -20, 'low-angle'),
  ],
)
def test_a_view_of_the_whole_head_is_named_by_its_direction(
  azimuth_deg, elevation_deg, word
):
  views = orbits.make_views(
    math.radians(azimuth_deg), math.radians(elevation_deg), 3.4, (0, 0, 0), 0.95
  )
  assert views.words == (word,)


def test_azimuths_are_wrapped():
  views = orbits.make_views([np.pi, 3 * np.pi, 0.1], 0.0, 3.4, (0, 0, 0), 0.95)
  np.testing.assert_allclose(views.azimuth, [-np.pi, -np.pi, 0.1], atol=1e-12)


def test_half_height_is_what_the_frame_holds():
  views = orbits.make_views(0.0, 0.0, [2.0, 4.0], (0, 0, 0), 0.95)
  np.testing.assert_allclose(views.tan_half_fov * views.distance, 0.95)


def test_the_head_fills_about_seven_tenths_of_the_frame():
  cameras = orbits.turntable(1, elevation=0.0).cameras()
  # Chin and crown, seen by a pinhole in front.
  top = (0.70 - 0.08) / orbits.CAMERA_DISTANCE / cameras.tan_half_fov[0]
  bottom = (-0.64 - 0.08) / orbits.CAMERA_DISTANCE / cameras.tan_half_fov[0]
  assert (top - bottom) / 2 == pytest.approx(0.7, abs=0.05)


def test_cameras_look_at_their_targets():
  views = orbits.bank().take(range(0, 39_600, 997))
  pose = views.cameras().camera_to_world
  seen = pose[..., 3] - views.distance[:, None] * pose[..., 2]
  np.testing.assert_allclose(seen, views.target, atol=1e-5)


def test_take_keeps_the_order():
  views = orbits.bank().take([5, 2])
  assert len(views) == 2
  np.testing.assert_array_equal(views.azimuth, orbits.bank().azimuth[[5, 2]])
  assert views.words == tuple(orbits.bank().words[i] for i in (5, 2))


def test_the_same_generator_draws_the_same_views():
  draws = [
    orbits.sample(4, seeds.generator(1, 2, 'views')).azimuth for _ in range(2)
  ]
  np.testing.assert_array_equal(*draws)


def test_emphasised_words_are_drawn_so_much_more_often():
  emphasis = {'mouth': 3.0, 'back': 0.0}
  views = orbits.sample(4000, seeds.generator(1, 2, 'views'), emphasis)
  counts = collections.Counter(orbits.bank().words)
  drawn = collections.Counter(views.words)
  total = len(orbits.bank()) + 2 * counts['mouth'] - counts['back']
  assert drawn['back'] == 0
  # Three standard errors of a share of 0.2 in 4,000 draws are 0.019.
  for word, weight in (('mouth', 3), ('front', 1)):
    share = weight * counts[word] / total
    assert drawn[word] / 4000 == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
  ('emphasis', 'message'),
  [
    ({'mouht': 2.0}, "'mouht'; did you mean 'mouth'"),
    (dict.fromkeys(orbits.VIEW_WORDS, 0.0), 'are never drawn; raise one'),
  ],
)
def test_an_emphasis_that_cannot_be_drawn_is_refused(emphasis, message):
  with pytest.raises(ValueError, match=message):
    orbits.sample(1, seeds.generator(0, 0, 'views'), emphasis)


def test_a_turntable_starts_in_front_and_goes_round_once():
  views = orbits.turntable(8)
  assert views.words[0] == 'front'
  turns = np.diff(np.unwrap(views.azimuth))
  np.testing.assert_allclose(turns, np.pi / 4)


def test_the_printed_table_counts_every_word(capsys):
  orbits.main()
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == len(orbits.VIEW_WORDS)
  assert sum(int(line.split()[1]) for line in lines) == 39_600


@pytest.mark.parametrize('emphasis', [None, {'mouth': 3.0}])
def test_drawn_views_are_those_of_the_bank(emphasis):
  drawn = orbits.sample(50, np.random.default_rng(3), emphasis)
  rows = orbits.draw(50, np.random.default_rng(3), emphasis)
  taken = orbits.bank().take(rows)
  assert drawn.words == taken.words
  for field in ('azimuth', 'elevation', 'distance', 'target', 'tan_half_fov'):
    np.testing.assert_array_equal(getattr(drawn, field), getattr(taken, field))
