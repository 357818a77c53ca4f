"""Runs many avatars: a grid of weights or settings, over one machine or many.

  mmdist sweep --config=mix:happy_sad --grid='happy=0,0.5,1' \\
    --grid='sad=0,0.5,1' --seeds=0,1 --workdir=runs/grid
  mmdist sweep --config=generate --grid='learner.learning_rate=1e-3,3e-3' \\
    --workdir=runs/rates
  mmdist sweep --config=mix --cells=cells.yaml --workdir=runs/own
  mmdist sweep --study=held_out --workdir=runs/held_out

An axis is the name of a concept, whose weight is meant, or any field of the
configuration. The same command does what is missing; with more values it adds
cells. --dry_run says what would be done. `WORKDIR/cells/NAME` is a run's
folder, `WORKDIR/index.html` shows all of them.
"""

from mmdist.config import schema
from mmdist.sweeps import sweep_command

from . import config_flag
from . import terminal


def main(config: schema.RunConfig, options: sweep_command.Options) -> None:
  made = sweep_command.run(config, options, terminal.say)
  if made is not None:
    # Here, because what computes takes seconds to import.
    from mmdist.sweeps import sweeping

    for name, path in made.results.items():
      print(f'{name:10} {path}')
    sweeping.check_complete(made)


COMMAND = terminal.Command(
  main, sweep_command.Options, config=config_flag.Config()
)

if __name__ == '__main__':
  COMMAND.run()
