"""Runs a study: many runs, side by side, and one table of what they became.

  python -m launchers.sweep --study=held_out --out=runs/held_out

Each run is `launchers.optimize` in a process of its own, on its share of the
cores, with the priors inline. What is finished is not run again, and what was
interrupted is resumed, so the same command goes on. What follows `--` is given
to every run:

  python -m launchers.sweep --study=mixes --out=runs/m -- --config.num_steps=50

`OUT/NAME` is a run's folder, `OUT/NAME.log` what it printed; `OUT/table.json`
and `OUT/table.txt` are what `launchers.evaluate` says of all of them.
"""

from collections.abc import Callable, Sequence
import concurrent.futures
import json
import os
import pathlib
import queue
import subprocess
import sys

from absl import flags

from experiments import studies
from launchers import terminal
from mmdist.core import asset_paths


def define_flags() -> None:
  """Defines the flags, here so that launchers can be imported together."""
  flags.DEFINE_string('study', None, 'One of experiments/studies.py.')
  flags.DEFINE_string('out', None, 'Folder of the study.')
  flags.DEFINE_integer('workers', 0, 'Runs at a time; 0: one per core.', 0)
  flags.DEFINE_integer('first', 0, 'The first run to make.', 0)
  flags.DEFINE_integer('last', None, 'The run to stop before.', 1)
  flags.DEFINE_string('judge', 'judge', 'A judge, or its folder.')


def command_of(
  run: studies.StudyRun, out: pathlib.Path, extra: Sequence[str] = ()
) -> list[str]:
  """Returns the command line that makes a run."""
  return [
    sys.executable,
    '-m',
    'launchers.optimize',
    f'--config={run.experiment}',
    *(f'--config.{name}={value}' for name, value in run.overrides.items()),
    '--executor=inline',
    f'--workdir={out / run.name}',
    *extra,
  ]


def share_cores(cores: Sequence[int], num_workers: int) -> list[set[int]]:
  """Deals cores to workers; more workers than cores share them."""
  shares = [set(cores[k::num_workers]) for k in range(num_workers)]
  return [share or {cores[k % len(cores)]} for k, share in enumerate(shares)]


def make_runs(
  runs: Sequence[studies.StudyRun],
  out: pathlib.Path,
  num_workers: int,
  extra: Sequence[str] = (),
  report: Callable[[str], None] = print,
) -> list[str]:
  """Makes runs, some at a time; returns the names of those that failed.

  A run that fails does not stop the others.
  """
  shares: queue.SimpleQueue[set[int]] = queue.SimpleQueue()
  for share in share_cores(sorted(os.sched_getaffinity(0)), num_workers):
    shares.put(share)
  out.mkdir(parents=True, exist_ok=True)

  def make(run):
    cores = shares.get()
    os.sched_setaffinity(0, cores)  # Of this thread; its children inherit it.
    try:
      with open(out / f'{run.name}.log', 'a') as log:
        code = subprocess.call(
          command_of(run, out, extra), stdout=log, stderr=subprocess.STDOUT
        )
    finally:
      shares.put(cores)
    report(f'{run.name}: {"done" if code == 0 else f"exit code {code}"}')
    return code

  with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
    codes = list(pool.map(make, runs))
  return [run.name for run, code in zip(runs, codes, strict=True) if code]


def write_table(
  runs: Sequence[studies.StudyRun], out: pathlib.Path, judge_name: str
) -> str:
  """Evaluates the runs, writes the table and returns it as text."""
  from launchers import evaluate
  from mmdist.evaluation import judge as judge_lib

  judge = judge_lib.load(asset_paths.resolve(judge_name))
  rows = [evaluate.evaluate_run(str(out / run.name), judge) for run in runs]
  table = evaluate.format_table(rows)
  (out / 'table.json').write_text(json.dumps(rows, indent=2) + '\n')
  (out / 'table.txt').write_text(table + '\n')
  return table


def main(argv: Sequence[str]) -> None:
  """Makes the runs of a study that are not made yet, then the table."""
  values = flags.FLAGS
  if not values.study or not values.out:
    raise ValueError(
      'expected a study and a folder: python -m launchers.sweep '
      '--study=held_out --out=runs/held_out'
    )
  runs = studies.get_study(values.study)[values.first : values.last]
  if not runs:
    raise ValueError(
      f'--first={values.first} --last={values.last} leaves no run of '
      f'{values.study!r}, which has {len(studies.get_study(values.study))}.'
    )
  asset_paths.resolve(values.judge)  # Hours before it is needed.
  out = pathlib.Path(values.out)
  num_workers = values.workers or len(os.sched_getaffinity(0))
  failed = make_runs(runs, out, num_workers, argv[1:])
  made = [run for run in runs if run.name not in failed]
  if made:
    print(write_table(made, out, values.judge))
  if failed:
    raise ValueError(
      f'{len(failed)} of {len(runs)} runs failed: {", ".join(failed)}; what '
      f'they said is in {out}/NAME.log. The same command goes on.'
    )


if __name__ == '__main__':
  define_flags()
  terminal.run(main)
