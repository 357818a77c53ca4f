"""A sentence becomes a 3D head.

  mmdist optimize --config=generate \\
    --config.prompt='a portrait of a happy man with green skin and a red hat' \\
    --workdir=runs/green

The same command resumes a run; --resume_with_changes=FIELD,... lets it go on
with another configuration. Everything that can be wrong with it is checked
before anything slow begins, and nothing is written before that.
"""

import dataclasses
import sys

from mmdist.api import joining
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import options as options_lib

from . import config_flag
from . import terminal


@dataclasses.dataclass(frozen=True)
class Options:
  """Where a run is made, by what, and what may differ when it goes on."""

  workdir: str = options_lib.option(
    options_lib.REQUIRED, 'Folder of the run; a new one is made.', is_path=True
  )
  executor: str = options_lib.option(
    'ray',
    'Where the priors run: in this process, or in Ray actors.',
    choices=('inline', 'ray'),
  )
  ray_address: str | None = options_lib.option(
    None, 'A running Ray cluster; else Ray starts here.'
  )
  ray_dashboard: bool = options_lib.option(
    False,
    "Whether a Ray that starts here serves its dashboard, to this machine's "
    "browsers only; needs pip install 'ray[default]'.",
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
    False, 'Load everything and take one step, keep nothing, and end.'
  )
  resume_with_changes: tuple[str, ...] = options_lib.option(
    (),
    'Fields that may differ from those that a run began with, such as '
    "num_steps,learner; 'weights' for the files of the priors.",
  )


def main(config: schema.RunConfig, options: Options) -> None:
  print(serialization.summarize(config, full=sys.stdout.isatty()))
  executor = joining.executor_of(
    options.executor,
    options.ray_address,
    dashboard=options.ray_dashboard,
    ship_code=options.ship_code,
  )
  joining.check_for(executor, options.workdir, config.num_steps)
  # Here, because what computes takes seconds to import.
  from mmdist.api import optimization

  if options.preflight_only:
    optimization.preflight(
      None,
      options.workdir,
      config=config,
      executor=executor,
      may_change=options.resume_with_changes,
    )
    return
  run = optimization.optimize(
    None,
    options.workdir,
    config=config,
    executor=executor,
    may_change=options.resume_with_changes,
    grace_s=options.grace_s,
  )
  if run.is_finished:
    for name, path in run.results.items():
      print(f'{name:10} {path}')


COMMAND = terminal.Command(main, Options, config=config_flag.Config())

if __name__ == '__main__':
  COMMAND.run()
