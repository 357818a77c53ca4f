"""JSON that every program reads: without NaN and infinity.

RFC 8259 has no such numbers. Python writes them all the same, as words that
other readers refuse. What is not finite is written as null here.
"""

from collections.abc import Mapping
import json
import math
from typing import Any


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
