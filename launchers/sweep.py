"""Runs a study: many runs, side by side, and one table of what they became.

  mmdist sweep --study=held_out --out=runs/held_out

Each run is `mmdist optimize` in a process of its own, on its share of the
cores, with the priors inline. What is finished is not run again, and what was
interrupted is resumed, so the same command goes on. What follows `--` is given
to every run:

  mmdist sweep --study=mixes --out=runs/m -- --config.num_steps=50

`OUT/NAME` is a run's folder, `OUT/NAME.log` what it printed; `OUT/table.json`
and `OUT/table.txt` are what `mmdist evaluate` says of all of them.
"""

from collections.abc import Sequence

from mmdist.sweeps import study_runs

from . import terminal


def main(options: study_runs.Options, flags: Sequence[str]) -> None:
  """Makes the runs of a study that are not made yet, then the table."""
  # In a checkout launchers.optimize, in a wheel mmdist.launchers.optimize.
  module = f'{__package__}.optimize'
  study_runs.run_study(options, module, flags, terminal.say)


COMMAND = terminal.Command(main, study_runs.Options, words='-- FLAG ...')

if __name__ == '__main__':
  COMMAND.run()
