"""Pictures of people that many tests look at: taken once."""

import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.heads import subjects
from mmdist.heads import worlds

PEOPLE = worlds.get('people')

RESOLUTION = 64  # The production resolution.
BARE_FACE = {'glasses': '', 'beard': ''}


@pytest.fixture(scope='session')
def people():
  """Eight people who together wear most of what there is."""
  fixed = [
    {'hat': 'wizard hat', 'beard': 'long beard', 'skin': 'pale'},
    {'hat': 'crown', 'skin': 'green', 'hair_style': 'short'},
    {'hair_style': 'afro', 'red_nose': True, 'hat': ''},
    {'hair_style': 'mohawk', 'glasses': 'sunglasses', 'hat': ''},
    {'hat': 'hat', 'hat_color': 'red', 'skin': 'green', **BARE_FACE},
    {'horns': True, 'hair_style': 'bald', 'hat': '', 'skin': 'red'},
    {'headphones': True, 'hat': '', 'headphone_color': 'blue'},
    {'hat': 'cap', 'glasses': 'glasses', 'hair_style': 'long'},
  ]
  return [
    subjects.sample_head(PEOPLE, 11, i, fixed=choice)
    for i, choice in enumerate(fixed)
  ]


@pytest.fixture(scope='session')
def views(people):
  """A view of each of the people, three of them in front."""
  azimuth = np.array([0.0, 0.0, 2.4, -1.2, 0.0, 0.5, -2.8, 0.9])
  return orbits.make_views(
    azimuth,
    np.linspace(0.0, 0.6, len(people)),
    orbits.CAMERA_DISTANCE,
    orbits.HEAD_TARGET,
    orbits.HEAD_HALF_HEIGHT,
  )


@pytest.fixture(scope='session')
def pictures(people, views):
  """Pictures of the people from their views."""
  return subjects.render_heads(PEOPLE, people, views, RESOLUTION)
