"""Heads of clay that many tests look at: compiled once."""

import functools

import jax
import numpy as np
import pytest

from mmdist.cameras import orbits
from mmdist.heads import subjects
from mmdist.heads import worlds
from mmdist.heads.clay import geometry as head_geometry

CLAY = worlds.get('clay')

RESOLUTION = 64  # The production resolution; see rendering_test.
CHUNK = 4096


@jax.jit
def everything(points, parameters, footprint):
  """Returns distance, distances by part and colours: one program for all."""
  footprints = footprint + 0 * points[:, 0]
  return {
    'distance': head_geometry.distance(points, parameters),
    'parts': head_geometry.part_distances(points, parameters),
    'albedo': head_geometry.albedo(points, parameters, footprints),
  }


def evaluate(what, points, parameters, footprint=1e-3):
  """Returns one of the compiled values at any number of points."""
  points = np.asarray(points, np.float32)
  parts = [
    everything(
      np.resize(points[first : first + CHUNK], (CHUNK, 3)),
      parameters,
      np.float32(footprint),
    )[what]
    for first in range(0, len(points), CHUNK)
  ]
  return jax.tree.map(lambda *rows: np.concatenate(rows)[: len(points)], *parts)


@pytest.fixture(scope='session')
def distance():
  """Returns the compiled signed distance of a head."""
  return functools.partial(evaluate, 'distance')


@pytest.fixture(scope='session')
def part_distances():
  """Returns the compiled distances by part."""
  return functools.partial(evaluate, 'parts')


@pytest.fixture(scope='session')
def albedo():
  """Returns the compiled colours, given a footprint for all points."""
  return functools.partial(evaluate, 'albedo')


@pytest.fixture(scope='session')
def people():
  """Eight heads that together wear most of what there is."""
  fixed = [
    {'hat': 'wizard hat', 'beard': 'long beard', 'skin': 'pale'},
    {'hat': 'crown', 'skin': 'green', 'hair_style': 'short'},
    {'hair_style': 'afro', 'red_nose': True, 'hat': ''},
    {'hair_style': 'mohawk', 'glasses': 'sunglasses', 'hat': ''},
    {'hat': 'hat', 'hat_color': 'red', 'skin': 'green'},
    {'horns': True, 'hair_style': 'bald', 'hat': '', 'skin': 'red'},
    {'headphones': True, 'hat': '', 'headphone_color': 'blue'},
    {'hat': 'cap', 'glasses': 'glasses', 'hair_style': 'long'},
  ]
  return [
    subjects.sample_head(CLAY, 11, i, fixed=choice)
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
  return subjects.render_heads(CLAY, people, views, RESOLUTION)
