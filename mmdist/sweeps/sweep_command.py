"""A sweep as a command line asks for it."""

from collections.abc import Callable
import dataclasses
from typing import TYPE_CHECKING

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import options as options_lib
from mmdist.core import saying
from mmdist.distribution import cluster_head
from mmdist.sweeps import cell_sources
from mmdist.sweeps import cells as cells_lib
from mmdist.sweeps import folder

if TYPE_CHECKING:  # Not at run time, because what computes takes seconds.
  from mmdist.sweeps import sweeping


@dataclasses.dataclass(frozen=True)
class Options:
  """Which cells are made where, and how many at a time."""

  workdir: str = options_lib.option(
    options_lib.REQUIRED, 'Folder of the sweep.', is_path=True
  )
  grid: tuple[str, ...] = options_lib.option(
    (), 'An axis, FIELD=VALUE,VALUE,...; may be repeated.', repeated=True
  )
  seeds: tuple[str, ...] = options_lib.option(
    (), 'Seeds, as one more axis of the grid.'
  )
  cells: str = options_lib.option(
    '',
    'A file that lists cells, YAML or Python, in place of a grid.',
    is_path=True,
  )
  study: str = options_lib.option(
    '', 'One of experiments/studies.py, in place of a grid.'
  )
  set: tuple[str, ...] = options_lib.option(
    (), 'FIELD=VALUE in every cell; may be repeated.', repeated=True
  )
  first: int = options_lib.option(
    0, 'Number of the first cell to make.', minimum=0
  )
  last: int | None = options_lib.option(
    None, 'Number of the cell to stop before.', minimum=1
  )
  executor: str = options_lib.option(
    'ray',
    'Where the priors run: in actors that the cells share, or in the process '
    'of each cell.',
    choices=('inline', 'ray'),
  )
  ray_address: str | None = options_lib.option(
    None, 'A running Ray cluster; else Ray starts here.'
  )
  ship_code: bool = options_lib.option(
    True,
    'Whether the workers of a cluster get the mmdist of this machine; else '
    'each needs the same one, which is checked.',
  )
  cores_per_cell: int = options_lib.option(
    0,
    'Cores of a cell, which decide its last bits; 0: all of a machine.',
    minimum=0,
  )
  gpus_per_cell: float = options_lib.option(
    0.0,
    "GPUs of a cell's learner, or a share of one; 0 shares those there are.",
    minimum=0.0,
  )
  max_running: int = options_lib.option(
    0, 'Cells at a time; 0: as many as have room.', minimum=0
  )
  max_attempts: int = options_lib.option(
    3, 'How often a cell that fails is tried.', minimum=1
  )
  grace_s: float = options_lib.option(
    60.0, 'After SIGTERM or Ctrl-C, how long saving may take.', minimum=0.1
  )
  judge: str = options_lib.option(
    'judge', 'A judge, or its folder.', is_path=True
  )
  dry_run: bool = options_lib.option(False, 'Say what would be done.')
  preflight_only: bool = options_lib.option(
    False, 'Besides, take one step of the first cell, and keep nothing.'
  )


def run(
  config: schema.RunConfig,
  options: Options,
  report: Callable[[str], None] = saying.say,
) -> 'sweeping.Sweep | None':
  """Runs the cells that the options ask for; None after a dry run.

  Args:
    config: what the cells have in common.
    options: see `Options`.
    report: see `sweeping.sweep`.

  Raises:
    UserError, OSError, ClusterUnavailable: in one line.
  """
  options = options_lib.checked(options)
  grid = _find_cells(config, options)
  workdir = local_paths.local(options.workdir)
  if not options.dry_run and not folder.is_done(workdir, grid.cells):
    cluster_head.check_first(options.ray_address)
  # After the address was asked, since this takes seconds to import.
  from mmdist.sweeps import sweeping

  chosen = _choose(grid, options.first, options.last)
  return sweeping.sweep(
    grid,
    options.workdir,
    executor=options.executor,
    address=options.ray_address,
    ship_code=options.ship_code,
    cores_per_cell=options.cores_per_cell,
    gpus_per_cell=options.gpus_per_cell,
    max_running=options.max_running,
    max_attempts=options.max_attempts,
    grace_s=options.grace_s,
    judge=options.judge,
    dry_run=options.dry_run,
    preflight_only=options.preflight_only,
    only=chosen,
    report=report,
  )


def _choose(grid: cells_lib.Grid, first: int, last: int | None) -> list[str]:
  """Returns the names of the cells from `first` up to `last`, without it."""
  chosen = [cell.name for cell in grid.cells[first:last]]
  if not chosen:
    flags = f'--first={first}' + f' --last={last}' * (last is not None)
    raise errors.UserError(
      f'{flags} leaves no cell: there are {len(grid.cells)}, counted from 0; '
      f'expected --first below {len(grid.cells)} and below --last.'
    )
  return chosen


def _find_cells(config: schema.RunConfig, options: Options) -> cells_lib.Grid:
  axes = [*options.grid]
  if options.seeds:
    axes.append(f'seed={",".join(options.seeds)}')
  given = {
    '--grid': bool(options.grid),
    '--seeds': bool(options.seeds),
    '--cells': bool(options.cells),
    '--study': bool(options.study),
  }
  # Seeds are an axis of the grid.
  if bool(axes) + given['--cells'] + given['--study'] > 1:
    named = ' and '.join(flag for flag, is_given in given.items() if is_given)
    raise errors.UserError(
      f'{named} are given; expected axes (--grid, --seeds), or --cells, or '
      '--study.'
    )
  return cell_sources.find_cells(
    config, axes, options.cells, options.study, options.set
  )
