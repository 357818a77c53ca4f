from mmdist.api import executors
from mmdist.config import trajectory_schema
from mmdist.trajectories import trajectory_command
from mmdist.trajectories import trajectory_run


def test_the_flags_reach_the_trajectory(tmp_path, monkeypatch):
  given = {}
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
  config = trajectory_schema.TrajectoryConfig(
    legs=[trajectory_schema.LegConfig('a ball')]
  )
  trajectory_command.run(config, options)
  assert given['executor'] == executors.RayOptions('head:6379', ship_code=False)
  assert given['preflight_only'] and given['grace_s'] == 5.0
