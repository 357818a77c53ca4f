"""Makes a run's pictures, mesh or splats, or a film of a search space.

  mmdist view turntable|sheet|mesh|all RUN [--resolution=N] [--quality]
  mmdist view splats RUN [--num_splats=N]
  mmdist view live RUN [--port=8080]
  mmdist view codes NERF --out=FOLDER [--num_subjects=6] [--frames=16]

A run is shown at its newest checkpoint. `all` makes the report too, but no
splats. Those are made only by their own name: the avatar as Gaussians, in a
`.ply` that viewers of 3D Gaussian splatting read. `live` serves a page on which
the avatar can be turned. The run may still be going on; `live` then follows it.

`codes` shows the search space instead, a pretrained conditional NeRF: an
embedded name such as `nerf` or `people_nerf`, or a folder that `mmdist
pretrain` wrote. Its latent code glides from one training subject to the next,
and from the last to the first; `--seed` draws them. `codes.mp4` and
`codes.webp` show the loop, colour left of normals, while the camera sways by 20
degrees to either side. `codes.png` has a row for each pair of neighbours: seven
pictures in even steps from one to the other.
"""

from collections.abc import Sequence

from mmdist.api import judged
from mmdist.core import errors
from mmdist.results import codes_film
from mmdist.results import live_server
from mmdist.results import remake

from . import terminal

USAGE = 'turntable|sheet|mesh|splats|all|live RUN, or codes NERF'


def main(options: remake.Options, words: Sequence[str]) -> None:
  """Prints where the results are."""
  if len(words) != 2:
    raise errors.UserError(
      f'expected what to make and of which run: mmdist view {USAGE}'
    )
  kind, source = words
  remake.check_kind(kind)
  if options.out and kind != remake.CODES:
    raise errors.UserError(
      f'--out={options.out} is for codes alone; the results of a run are made '
      'in its folder.'
    )
  if kind == remake.LIVE:
    live_server.serve(source, options, terminal.say)
    return
  if kind == remake.CODES:
    made = codes_film.make(source, options)
  else:
    made = remake.remake(kind, source, options, judged.judge)
  for name, path in made.items():
    print(f'{name:10} {path}')


COMMAND = terminal.Command(main, remake.Options, words=USAGE)

if __name__ == '__main__':
  COMMAND.run()
