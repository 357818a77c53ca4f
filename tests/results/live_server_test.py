import shutil
import socket
import sys
import types

import numpy as np
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


@pytest.fixture
def start(monkeypatch):
  """The small run's NeRF has no shipped weights to have started from."""
  monkeypatch.setattr(
    opening,
    'start_params',
    lambda avatar: {**avatar.params, 'code': avatar.params['code'] + 1},
  )


@pytest.mark.usefixtures('start')
def test_a_followed_run_shows_its_start_and_its_checkpoints(tmp_path, workdir):
  copy = shutil.copytree(workdir, tmp_path / 'run')
  run = live_server.FollowedRun(copy)
  assert run.steps() == [0, 1]
  begun, newest = run.load(0), run.load(1)
  assert (begun.step, newest.step) == (0, 1)
  # Compiled once, for all steps.
  assert begun.representation is newest.representation
  assert not np.array_equal(begun.params['code'], newest.params['code'])
  first = opening.open_run(workdir)
  np.testing.assert_array_equal(newest.params['code'], first.params['code'])


@pytest.mark.usefixtures('start')
def test_what_a_run_gains_and_loses_is_seen(tmp_path, workdir):
  copy = shutil.copytree(workdir, tmp_path / 'run')
  run = live_server.FollowedRun(copy)
  checkpoints = copy / 'checkpoints'
  shutil.copytree(checkpoints / '1', checkpoints / '2')
  (checkpoints / '3').mkdir()
  assert run.steps() == [0, 1, 2, 3]
  assert run.load(2).step == 2
  assert run.load(3) is None  # Nothing can be read there.
  shutil.rmtree(checkpoints / '1')
  assert run.steps() == [0, 2, 3] and run.load(1) is None
  # What is shown stays there to be shown.
  shutil.rmtree(checkpoints / '2')
  assert run.steps() == [0, 2, 3] and run.load(2).step == 2


def test_a_start_whose_weights_are_gone_is_not_offered(workdir, monkeypatch):
  def gone(avatar):
    raise FileNotFoundError('no such assets')

  monkeypatch.setattr(opening, 'start_params', gone)
  assert live_server.FollowedRun(workdir).steps() == [1]


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
