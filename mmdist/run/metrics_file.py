"""The file of a run's metrics: a line of JSON for each step.

It is read while it is written, and after the run was killed: its last line may
be torn.
"""

import json
import math
import pathlib

from mmdist.core import atomic
from mmdist.core import errors
from mmdist.core import strict_json

NAME = 'metrics.jsonl'


def read(path: pathlib.Path) -> list[dict[str, float]]:
  """Returns one dict for each step, without a torn last line.

  Args:
    path: of the file; where there is none, there are no steps.

  Raises:
    UserError: a line before the last is no JSON object.
  """
  if not path.is_file():
    return []
  rows = []
  lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
  for number, line in enumerate(lines, 1):
    try:
      rows.append(strict_json.read_metrics(line))
    except json.JSONDecodeError as error:
      if number < len(lines):
        raise errors.UserError(
          f'{path} line {number} is not JSON ({error.msg}); expected a step of '
          'the run. Move the file away to go without its curves.'
        ) from error
  return rows


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
    return json.loads(line)['step'] if line.endswith('\n') else math.inf
  except (json.JSONDecodeError, KeyError, TypeError):
    return math.inf
