"""Makes a run's pictures, mesh or splats from its newest checkpoint.

  mmdist view turntable|sheet|mesh|all RUN [--resolution=N] [--quality]
  mmdist view splats RUN [--num_splats=N]
  mmdist view live RUN [--port=8080]

`all` makes the report too, but no splats. Those are made only by their own
name: the avatar as Gaussians, in a `.ply` that viewers of 3D Gaussian splatting
read. `live` serves a page on which the avatar can be turned. The run may still
be going on; `live` then follows it.
"""

from collections.abc import Sequence

from mmdist.api import judged
from mmdist.core import errors
from mmdist.results import live_server
from mmdist.results import remake

from . import terminal

USAGE = 'turntable|sheet|mesh|splats|all|live RUN'


def main(options: remake.Options, words: Sequence[str]) -> None:
  """Prints where the results are."""
  if len(words) != 2:
    raise errors.UserError(
      f'expected what to make and of which run: mmdist view {USAGE}'
    )
  kind, workdir = words
  remake.check_kind(kind)
  if kind == remake.LIVE:
    live_server.serve(workdir, options, terminal.say)
    return
  made = remake.remake(kind, workdir, options, judged.judge)
  for name, path in made.items():
    print(f'{name:10} {path}')


COMMAND = terminal.Command(main, remake.Options, words=USAGE)

if __name__ == '__main__':
  COMMAND.run()
