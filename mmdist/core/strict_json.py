"""JSON that every program reads: without NaN and infinity.

RFC 8259 has no such numbers. Python writes them all the same, as words that
other readers refuse. What is not finite is written as null here.
"""

from collections.abc import Mapping
import json
import math
import pathlib
from typing import Any

from mmdist.core import errors


def dumps(value: Any, **options: Any) -> str:
  """Returns a value as JSON; a number that is not finite becomes null.

  Args:
    value: what `json.dumps` takes.
    **options: of `json.dumps`.
  """
  return json.dumps(_without_nan(value), allow_nan=False, **options)


def _without_nan(value: Any) -> Any:
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, Mapping):
    return {_without_nan(k): _without_nan(one) for k, one in value.items()}
  if isinstance(value, list | tuple):
    return [_without_nan(one) for one in value]
  return value


def read(path: pathlib.Path) -> Any:
  """Reads a file of JSON that any program of any system wrote.

  It is UTF-8 with or without a mark at its start, as editors of Windows write
  it, or UTF-16, as its PowerShell does.

  Raises:
    OSError: it cannot be opened.
    UserError: it is no JSON; the line says what is wrong, not in which file.
  """
  try:
    return json.loads(path.read_bytes())
  # Another encoding; the last is a thousand brackets.
  except (ValueError, RecursionError) as error:
    raise errors.UserError(
      f'is no JSON: {error}; look there for a comma too many, a bracket or a '
      'quotation mark that is missing'
    ) from error


def read_metrics(line: str) -> dict[str, float]:
  """Returns the numbers of a line of metrics, in which null stands for NaN.

  Raises:
    json.JSONDecodeError: it is no JSON object.
  """
  try:
    row = json.loads(line, parse_int=_read_whole)
  except RecursionError as error:  # A thousand brackets.
    raise json.JSONDecodeError('too many brackets', line, 0) from error
  if not isinstance(row, dict):
    raise json.JSONDecodeError('expected an object', line, 0)
  if 'null' not in line:  # Almost always, and there may be many lines.
    return row
  return {k: math.nan if v is None else v for k, v in row.items()}


def _read_whole(text: str) -> int | float:
  """Returns a whole number; infinity where it is larger than any float."""
  number = float(text)
  return int(text) if math.isfinite(number) else number
