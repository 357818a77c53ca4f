"""A trajectory as a command line asks for it."""

from collections.abc import Callable
import dataclasses
import pathlib
from typing import TYPE_CHECKING

from mmdist.api import joining
from mmdist.config import trajectory_schema
from mmdist.core import options as options_lib
from mmdist.core import saying
from mmdist.trajectories import legs as legs_lib

if TYPE_CHECKING:  # Not at run time, because it imports what computes.
  from mmdist.trajectories import trajectory_run

# Of a trajectory that was finished once. It may need no cluster, so that its
# legs are looked at first.
_LAST_RESULT = 'sheet.png'


@dataclasses.dataclass(frozen=True)
class Options:
  """Where a trajectory is made, and by what."""

  workdir: str = options_lib.option(
    options_lib.REQUIRED,
    'Folder of the trajectory; a new one is made.',
    is_path=True,
  )
  executor: str = options_lib.option(
    'ray',
    'Where the priors run: in this process, or in Ray actors.',
    choices=('inline', 'ray'),
  )
  ray_address: str | None = options_lib.option(
    None, 'A running Ray cluster; else Ray starts here.'
  )
  ship_code: bool = options_lib.option(
    True,
    'Whether the workers of a cluster get the mmdist of this machine; else '
    'each needs the same one, which is checked.',
  )
  grace_s: float = options_lib.option(
    60.0,
    'After SIGTERM or Ctrl-C, how long the running step may take.',
    minimum=0.1,
  )
  preflight_only: bool = options_lib.option(
    False, 'Take one step of the first leg to run, keep nothing, and end.'
  )


def check(config: trajectory_schema.TrajectoryConfig) -> None:
  """Raises UserError, in one line, for legs or a film that cannot be made."""
  legs_lib.from_config(config)
  trajectory_schema.check_film(config.film)


def run(
  config: trajectory_schema.TrajectoryConfig,
  options: Options,
  report: Callable[[str], None] = saying.say,
) -> 'trajectory_run.Trajectory':
  """Makes the trajectory that a configuration describes.

  Args:
    config: what an experiment returned.
    options: see `Options`.
    report: see `trajectory_run.trajectory`.

  Raises:
    UserError, OSError: in one line.
  """
  options = options_lib.checked(options)
  executor = joining.executor_of(
    options.executor, options.ray_address, ship_code=options.ship_code
  )
  if not pathlib.Path(options.workdir, _LAST_RESULT).is_file():
    joining.check(executor)
  # Here, because what computes takes seconds to import.
  from mmdist.trajectories import trajectory_run

  return trajectory_run.trajectory(
    legs_lib.from_config(config),
    options.workdir,
    config=config.base,
    executor=executor,
    film=config.film,
    grace_s=options.grace_s,
    preflight_only=options.preflight_only,
    report=report,
  )
