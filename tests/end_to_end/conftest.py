import functools
import pathlib

import pytest

from mmdist.run import reporting
from tests.end_to_end import launching


@pytest.fixture(name='trained', scope='module')
def fixture_trained(tmp_path_factory) -> pathlib.Path:
  """Writes a random NeRF and two random priors; returns their folder."""
  return launching.write_trained(tmp_path_factory.mktemp('trained'))


@pytest.fixture(autouse=True)
def _small_previews(monkeypatch):
  """Renders a picture of each step in few pixels: programs here are slow."""
  monkeypatch.setattr(reporting, 'PREVIEW_RESOLUTION', 16)


@pytest.fixture(name='here')
def fixture_here(capfd, monkeypatch):
  """Runs the launcher in this process; see `launching.call_here`."""
  return functools.partial(launching.call_here, capfd, monkeypatch)
