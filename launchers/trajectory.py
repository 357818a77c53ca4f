"""An avatar on its way from one sentence to the next, and a film of it.

  mmdist trajectory --config=trajectory:expressions --workdir=runs/expressions
  mmdist trajectory --config=trajectory:ages \\
    --config.legs[0].num_steps=200 --workdir=runs/ages

Each leg is a run of its own, `WORKDIR/legs/0-NAME` and so on, that starts from
the last one's result; its proxies and its optimiser are new. The same command
does what is missing, and a leg that is finished is not run again. At the end
there are `WORKDIR/trajectory.mp4`, `trajectory.webp` and `sheet.png`.
--preflight_only takes one step of the first leg to run, and keeps nothing.
"""

import sys

from mmdist.config import serialization
from mmdist.config import trajectory_schema
from mmdist.trajectories import trajectory_command

from . import config_flag
from . import terminal


def main(
  config: trajectory_schema.TrajectoryConfig,
  options: trajectory_command.Options,
) -> None:
  print(serialization.summarize(config, full=sys.stdout.isatty()))
  made = trajectory_command.run(config, options, terminal.say)
  for name, path in made.results.items():
    print(f'{name:10} {path}')


COMMAND = terminal.Command(
  main,
  trajectory_command.Options,
  config=config_flag.Config(
    'trajectory',
    trajectory_schema.TrajectoryConfig,
    trajectory_command.check,
  ),
)

if __name__ == '__main__':
  COMMAND.run()
