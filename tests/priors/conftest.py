"""What several files of tests of priors start from."""

import pytest

from tests.priors import tiny_checkpoints


@pytest.fixture(scope='module', name='checkpoints')
def fixture_checkpoints(tmp_path_factory):
  """Family -> a tiny model as directory, in one file, and what that needs."""
  folder = tmp_path_factory.mktemp('checkpoints')
  return {
    family: tiny_checkpoints.write(family, folder / family)
    for family in tiny_checkpoints.FAMILIES
  }


@pytest.fixture(name='own_cache')
def fixture_own_cache(tmp_path, monkeypatch):
  """A user's cache for one test alone."""
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
