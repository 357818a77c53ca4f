"""Makes a run's pictures or its mesh again, from its newest checkpoint.

  python -m launchers.view turntable|sheet|mesh|all RUN [--resolution=N]

`all` makes the report too. The run may still be going on.
"""

from collections.abc import Sequence
import copy
import pathlib

from absl import flags

from launchers import finished_run
from launchers import terminal
from mmdist import reporting
from mmdist.core import names
from mmdist.results import make

USAGE = 'python -m launchers.view turntable|sheet|mesh|all RUN'
MAKERS = {
  'turntable': make.make_turntable,
  'sheet': make.make_sheet,
  'mesh': make.make_mesh,
  'all': lambda workdir, *avatar: make.make_all(
    workdir, *avatar, workdir / reporting.METRICS_NAME
  ),
}

_RESOLUTION = flags.DEFINE_integer(
  'resolution',
  None,
  "Pixels of a picture's side, or grid points of the mesh's, in place of the "
  "run's results.resolution and results.mesh_resolution.",
  lower_bound=8,
)


def view(
  what: str, workdir: str, resolution: int | None = None
) -> dict[str, pathlib.Path]:
  """Makes one kind of result; returns name -> file.

  Args:
    what: a key of `MAKERS`.
    workdir: a run's folder.
    resolution: in place of the run's own.

  Raises:
    ValueError: `what` is unknown, or there is no surface to mesh.
    FileNotFoundError: there is no such run, or no checkpoint yet.
  """
  if what not in MAKERS:
    raise ValueError(names.unknown('result', what, MAKERS, 'Results'))
  avatar = finished_run.open_run(workdir)
  run = copy.deepcopy(avatar.run)
  if resolution:
    run.results.resolution = run.results.mesh_resolution = resolution
  return dict(
    MAKERS[what](avatar.workdir, avatar.representation, avatar.params, run)
  )


def main(argv: Sequence[str]) -> None:
  """Prints where the results are."""
  if len(argv) != 3:
    raise ValueError(f'expected what to make and of which run: {USAGE}')
  _, what, workdir = argv
  for name, path in view(what, workdir, _RESOLUTION.value).items():
    print(f'{name:10} {path}')


if __name__ == '__main__':
  terminal.run(main)
