"""Serves a run's avatar to browsers, also while it is being made.

What is drawn for whom is `mmdist.results.viewer`'s affair. The server is
viser's, which is an extra and is imported only here.
"""

from collections.abc import Callable
import errno
import os
import socket
from typing import Any

from mmdist.core import errors
from mmdist.results import remake
from mmdist.results import viewer
from mmdist.run import opening

# Of the longer side, once the mouse rests; if no other number is given.
_MOST_PIXELS = 2048


class FollowedRun:
  """The avatar of a run at its start and at each of its checkpoints.

  A `viewer.Source`. A run that goes on gains checkpoints, and loses old ones.
  """

  def __init__(self, workdir: str | os.PathLike):
    self._workdir = workdir
    # One representation for all steps, so that it is compiled once.
    first = opening.open_run(workdir)
    self._representation = first.representation
    self._start: viewer.Shown | None = None
    try:
      self._start = self._shown(opening.start_params(first), 0)
    except (FileNotFoundError, errors.UserError):
      pass  # Its weights are gone, or came from a program.
    self._newest = self._shown(first.params, first.step)

  def steps(self) -> list[int]:
    """Returns the steps there are to show, in order."""
    # The newest one stays when it is gone from the disk.
    steps = {*opening.steps(self._workdir), self._newest.step}
    return sorted(steps | ({0} if self._start else set()))

  def load(self, step: int) -> viewer.Shown | None:
    """Returns the avatar at a step of `steps`; None if it is gone by now."""
    if step == 0 and self._start:
      return self._start
    if step == self._newest.step:
      return self._newest
    try:
      avatar = opening.open_run(self._workdir, self._representation, step)
    except FileNotFoundError:
      return None
    shown = self._shown(avatar.params, avatar.step)
    if step > self._newest.step:
      self._newest = shown
    return shown

  def _shown(self, params: Any, step: int) -> viewer.Shown:
    return viewer.Shown(self._representation, params, step)


def serve(
  workdir: str | os.PathLike,
  options: remake.Options,
  report: Callable[[str], None] = lambda line: None,
) -> None:
  """Serves an avatar until the process is interrupted.

  Args:
    workdir: a run's folder.
    options: host, port and resolution, the most pixels of a picture's longer
      side. If the port is taken, viser takes the next one that is free.
    report: is told the address.

  Raises:
    UserError: viser is not installed, or this process may not listen there.
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

  _check_address(options.host, options.port)
  run = FollowedRun(workdir)
  server = viser.ViserServer(
    options.host, options.port, label='mmdist', verbose=False
  )
  address = f'http://{options.host}:{server.get_port()}'
  report(f'{address} shows {workdir}; Ctrl-C ends it.')
  try:
    most_pixels = options.resolution or _MOST_PIXELS
    viewer.Viewer(server, run, most_pixels).run_forever()
  finally:
    server.stop()


def _check_address(host: str, port: int) -> None:
  """Raises UserError unless this process may listen there.

  viser itself tries the ports one after the other, whatever the error is, and
  then serves nobody without a word. A port that is taken is left to it.
  """
  try:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, _, _, place = found[0]
    with socket.socket(family, kind) as probe:
      probe.bind(place)
  except OSError as error:
    if error.errno != errno.EADDRINUSE:
      raise errors.UserError(
        f'--host={host} --port={port}: nobody can listen there '
        f'({error.strerror or error}); expected 127.0.0.1, 0.0.0.0 or an '
        'address of this machine, and a port above 1023.'
      ) from error
