"""What a sweep returns; the cluster and its slots are stand-ins."""

import types

import pytest

from experiments import mix
from mmdist.distribution import cluster
from mmdist.distribution import placement
from mmdist.run import stopping
from mmdist.sweeps import cell_runner
from mmdist.sweeps import cells
from mmdist.sweeps import planning
from mmdist.sweeps import ray_slots
from mmdist.sweeps import sweep_run


class Slots:
  """Two slots: the cell 'wrong' fails at once, any other never ends."""

  def __init__(self, *args, **options):
    self._jobs = []

  def free(self):
    return 2 - len(self._jobs)

  def start(self, job):
    self._jobs.append(job)

  def wait(self, seconds):
    outcome = cell_runner.Outcome('failed', 'no such word')
    return [(job, outcome) for job in self._jobs if job.name == 'wrong']

  def progress(self):
    return {}

  def close(self):
    pass


class Room:
  """It is there at once."""

  def __init__(self, options):
    self.options = options

  def wait(self, check_stop, tell):
    pass

  def place(self, name, options):
    return {**options, 'placed': name}

  def close(self):
    pass


class NoRoom(Room):
  """It never comes."""

  def wait(self, check_stop, tell):
    check_stop()


class Impatient(stopping.Stopper):
  """Its time is over when it is first asked."""

  def check_stop(self):
    raise stopping.Overdue


@pytest.fixture
def run(monkeypatch, tmp_path):
  """Runs two cells where `room` is; notes whether the cluster was closed."""
  monkeypatch.setattr(ray_slots, 'RaySlots', Slots)
  monkeypatch.setattr(stopping, 'Stopper', Impatient)
  closed, begun = [], []
  monkeypatch.setattr(
    cluster,
    'Cluster',
    lambda *args, **options: types.SimpleNamespace(
      close=lambda: closed.append(True),
      check_alive=lambda: None,
      is_lost=lambda: False,
    ),
  )
  made = cells.listed(
    mix.get_config(), [{'name': 'wrong'}, {'name': 'slow', 'seed': 1}]
  )
  states = {cell.name: 'new' for cell in made}
  recipes = dict.fromkeys(states, ())
  plan = planning.Plan(cells.Grid((), made), states, recipes, {}, None)
  settings = sweep_run.Settings('inline', None, cores=1, most=2)

  def in_room(room):
    monkeypatch.setattr(placement, 'Room', room)
    return sweep_run.run(
      plan, tmp_path, settings, str, begin=lambda: begun.append(True)
    )

  return types.SimpleNamespace(in_room=in_room, closed=closed, begun=begun)


def test_a_cell_that_failed_stays_failed_when_the_others_take_too_long(run):
  ended = run.in_room(Room)
  assert (ended['wrong'].kind, ended['wrong'].error) == (
    'failed',
    'no such word',
  )
  assert ended['slow'].kind == 'stopped'
  assert run.closed and run.begun


def test_a_sweep_that_is_stopped_without_room_has_not_begun(run):
  with pytest.raises(ValueError, match='stopped while there was no room yet'):
    run.in_room(NoRoom)
  assert run.closed and not run.begun
