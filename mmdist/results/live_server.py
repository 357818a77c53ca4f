"""Serves a run's avatar to browsers, also while it is being made.

What is drawn for whom is `mmdist.results.viewer`'s affair. The server is
viser's, which is an extra and is imported only here.
"""

from collections.abc import Callable
import os

from mmdist.core import errors
from mmdist.results import remake
from mmdist.results import viewer
from mmdist.run import opening

_RESOLUTION = 512  # If none is given; of the longer side, once it rests.


def follow(workdir: str | os.PathLike) -> Callable[[], viewer.Shown]:
  """Opens a run; returns the function that gives its newest avatar."""
  first = opening.open_run(workdir)
  # One representation for all steps, so that it is compiled once.
  shown = viewer.Shown(first.representation, first.params, first.step)

  def load() -> viewer.Shown:
    nonlocal shown
    if opening.newest_step(workdir) > shown.step:
      avatar = opening.open_run(workdir)
      shown = viewer.Shown(first.representation, avatar.params, avatar.step)
    return shown

  return load


def serve(
  workdir: str | os.PathLike,
  options: remake.Options,
  report: Callable[[str], None] = lambda line: None,
) -> None:
  """Serves an avatar until the process is interrupted.

  Args:
    workdir: a run's folder.
    options: host, port and resolution.
    report: is told the address.

  Raises:
    UserError: viser is not installed, or nobody may listen there.
    FileNotFoundError: there is no such run, or no checkpoint yet.
  """
  try:
    import viser
  except ImportError as error:
    raise errors.UserError(
      'live pictures need the package viser, which is the extra [viewer] of '
      'mmdist: pip install viser, or install mmdist again with [viewer] '
      'behind the path of its wheel or checkout.'
    ) from error

  load = follow(workdir)
  server = viser.ViserServer(
    options.host, options.port, label='mmdist', verbose=False
  )
  address = f'http://{options.host}:{server.get_port()}'
  report(f'{address} shows {workdir}; Ctrl-C ends it.')
  try:
    resolution = options.resolution or _RESOLUTION
    viewer.Viewer(server, load, resolution).run_forever()
  finally:
    server.stop()
