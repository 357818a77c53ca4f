"""Makes a run's pictures or its mesh again, from its newest checkpoint.

  python -m launchers.view turntable|sheet|mesh|all RUN [--resolution=N]
    [--quality]
  python -m launchers.view live RUN [--port=8080]

`all` makes the report too. `live` serves a page on which the avatar can be
turned. The run may still be going on; `live` then follows it.
"""

from collections.abc import Callable, Sequence
import copy
import pathlib

from absl import flags

from launchers import terminal
from mmdist.core import names
from mmdist.nerf import field
from mmdist.results import make
from mmdist.results import viewer
from mmdist.run import opening
from mmdist.run import reporting
from mmdist.run import workdir as workdir_lib

USAGE = 'python -m launchers.view turntable|sheet|mesh|all|live RUN'
LIVE = 'live'
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
_QUALITY = flags.DEFINE_bool(
  'quality',
  False,
  'Four times the samples along each ray, by a second proposal pass; pictures '
  'take about four times as long.',
)
_PORT = flags.DEFINE_integer('port', 8080, 'Of `live`.', 1, 65535)
_HOST = flags.DEFINE_string(
  'host', '127.0.0.1', 'Of `live`; 0.0.0.0 lets other machines look.'
)


def view(
  what: str,
  workdir: str,
  resolution: int | None = None,
  quality: bool = False,
) -> dict[str, pathlib.Path]:
  """Makes one kind of result; returns name -> file.

  Args:
    what: a key of `MAKERS`.
    workdir: a run's folder.
    resolution: in place of the run's own.
    quality: whether to render with more samples than the run.

  Raises:
    ValueError: `what` is unknown, there is no surface to mesh, or a link in
      the folder leads out of it.
    FileNotFoundError: there is no such run, or no checkpoint yet.
  """
  if what not in MAKERS:
    known = (*MAKERS, LIVE)
    raise ValueError(names.unknown('result', what, known, 'Results'))
  avatar = opening.open_run(workdir)
  workdir_lib.check_links(workdir)
  run = copy.deepcopy(avatar.run)
  if resolution:
    run.results.resolution = run.results.mesh_resolution = resolution
  representation = avatar.representation
  if quality:
    representation = field.conditional_nerf(field.quality(run.nerf))
  return dict(MAKERS[what](avatar.workdir, representation, avatar.params, run))


def follow(workdir: str) -> Callable[[], viewer.Shown]:
  """Opens a run; returns the function that gives its newest avatar."""
  first = opening.open_run(workdir)
  # One representation for all steps, so that it is compiled once.
  shown = viewer.Shown(first.representation, first.params, first.step)

  def load():
    nonlocal shown
    if opening.newest_step(workdir) > shown.step:
      avatar = opening.open_run(workdir)
      shown = viewer.Shown(first.representation, avatar.params, avatar.step)
    return shown

  return load


def serve(workdir: str, host: str, port: int, resolution: int) -> None:
  """Serves an avatar to browsers until the process is interrupted.

  Raises:
    ValueError: viser is not installed, or nobody may listen there.
    FileNotFoundError: there is no such run, or no checkpoint yet.
  """
  try:
    import viser
  except ImportError as error:
    raise ValueError(
      "live pictures need viser; install it with pip install 'mmdist[viewer]'."
    ) from error

  load = follow(workdir)
  server = viser.ViserServer(host, port, label='mmdist', verbose=False)
  print(f'http://{host}:{server.get_port()} shows {workdir}; Ctrl-C ends it.')
  try:
    viewer.Viewer(server, load, resolution).run_forever()
  finally:
    server.stop()


def main(argv: Sequence[str]) -> None:
  """Prints where the results are."""
  if len(argv) != 3:
    raise ValueError(f'expected what to make and of which run: {USAGE}')
  _, what, workdir = argv
  if what == LIVE:
    serve(workdir, _HOST.value, _PORT.value, _RESOLUTION.value or 128)
    return
  for name, path in view(
    what, workdir, _RESOLUTION.value, _QUALITY.value
  ).items():
    print(f'{name:10} {path}')


if __name__ == '__main__':
  terminal.run(main)
