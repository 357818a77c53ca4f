import dataclasses
import socket
import sys
import types

import pytest

from mmdist.core import errors
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


def test_an_address_of_another_machine_is_refused_in_a_line(
  workdir, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'viser', types.ModuleType('viser'))
  # An address of documentation (RFC 5737), which no machine has.
  options = remake.Options(host='203.0.113.1')
  with pytest.raises(errors.UserError, match='--host=203.0.113.1 .*0.0.0.0'):
    live_server.serve(workdir, options)


def test_a_port_that_is_taken_is_left_to_viser():
  with socket.create_server(('127.0.0.1', 0)) as taken:
    live_server._check_address('127.0.0.1', taken.getsockname()[1])


def test_live_pictures_without_viser_are_a_line(workdir, monkeypatch):
  monkeypatch.setitem(sys.modules, 'viser', None)
  with pytest.raises(
    ValueError, match=r'the extra \[viewer\].*pip install viser'
  ):
    live_server.serve(workdir, remake.Options(resolution=16))
