"""The folder of a sweep: which sweep it is, and what is done of it.

Owns `sweep.json`. `cells/NAME` is the folder of a run like any other, and
`cells/NAME.log` what that run printed.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import os
import pathlib
from typing import Any

from mmdist.config import serialization
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.core import version
from mmdist.run import links
from mmdist.run import locks
from mmdist.run import many_runs
from mmdist.run import workdir as workdir_lib
from mmdist.sweeps import cells as cells_lib

SWEEP_NAME = 'sweep.json'
CELLS_NAME = 'cells'
LOCK_NAME = '.sweep.lock'
# Everything that a sweep writes there, besides the table of its claims.
OUTPUTS = (
  '.*',
  SWEEP_NAME,
  CELLS_NAME,
  'sheet.png',
  'table.*',
  'index.html',
)


def cell_folder(
  workdir: str | os.PathLike, cell: cells_lib.Cell
) -> pathlib.Path:
  """Returns the folder of a cell's run."""
  return pathlib.Path(workdir) / CELLS_NAME / cell.name


def log_path(workdir: str | os.PathLike, cell: cells_lib.Cell) -> pathlib.Path:
  """Returns the file of what a cell's run printed."""
  return pathlib.Path(workdir) / CELLS_NAME / f'{cell.name}.log'


def state_of(workdir: str | os.PathLike, cell: cells_lib.Cell) -> str:
  """Returns 'finished', 'begun' or 'new', of a cell.

  No checkpoint is opened, so that a thousand cells take a moment. Whether the
  last one of a finished cell is sound is seen when the cell is judged.
  """
  return many_runs.state_of(cell_folder(workdir, cell), cell.config.num_steps)


def is_done(
  workdir: str | os.PathLike, cells: Sequence[cells_lib.Cell]
) -> bool:
  """Returns whether every cell that asks something is finished."""
  return all(
    cell.asks_nothing or state_of(workdir, cell) == 'finished' for cell in cells
  )


def check(workdir: str | os.PathLike, grid: cells_lib.Grid) -> None:
  """Checks, writing nothing, that a sweep may begin or go on in a folder.

  A sweep may have more cells than before. The cells that it had before must all
  be there, and their settings must be the same.

  Raises:
    NotADirectoryError, PermissionError, FileNotFoundError, UserError: in one
      line; the folder holds another sweep, something else, or links that lead
      out of it, or nothing can be written there.
  """
  workdir = pathlib.Path(workdir)
  many_runs.check_folder(workdir)
  workdir_lib.check_writable(workdir / CELLS_NAME)
  claimed_in = [grid.comparison.file_name] if grid.comparison else []
  links.check_inside(workdir, [*OUTPUTS, *claimed_in])
  path = workdir / SWEEP_NAME
  if not path.is_file():
    many_runs.check_empty(workdir, 'sweep', CELLS_NAME)
    return
  before = _read(path)
  now = _describe(grid.cells)
  for name, config in before.items():
    if name not in now:
      raise errors.UserError(
        f"{workdir} holds another sweep: its cell '{name}' is not among the "
        f'{len(now)} of this one; give --workdir a new folder, or the axes '
        'that it has, to which more values may be added.'
      )
    many_runs.check_same(workdir, 'sweep', f"cell '{name}'", config, now[name])


def _read(path: pathlib.Path) -> dict[str, Any]:
  """Returns name -> configuration, as a tree, of the cells of a folder."""
  try:
    data = json.loads(path.read_text(encoding='utf-8'))
    base = data['base']
    return {
      cell['name']: {
        path: value
        for path, value in {**base, **cell['changes']}.items()
        if path not in cell['absent']
      }
      for cell in data['cells']
    }
  # Bad JSON is a ValueError; a thousand brackets are a RecursionError.
  except (ValueError, KeyError, TypeError, RecursionError) as error:
    raise errors.UserError(
      f'{path} is damaged; give --workdir a new folder, or put the old file '
      'back.'
    ) from error


def _describe(cells: Sequence[cells_lib.Cell]) -> dict[str, dict[str, Any]]:
  return {
    cell.name: {
      path: serialization.to_dict(value)
      for path, value in serialization.flatten(cell.config).items()
    }
    for cell in cells
  }


@contextlib.contextmanager
def claimed(workdir: str | os.PathLike, grid: cells_lib.Grid) -> Iterator[None]:
  """Holds a folder for a sweep inside the block.

  What the sweep is, `record` writes there, once nothing is in its way any more.

  Raises:
    locks.InUse: another process sweeps there.
    UserError, OSError: see `check`.
  """
  workdir = pathlib.Path(workdir)
  check(workdir, grid)
  workdir.mkdir(parents=True, exist_ok=True)
  with locks.holding(workdir / LOCK_NAME):
    check(workdir, grid)
    yield


def record(workdir: str | os.PathLike, grid: cells_lib.Grid) -> None:
  """Writes into a claimed folder which sweep it holds."""
  workdir = pathlib.Path(workdir)
  (workdir / CELLS_NAME).mkdir(exist_ok=True)
  atomic.write_text(workdir / SWEEP_NAME, _to_json(grid))


def _to_json(grid: cells_lib.Grid) -> str:
  described = _describe(grid.cells)
  base: Mapping[str, Any] = described[grid.cells[0].name]
  missing = object()
  data = {
    'mmdist': version.VERSION,
    'axes': {axis.field: list(axis.values) for axis in grid.axes},
    'base': base,
    'cells': [
      {
        'name': cell.name,
        'values': serialization.to_dict(dict(cell.values)),
        'changes': {
          path: value
          for path, value in described[cell.name].items()
          if base.get(path, missing) != value
        },
        'absent': [path for path in base if path not in described[cell.name]],
      }
      for cell in grid.cells
    ],
  }
  return strict_json.dumps(data, indent=1) + '\n'
