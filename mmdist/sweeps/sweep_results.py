"""What a sweep leaves for people and programs, made from the cells so far.

Owns `sheet.png`, `table.csv`, `table.json` and `index.html` in its folder, and
the table of what is claimed about its cells.
"""

from collections.abc import Callable, Mapping, Sequence
import csv
import dataclasses
import io
import json
import os
import pathlib
from typing import Any

from mmdist.config import serialization
from mmdist.core import asset_paths
from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.evaluation import judge as judge_lib
from mmdist.results import make as make_lib
from mmdist.run import early_warnings
from mmdist.run import metrics_file
from mmdist.sweeps import cells as cells_lib
from mmdist.sweeps import claims_table
from mmdist.sweeps import columns as columns_lib
from mmdist.sweeps import contact_sheet
from mmdist.sweeps import folder
from mmdist.sweeps import judging
from mmdist.sweeps import page as page_lib
from mmdist.sweeps import scheduling

FILES = {
  'sheet': 'sheet.png',
  'csv': 'table.csv',
  'json': 'table.json',
  'page': 'index.html',
}
_DAMAGE = (errors.UserError, OSError)  # In the files of one cell.


def make(
  workdir: str | os.PathLike,
  grid: cells_lib.Grid,
  ended: Mapping[str, scheduling.Ended],
  judge: str = 'judge',
  report: Callable[[str], None] = lambda line: None,
) -> dict[str, pathlib.Path]:
  """Makes everything from the cells that have a checkpoint.

  Args:
    workdir: of the sweep.
    grid: its cells.
    ended: what became of those that ran now, by cell.
    judge: a judge, or its folder.
    report: is told of what cannot be opened of a cell.

  Returns:
    What was made -> where; see `FILES`, and 'claims' where the grid has some.
  """
  workdir = pathlib.Path(workdir)
  looks = judge_lib.load(asset_paths.resolve(judge))
  concepts = judging.concepts_of(grid.cells, looks)
  is_compared = grid.comparison is not None
  shown = [
    _show(
      workdir,
      cell,
      ended.get(cell.name),
      looks,
      concepts,
      is_compared,
      report,
    )
    for cell in grid.cells
  ]
  rows = [one.row for one in shown]
  pictures = {one.row['name']: one.picture for one in shown if one.picture}
  metrics = {one.row['name']: one.metrics for one in shown if one.metrics}
  paths = {name: workdir / file for name, file in FILES.items()}
  contact_sheet.write(paths['sheet'], grid, pictures, judging.PICTURE)
  columns = _columns(rows)
  atomic.write_text(paths['csv'], _to_csv(columns, rows))
  atomic.write_text(paths['json'], strict_json.dumps(rows, indent=1) + '\n')
  page = _page(workdir, grid, columns, rows, metrics, paths['sheet'])
  page_lib.write(paths['page'], page)
  if grid.comparison:
    paths['claims'] = workdir / grid.comparison.file_name
    text = claims_table.to_markdown(grid.comparison, rows)
    atomic.write_text(paths['claims'], text)
  return paths


@dataclasses.dataclass(frozen=True)
class _Shown:
  """What there is of one cell.

  Attributes:
    row: of the table.
    metrics: of its steps.
    picture: its file; None if there is none.
  """

  row: dict[str, Any]
  metrics: list[dict[str, float]]
  picture: pathlib.Path | None


def _show(
  workdir: pathlib.Path,
  cell: cells_lib.Cell,
  ended: scheduling.Ended | None,
  looks: judge_lib.Judge,
  concepts: Mapping[str, Mapping[str, object]],
  is_compared: bool,
  report: Callable[[str], None],
) -> _Shown:
  """Returns what there is of a cell; what is damaged is its row's error.

  The other cells are shown whatever is wrong with the files of this one.
  """
  damage, metrics, picture = [], [], None
  try:
    metrics = _read_metrics(workdir, cell)
  except _DAMAGE as error:
    damage.append(f'has no curves: {error}')
  row = describe(workdir, cell, ended, metrics)
  if row['step'] is not None:
    try:
      seen = judging.look_at(
        workdir, cell, looks, concepts, with_shape=is_compared
      )
    except _DAMAGE as error:
      damage.append(f'cannot be shown: {error}')
    else:
      row |= {columns_lib.sees(k): share for k, share in seen['sees'].items()}
      row |= {name: seen[name] for name in columns_lib.MEASURED}
      if is_compared:
        row |= _compared_figures(cell, seen, metrics)
      picture = workdir / folder.CELLS_NAME / seen['picture']
  for line in damage:
    report(f"cell '{cell.name}' {line}")
  row['error'] = row['error'] or '; '.join(damage)
  return _Shown(row, metrics, picture)


