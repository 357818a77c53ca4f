import pytest

from mmdist.api import executors
from mmdist.api import joining
from mmdist.config import trajectory_schema
from mmdist.core import errors
from mmdist.trajectories import film
from mmdist.trajectories import trajectory_command
from mmdist.trajectories import trajectory_run

CONFIG = trajectory_schema.TrajectoryConfig(
  legs=[trajectory_schema.LegConfig('a ball')]
)


def test_the_flags_reach_the_trajectory(tmp_path, monkeypatch):
  given = {}
  checked = []
  monkeypatch.setattr(joining, 'check', checked.append)
  monkeypatch.setattr(
    trajectory_run, 'trajectory', lambda *_, **options: given.update(options)
  )
  options = trajectory_command.Options(
    str(tmp_path / 'way'),
    ray_address='head:6379',
    ship_code=False,
    preflight_only=True,
    grace_s=5.0,
  )
  trajectory_command.run(CONFIG, options)
  assert given['executor'] == executors.RayOptions('head:6379', ship_code=False)
  assert given['preflight_only'] and given['grace_s'] == 5.0
  # The cluster of one that may be finished is not asked before that is known.
  assert checked == [given['executor']]
  (tmp_path / 'way').mkdir()
  (tmp_path / 'way' / film.FILES['sheet']).touch()
  trajectory_command.run(CONFIG, options)
  assert len(checked) == 1


def test_an_address_that_nothing_would_join_is_refused(tmp_path):
  options = trajectory_command.Options(
    str(tmp_path / 'way'), executor='inline', ray_address='head:6379'
  )
  with pytest.raises(errors.UserError, match='expected one of them'):
    trajectory_command.run(CONFIG, options)
