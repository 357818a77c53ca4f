"""The file of a run's metrics: a line of JSON for each step.

It is read while it is written, and after the run was killed: its last line may
be torn.
"""

from collections.abc import Mapping
import json
import math
import pathlib
from typing import Any

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.core import tables

NAME = 'metrics.jsonl'
# What the loop itself writes in every line. Whoever reads a line counts on
# these; any other number may be anything, and is then left out of a chart.
_OWN = ('step', 'step_seconds')
_REMEDY = 'Move the file away to go without its curves.'


def read(path: pathlib.Path) -> list[dict[str, float]]:
  """Returns one dict for each step, without a torn last line.

  Args:
    path: of the file; where there is none, there are no steps.

  Raises:
    UserError: a line before the last is no JSON object, or what the loop writes
      is no finite number.
  """
  if not path.is_file():
    return []
  rows = []
  lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
  for number, line in enumerate(lines, 1):
    try:
      row = strict_json.read_metrics(line)
    except json.JSONDecodeError as error:
      if number < len(lines):
        raise errors.UserError(
          f'{path} line {number} is not JSON ({error.msg}); expected a step of '
          f'the run. {_REMEDY}'
        ) from error
    else:
      _check_own(row, f'{path} line {number}')
      rows.append(row)
  return rows


def _check_own(row: Mapping[str, Any], where: str) -> None:
  for name in _OWN:
    value = row.get(name, 0)
    if not tables.is_number(value) or not math.isfinite(value):
      raise errors.UserError(
        f'{where}: {name} is {repr(value)[:60]}; expected a number. {_REMEDY}'
      )


def drop_steps(path: pathlib.Path, first_step: int) -> None:
  """Rewrites the file without the steps from `first_step` on.

  They were taken after the checkpoint that is resumed from. A torn last line
  goes too.
  """
  if not path.exists():
    return
  kept = [
    line
    for line in path.read_text('utf-8', 'replace').splitlines(keepends=True)
    if _step_of(line) < first_step
  ]
  atomic.write_text(path, ''.join(kept))


def _step_of(line: str) -> float:
  """Returns whose step a line is; infinity if it is not whole."""
  try:
    step: Any = strict_json.read_metrics(line).get('step')
  except json.JSONDecodeError:
    return math.inf
  return step if line.endswith('\n') and tables.is_number(step) else math.inf
