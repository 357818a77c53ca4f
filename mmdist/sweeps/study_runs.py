"""The runs of a study, each in a process of its own, and one table of them.

What is finished is not run again, and what was interrupted is resumed.
"""

from collections.abc import Callable, Mapping, Sequence
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys

from mmdist.config import experiments
from mmdist.core import asset_paths
from mmdist.core import errors
from mmdist.core import names
from mmdist.core import options as options_lib


@dataclasses.dataclass(frozen=True)
class Options:
  """Which study is made where, and how much of it at a time."""

  study: str = options_lib.option(
    options_lib.REQUIRED, 'One of experiments/studies.py.'
  )
  out: str = options_lib.option(
    options_lib.REQUIRED, 'Folder of the study.', is_path=True
  )
  workers: int = options_lib.option(
    0, 'Runs at a time; 0: one per core.', minimum=0
  )
  first: int = options_lib.option(0, 'The first run to make.', minimum=0)
  last: int | None = options_lib.option(
    None, 'The run to stop before.', minimum=1
  )
  judge: str = options_lib.option(
    'judge', 'A judge, or its folder.', is_path=True
  )


@dataclasses.dataclass(frozen=True)
class StudyRun:
  """One run of a study.

  Attributes:
    name: of its folder.
    experiment: as --config takes it.
    overrides: field of the configuration -> value.
  """

  name: str
  experiment: str = 'generate'
  overrides: Mapping[str, object] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    names.check_file_name('a run of a study', self.name)


def run_study(
  options: Options,
  module: str,
  extra: Sequence[str] = (),
  report: Callable[[str], None] = lambda line: None,
) -> None:
  """Makes the runs of a study that are not made yet, then their table.

  Args:
    options: see `Options`.
    module: the launcher that makes one run, as `python -m` takes it.
    extra: further flags for every run.
    report: is told how each run ended, and the table.

  Raises:
    UserError: the study is unknown, no run is left to make, or some failed;
      the table of the others is written and reported first.
  """
  options_lib.check(options)
  study = experiments.load_module('studies')['get_study'](options.study)
  runs = study[options.first : options.last]
  if not runs:
    raise errors.UserError(
      f'--first={options.first} --last={options.last} leaves no run of '
      f'{options.study!r}, which has {len(study)}.'
    )
  # Checked now, because it is needed only after hours of runs.
  asset_paths.resolve(options.judge)
  out = pathlib.Path(options.out)
  num_workers = options.workers or len(os.sched_getaffinity(0))
  failed = make_runs(runs, out, num_workers, module, extra, report)
  made = [run for run in runs if run.name not in failed]
  if made:
    report(write_table(made, out, options.judge))
  if failed:
    raise errors.UserError(
      f'{len(failed)} of {len(runs)} runs failed: {", ".join(failed)}; what '
      f'they said is in {out}/NAME.log. The same command goes on.'
    )


def command_of(
  run: StudyRun, out: pathlib.Path, module: str, extra: Sequence[str] = ()
) -> list[str]:
  """Returns the command line that makes a run.

  Args:
    run: of a study.
    out: folder of the study.
    module: the launcher that makes one run.
    extra: further flags.
  """
  return [
    sys.executable,
    '-m',
    module,
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
  runs: Sequence[StudyRun],
  out: pathlib.Path,
  num_workers: int,
  module: str,
  extra: Sequence[str],
  report: Callable[[str], None],
) -> list[str]:
  """Makes runs, some at a time; returns the names of those that failed.

  A run that fails does not stop the others.

  Args:
    runs: of a study.
    out: folder of the study; made if it is not there.
    num_workers: runs at a time, each on its share of the cores.
    module, extra: see `command_of`.
    report: is told how each run ended.
  """
  shares: queue.SimpleQueue[set[int]] = queue.SimpleQueue()
  for share in share_cores(sorted(os.sched_getaffinity(0)), num_workers):
    shares.put(share)
  out.mkdir(parents=True, exist_ok=True)

  def make(run: StudyRun) -> int:
    cores = shares.get()
    os.sched_setaffinity(0, cores)  # Of this thread; its children inherit it.
    try:
      with open(out / f'{run.name}.log', 'a') as log:
        code = subprocess.call(
          command_of(run, out, module, extra),
          stdout=log,
          stderr=subprocess.STDOUT,
        )
    finally:
      shares.put(cores)
    report(f'{run.name}: {"done" if code == 0 else f"exit code {code}"}')
    return code

  with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
    codes = list(pool.map(make, runs))
  return [run.name for run, code in zip(runs, codes, strict=True) if code]


def write_table(
  runs: Sequence[StudyRun], out: pathlib.Path, judge_name: str
) -> str:
  """Evaluates the runs, writes the table and returns it as text."""
  # Here, because they import JAX and torch, which the runs do for themselves.
  from mmdist.evaluation import evaluation_table
  from mmdist.evaluation import run_evaluation

  rows = run_evaluation.evaluate(
    [str(out / run.name) for run in runs],
    run_evaluation.Options(judge=judge_name),
  )
  table = evaluation_table.format_table(rows)
  (out / 'table.json').write_text(json.dumps(rows, indent=2) + '\n')
  (out / 'table.txt').write_text(table + '\n')
  return table
