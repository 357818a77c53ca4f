"""What a part of the GPU check is given, and what it leaves: rows of tables.

Rows are written to a file as they are measured, so that a part that is killed
has lost nothing. `experiments.benchmarks.gpu_check` makes tables of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import json
import logging
import math
import pathlib
import statistics
import time
from typing import Any

from mmdist.core import strict_json

Row = dict[str, Any]
Tables = dict[str, list[Row]]


@dataclasses.dataclass(frozen=True)
class Job:
  """One part, as its process sees it.

  Attributes:
    rows: the file that takes the rows, a JSON object a line.
    folder: for files that parts share, such as random weights.
    end: `time.monotonic()` at which the part is killed.
    tiny: everything as small as it gets, and on the CPU.
  """

  rows: pathlib.Path
  folder: pathlib.Path
  end: float
  tiny: bool = False

  @property
  def device(self) -> str:
    """Torch's name of the device."""
    return 'cpu' if self.tiny else 'cuda'

  def time_left(self) -> float:
    """Returns the seconds until the part is killed."""
    return self.end - time.monotonic()

  def add(self, table: str, row: Mapping[str, Any]) -> None:
    """Adds a row to a table."""
    with self.rows.open('a', encoding='utf-8') as file:
      file.write(strict_json.dumps({'table': table, 'row': dict(row)}) + '\n')

  def attempt(
    self,
    table: str,
    label: Mapping[str, Any],
    measure: Callable[[], Mapping[str, Any]],
    needs_s: float = 5.0,
  ) -> Row | None:
    """Adds a row of what is measured, or of why it was not.

    Args:
      table: that takes it.
      label: the row's first columns.
      measure: returns the others.
      needs_s: with less time left it is not begun.

    Returns:
      What was measured; None where it failed or was not begun.
    """
    if self.time_left() < needs_s:
      self.add(table, {**label, 'error': 'no time left'})
      return None
    try:
      found = dict(measure())
    except Exception as error:
      logging.exception('%s %s', table, dict(label))
      self.add(table, {**label, 'error': short(error)})
      return None
    self.add(table, {**label, **found})
    return found


def short(error: BaseException) -> str:
  """Returns an error in one line of a table."""
  lines = str(error).strip().splitlines() or ['']
  text = f'{type(error).__name__}: {lines[0]}'
  return text if len(text) < 200 else f'{text[:199]}…'


def read_rows(path: pathlib.Path) -> Tables:
  """Returns the tables of a file of rows; a line cut short is left out."""
  tables: Tables = {}
  if path.is_file():
    for line in path.read_text(encoding='utf-8').splitlines():
      try:
        found = json.loads(line)
      except json.JSONDecodeError:
        continue
      tables.setdefault(found['table'], []).append(found['row'])
  return tables


def median_s(call: Callable[[], object], repeats: int) -> float:
  """Returns the median seconds of some calls, after one that is not counted.

  Args:
    call: returns when its work is done, on the device too.
    repeats: calls that count.
  """
  call()
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    call()
    seconds.append(time.perf_counter() - start)
  return statistics.median(seconds)


def to_markdown(title: Sequence[str], tables: Tables) -> str:
  """Returns a document: lines of a title, and a table under each heading."""
  parts = ['\n'.join(title)]
  for name, rows in tables.items():
    parts.append(f'## {name}\n\n{_table(rows)}')
  return '\n\n'.join(parts) + '\n'


def _table(rows: Sequence[Row]) -> str:
  columns = list(dict.fromkeys(key for row in rows for key in row))
  lines = [_line(columns), _line(['---'] * len(columns))]
  lines += [_line(_cell(row.get(key)) for key in columns) for row in rows]
  return '\n'.join(lines)


def _line(cells: Iterable[str]) -> str:
  return f'| {" | ".join(cells)} |'


def _cell(value: Any) -> str:
  if value is None:
    return ''
  if isinstance(value, float):
    return f'{value:.4g}' if math.isfinite(value) else str(value)
  return str(value).replace('|', '/').replace('\n', ' ')
