"""`mmdist.sweep`: many runs at once, over one machine or a cluster."""

import base64
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
import os
import pathlib
import tempfile

from mmdist.core import asset_paths
from mmdist.core import cores
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import names
from mmdist.core import saying
from mmdist.distribution import cluster_head
from mmdist.distribution import gpu_plan
from mmdist.evaluation import judge as judge_lib
from mmdist.evaluation import judged_world
from mmdist.run import memory_estimate
from mmdist.sweeps import cells as cells_lib
from mmdist.sweeps import folder
from mmdist.sweeps import plan_lines
from mmdist.sweeps import planning
from mmdist.sweeps import scheduling
from mmdist.sweeps import sweep_results
from mmdist.sweeps import sweep_run


@dataclasses.dataclass(frozen=True)
class Sweep:
  """What a sweep made.

  Attributes:
    workdir: its folder.
    grid: its cells.
    rows: of its table, one for each cell, in the order of the grid.
    results: name -> file, with the names 'sheet', 'csv', 'json' and 'page', and
      'claims' where something is claimed about the cells.
    failed: names of the cells that failed for good, with one line each.
  """

  workdir: pathlib.Path
  grid: cells_lib.Grid
  rows: Sequence[dict]
  results: dict[str, pathlib.Path]
  failed: dict[str, str]

  def _repr_html_(self) -> str:
    """Returns the contact sheet, for a notebook."""
    data = base64.b64encode(self.results['sheet'].read_bytes()).decode()
    return f'<img alt="contact sheet" src="data:image/png;base64,{data}">'


