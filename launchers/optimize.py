"""A sentence becomes a 3D head.

  python -m launchers.optimize --config=experiments/generate.py \\
    --config.prompt='a portrait of a happy man with green skin and a red hat' \\
    --workdir=runs/green

The same command resumes a run; --resume_with_changes=FIELD,... lets it go on
with another configuration. Everything that can be wrong with it is checked
before anything slow begins, and nothing is written before that.
"""

from collections.abc import Sequence

from absl import flags

from launchers import config_flag
from launchers import terminal
from mmdist.api import executors
from mmdist.api import optimization
from mmdist.config import serialization

_CONFIG = config_flag.define_config()
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run; a new one is made.', required=True
)
_EXECUTOR = flags.DEFINE_enum(
  'executor',
  'ray',
  ['inline', 'ray'],
  'Where the priors run: in this process, or in one Ray actor each.',
)
_RAY_ADDRESS = flags.DEFINE_string(
  'ray_address', None, 'A running Ray cluster; else Ray starts here.'
)
_RAY_DASHBOARD = flags.DEFINE_bool(
  'ray_dashboard',
  False,
  "Whether a Ray that starts here serves its dashboard, to this machine's "
  "browsers only; needs pip install 'ray[default]'.",
)
_GRACE_S = flags.DEFINE_float(
  'grace_s',
  60.0,
  'After SIGTERM or Ctrl-C, how long the running step may take.',
  0.1,
)
_RESUME_WITH_CHANGES = flags.DEFINE_list(
  'resume_with_changes',
  [],
  'Fields that may differ from those that a run began with, such as '
  "num_steps,learner; 'weights' for the files of the priors.",
)


def main(_: Sequence[str]) -> None:
  config = config_flag.load(_CONFIG)
  print(serialization.format_config(config))
  executor = _EXECUTOR.value
  if executor == 'ray':
    executor = executors.RayOptions(_RAY_ADDRESS.value, _RAY_DASHBOARD.value)
  run = optimization.optimize(
    None,
    _WORKDIR.value,
    config=config,
    executor=executor,
    may_change=tuple(_RESUME_WITH_CHANGES.value),
    grace_s=_GRACE_S.value,
  )
  if run.is_finished:
    for name, path in run.results.items():
      print(f'{name:10} {path}')


if __name__ == '__main__':
  terminal.run(main)