def _compared_figures(
  cell: cells_lib.Cell,
  seen: Mapping[str, Any],
  metrics: Sequence[Mapping[str, float]],
) -> dict[str, float | None]:
  """Returns `columns.COMPARED` of a cell."""
  wanted = [seen['sees'].get(one) for one in judging.wanted_labels(cell)]
  return {
    'agreement': judging.mean_known(wanted),
    'shape_agreement': seen['shape_agreement'],
    'normal_noise_deg': seen['normal_noise_deg'],
    'fluctuation': early_warnings.fluctuation(metrics),
  }


def read_rows(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Returns the rows of a sweep's table, as `make` has left them."""
  path = pathlib.Path(workdir) / FILES['json']
  return json.loads(path.read_text(encoding='utf-8'))


def describe(
  workdir: pathlib.Path,
  cell: cells_lib.Cell,
  ended: scheduling.Ended | None,
  metrics: Sequence[Mapping[str, float]],
) -> dict[str, Any]:
  """Returns a cell's row without what the judge sees.

  `step` is of its newest checkpoint; None if there is nothing to look at.
  """
  state = folder.state_of(workdir, cell)
  error = ended.error if ended and ended.kind == 'failed' else ''
  step = judging.step_of(workdir, cell) or None
  if cell.asks_nothing:
    state, step = 'start', 0
  if error:
    state = 'failed'
  values = serialization.to_dict(dict(cell.values))
  seconds = sum(row.get('step_seconds', 0.0) for row in metrics)
  return {
    'name': cell.name,
    **values,
    'state': state,
    'step': step,
    'seconds': round(seconds, 1) if metrics else None,
    'error': error,
  }


def _read_metrics(
  workdir: pathlib.Path, cell: cells_lib.Cell
) -> list[dict[str, float]]:
  cell_folder = folder.cell_folder(workdir, cell)
  return metrics_file.read(cell_folder / metrics_file.NAME)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  columns = list(dict.fromkeys(name for row in rows for name in row))
  last = [name for name in columns_lib.LAST if name in columns]
  return [name for name in columns if name not in last] + last


def _to_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
  text = io.StringIO()
  table = csv.DictWriter(text, columns, lineterminator='\n')
  table.writeheader()
  table.writerows(rows)
  return text.getvalue()


def _page(
  workdir: pathlib.Path,
  grid: cells_lib.Grid,
  columns: Sequence[str],
  rows: Sequence[Mapping[str, Any]],
  metrics: Mapping[str, Sequence[Mapping]],
  sheet: pathlib.Path,
) -> page_lib.Page:
  states = [str(row['state']) for row in rows]
  counts = [f'{states.count(state)} {state}' for state in dict.fromkeys(states)]
  axes = ' x '.join(axis.field for axis in grid.axes)

  def links(name: str) -> dict[str, str]:
    return {
      cell.name: f'{folder.CELLS_NAME}/{cell.name}/{name}'
      for cell in grid.cells
      if (folder.cell_folder(workdir, cell) / name).is_file()
    }

  return page_lib.Page(
    title=f'{axes or "Cells"}: {workdir.name}',
    summary=f'{len(rows)} cells: {", ".join(counts)}.',
    columns=columns,
    rows=rows,
    sheet=sheet,
    animations=links(make_lib.FILES['animation']),
    reports=links(make_lib.FILES['report']),
    metrics=metrics,
    common=common_settings(grid.cells),
    own=own_settings(grid.cells),
  )


def common_settings(cells: Sequence[cells_lib.Cell]) -> dict[str, Any]:
  """Returns path -> value of the fields in which no two cells differ."""
  flat = [serialization.flatten(cell.config) for cell in cells]
  return {
    path: serialization.to_dict(value)
    for path, value in flat[0].items()
    if _is_common(path, flat)
  }


def own_settings(
  cells: Sequence[cells_lib.Cell],
) -> dict[str, dict[str, Any]]:
  """Returns cell -> path -> value of the fields in which cells differ.

  From the configurations alone: what a cell says of itself, `values`, is less
  where it was written by hand or is the preset of a study. A field that a cell
  has not, since it has fewer concepts or priors, is left out for it.
  """
  flat = [serialization.flatten(cell.config) for cell in cells]
  paths = dict.fromkeys(path for one in flat for path in one)
  differing = [path for path in paths if not _is_common(path, flat)]
  return {
    cell.name: {
      path: serialization.to_dict(one[path])
      for path in differing
      if path in one
    }
    for cell, one in zip(cells, flat, strict=True)
  }


def _is_common(path: str, flat: Sequence[Mapping[str, Any]]) -> bool:
  missing = object()  # Equal to no value, and to itself.
  first = flat[0].get(path, missing)
  return all(one.get(path, missing) == first for one in flat)