def sweep(
  grid: cells_lib.Grid | Sequence[cells_lib.Cell],
  workdir: str | os.PathLike,
  *,
  executor: str = 'ray',
  address: str | None = None,
  ship_code: bool = True,
  cores_per_cell: int = 0,
  gpus_per_cell: float = 0.0,
  max_running: int = 0,
  max_attempts: int = 3,
  grace_s: float = 60.0,
  judge: str = 'judge',
  dry_run: bool = False,
  preflight_only: bool = False,
  only: Sequence[str] | None = None,
  report: Callable[[str], None] = saying.say,
) -> Sweep | None:
  """Makes the runs of a grid that are not made yet, and then its results.

  Called again with the same grid it does what is missing. The grid may have
  more cells than before. A cell that fails never stops the others.

  Args:
    grid: what `mmdist.grid` returns, or cells.
    workdir: folder of the sweep; `cells/NAME` in it are runs like any other.
    executor: 'ray' has one actor for each frozen model, which the learners of
      all cells use; 'inline' has the priors of each cell in its own process.
    address: of a running Ray cluster; None starts Ray on this machine.
    ship_code: whether its workers get the mmdist of this process; else each
      needs the same one, which is checked.
    cores_per_cell: cores of each cell, which decide its last bits; 0 takes as
      many as this machine has.
    gpus_per_cell: of each cell's learner, a number or a share of one; 0 shares
      those of its machine.
    max_running: cells at a time; 0: as many as there is room for.
    max_attempts: of one cell.
    grace_s: how long cells may take to save after SIGTERM or Ctrl-C.
    judge: a judge, or its folder.
    dry_run: say what would be done, and do nothing.
    preflight_only: besides, take one real step of the first cell to run, and
      keep nothing of it.
    only: names of cells; the others wait for another time, and so may what
      they load.
    report: called with each line about the plan, progress and ended cells.

  Returns:
    What there is now, also if it was stopped; None after a dry run or a
    preflight.

  Raises:
    UserError, OSError: the grid, the judge or the folder is wrong, in one line;
      nothing was begun.
    ClusterUnavailable: Ray cannot be had.
  """
  names.check_choice('executor', executor, ('ray', 'inline'))
  for name, value, least in (
    ('cores_per_cell', cores_per_cell, 0),
    ('gpus_per_cell', gpus_per_cell, 0.0),
    ('max_running', max_running, 0),
    ('max_attempts', max_attempts, 1),
    ('grace_s', grace_s, 0.0),
  ):
    if not least <= value < math.inf:  # NaN is in no range.
      raise errors.UserError(f'{name} is {value}; expected at least {least}.')
  if not isinstance(grid, cells_lib.Grid):
    grid = cells_lib.Grid((), cells_lib.check_cells(grid))
  workdir = local_paths.local(workdir)
  if not dry_run and not folder.is_done(workdir, grid.cells):
    cluster_head.check_first(address)
  # It looks after hours: a mistake is said now.
  looks = judge_lib.load(asset_paths.resolve(judge))
  for cell in grid.cells:
    judged_world.check(cell.config, looks)
  num_cores = cores_per_cell or cores.count()
  plan = planning.make_plan(grid, workdir, num_cores, only)
  num_slots = max_running or max(cores.count() // num_cores, 1)
  if address:
    num_slots = max_running or len(plan.to_run)
  # How many a cluster has room for is known when they start.
  shown = None if address and not max_running else num_slots
  for line in plan_lines.format_plan(
    plan, shown, f'{num_cores} cores', workdir
  ):
    report(line)
  memory: memory_estimate.MemoryEstimate | None = None
  if plan.to_run:
    learner = planning.estimate_learner(plan, num_cores)
    memory, copies = planning.estimate_memory(plan, num_slots, executor)
    memory = memory.with_learner(learner, num_slots)
    report(memory.lines()[0])
    if not address:
      memory.check(gpu_plan.GpuPlan(gpu_plan.visible()), copies)
  if dry_run:
    for line in plan_lines.format_cells(plan):
      report(line)
    return None
  settings = sweep_run.Settings(
    executor,
    address,
    num_cores,
    num_slots,
    num_gpus=gpus_per_cell,
    max_attempts=max_attempts,
    grace_s=grace_s,
    ship_code=ship_code,
    memory=memory,
  )
  if preflight_only:
    _take_one_step(plan, settings, report)
    return None
  with folder.claimed(workdir, grid):
    ended: Mapping[str, scheduling.Ended] = {}
    if plan.to_run:
      ended = sweep_run.run(
        plan,
        workdir,
        settings,
        report,
        begin=lambda: folder.record(workdir, grid),
      )
    else:
      folder.record(workdir, grid)
    report('looking at what there is')
    results = sweep_results.make(workdir, grid, ended, judge, report)
  rows = sweep_results.read_rows(workdir)
  failed = {n: e.error for n, e in ended.items() if e.kind == 'failed'}
  return Sweep(workdir, grid, rows, results, failed)


def _take_one_step(
  plan: planning.Plan,
  settings: sweep_run.Settings,
  report: Callable[[str], None],
) -> None:
  """Takes one real step of the first cell, where and as it will be run.

  Raises:
    UserError: it failed; its log is reported before.
  """
  if not plan.to_run:
    return
  first = plan.to_run[0]
  with tempfile.TemporaryDirectory(prefix='mmdist-preflight-') as workdir:
    ended = sweep_run.run(
      plan.of([first.name]),
      workdir,
      dataclasses.replace(settings, preflight_only=True, max_attempts=1),
      lambda line: None,
    )[first.name]
    log = folder.log_path(workdir, first)
    for line in log.read_text('utf-8').splitlines() if log.is_file() else ():
      report(line)
  if ended.kind == 'failed':
    raise errors.UserError(
      f"one step of cell '{first.name}' failed: {ended.error}"
    )


def check_complete(made: Sweep) -> None:
  """Raises UserError that names the cells that failed, if any did."""
  if not made.failed:
    return
  name, first = next(iter(made.failed.items()))
  raise errors.UserError(
    f'{len(made.failed)} of {len(made.grid.cells)} cells failed: '
    f"{', '.join(made.failed)}; '{name}': {first}; what they said is in "
    f'{made.workdir}/{folder.CELLS_NAME}/NAME.log. The same command goes on.'
  )
