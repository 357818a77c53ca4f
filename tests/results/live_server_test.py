import dataclasses
import sys

import pytest

from mmdist.results import live_server
from mmdist.results import remake
from mmdist.run import opening
from tests.results import quick_nerf
from tests.results import small_run


@pytest.fixture(autouse=True, scope='module')
def _quick():
  with quick_nerf.quick():
    yield


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return small_run.write(tmp_path_factory.mktemp('runs') / 'one')


def test_a_followed_run_shows_its_newest_checkpoint(workdir, monkeypatch):
  load = live_server.follow(workdir)
  assert load().step == 1 and load() is load()
  newer = opening.open_run(workdir)
  monkeypatch.setattr(opening, 'newest_step', lambda run: 2)
  monkeypatch.setattr(
    opening,
    'open_run',
    lambda run: dataclasses.replace(newer, step=2, representation=None),
  )
  assert load().step == 2
  assert load().representation is not None  # Compiled once, for all steps.


def test_live_pictures_without_viser_are_a_line(workdir, monkeypatch):
  monkeypatch.setitem(sys.modules, 'viser', None)
  with pytest.raises(
    ValueError, match=r'the extra \[viewer\].*pip install viser'
  ):
    live_server.serve(workdir, remake.Options(resolution=16))
