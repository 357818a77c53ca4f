import numpy as np
import pytest

from mmdist.config import trajectory_schema
from mmdist.trajectories import film
from mmdist.trajectories import way
from tests.results import sphere_field

SETTINGS = trajectory_schema.FilmConfig(
  frames_per_second=10, hold_s=0.2, swing_deg=30.0, swing_s=4.0
)


def test_the_camera_swings_to_both_sides_and_back():
  azimuth = np.degrees(film.azimuths(41, SETTINGS))
  assert azimuth[[0, 20, 40]] == pytest.approx(0, abs=1e-5)
  assert azimuth[[10, 30]] == pytest.approx([30, -30])
  # Slowly: never more than 2 pi / 4 s of the swing's width.
  assert np.abs(np.diff(azimuth)).max() <= 30 * 2 * np.pi / 40 + 1e-6


@pytest.fixture(name='legs')
def fixture_legs(tmp_path):
  """A ball that grows in one leg, and shrinks in the next."""
  legs = []
  for name, kept, end in (
    ('0-grow', {0: 0.3, 5: 0.5, 10: 0.9}, 0.7),
    ('1-shrink', {2: 0.6}, 0.4),
  ):
    for step, radius in kept.items():
      way.write(tmp_path / name, step, sphere_field.params_of(radius))
    params = sphere_field.params_of(end)
    legs.append(film.Ended(name, tmp_path / name, params, 10))
  return legs


def test_the_points_are_the_start_the_ways_and_every_end(legs):
  shown = list(film.points(legs, SETTINGS))
  assert [(p.caption, p.num_frames) for p in shown] == [
    ('start', 2),
    ('0-grow: step 5 of 10', 1),
    ('0-grow: step 10 of 10', 2),
    ('1-shrink: step 2 of 10', 1),
    ('1-shrink: step 10 of 10', 2),
  ]
  # What was kept of the last step, with more points before, is not shown.
  radii = [float(point.params['radius']) for point in shown]
  assert radii == pytest.approx([0.3, 0.5, 0.7, 0.6, 0.4])


def test_the_frames_show_the_points(legs):
  settings = trajectory_schema.FilmConfig(hold_s=0, swing_deg=0)
  frames = film.draw(
    sphere_field.representation(),
    list(film.points(legs, settings)),
    settings,
    24,
  )
  assert frames.shape == (5, 24 + 18, 48, 3) and frames.dtype == np.uint8
  colour = frames[:, :24, :24].astype(float)
  covered = (np.ptp(colour, axis=-1) > 40).sum((1, 2))
  assert list(np.argsort(covered)) == [0, 4, 1, 3, 2]


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('points_per_leg', 0, '1 to 10000'),
    ('points_per_leg', 10**26, '1 to 10000'),
    ('frames_per_second', 0, '1 to 120'),
    ('hold_s', -1.0, '0 to 60'),
    ('swing_deg', float('nan'), '0 to 180'),
    ('swing_s', 0.0, '0.1 to 3600'),
    ('swing_s', float('inf'), '0.1 to 3600'),
  ],
)
def test_a_film_that_cannot_be_made_is_one_line(field, value, words):
  settings = trajectory_schema.FilmConfig(**{field: value})
  with pytest.raises(ValueError, match=f'film.{field} is {value}; .*{words}'):
    trajectory_schema.check_film(settings)
