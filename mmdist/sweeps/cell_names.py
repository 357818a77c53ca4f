"""What cells are called: a name is that of a folder, and of files beside it."""

from collections.abc import Iterator, Mapping
import contextlib
import hashlib
import re
from typing import Any

from mmdist.config import serialization
from mmdist.core import errors
from mmdist.core import names
from mmdist.core import strict_json

MAX_LENGTH = 64
# What stands beside a cell's folder: its log, and what the judge saw of it.
SUFFIXES = ('.log', '.json', '.png')


def make(values: Mapping[str, Any]) -> str:
  """Returns a file name made of what tells a cell from the others.

  Short values are readable in it, such as 'happy_0.5-sad_1'. A long name is cut
  and ends in a few digits of a hash, so that it differs from others.

  Args:
    values: field -> anything: it is checked afterwards.
  """
  parts = []
  for field, value in values.items():
    part = f'{field.rpartition(".")[2]}_{show(value)}'
    parts.append(re.sub(r'[^\w.-]+', '-', part, flags=re.ASCII).strip('-'))
  name = '-'.join(parts) or 'cell'
  if len(name) <= MAX_LENGTH and _is_exact(values) and not _is_taken(name):
    return name
  exact = strict_json.dumps(
    serialization.to_dict(dict(values)), sort_keys=True, default=str
  )
  digits = hashlib.sha256(exact.encode()).hexdigest()[:8]
  return f'{name[: MAX_LENGTH - 9]}-{digits}'


def _is_exact(values: Mapping[str, Any]) -> bool:
  """Returns whether the name says every value in full."""
  return all(
    re.fullmatch(r'[\w.-]*', show(value), re.ASCII) for value in values.values()
  )


def _is_taken(name: str) -> bool:
  """Returns whether the name may be that of another cell's file."""
  return name.lower().endswith(SUFFIXES)


def show(value: Any) -> str:
  """Returns a value as names and messages have it."""
  if isinstance(value, float):
    return f'{value:g}' if float(f'{value:g}') == value else repr(value)
  return str(value)


def check(name: str) -> None:
  """Raises UserError, in one line, unless a cell can have this name."""
  names.check_file_name('a cell', name)
  if _is_taken(name):
    raise errors.UserError(
      f"a cell is called '{name}'; expected a name that ends in none of "
      f"{', '.join(SUFFIXES)}, which are files beside a cell's folder."
    )


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
  """Opens the line of an error inside the block with the cell's name."""
  try:
    yield
  except errors.UserError as error:
    raise errors.UserError(f"cell '{name}': {error}") from error
  except OSError as error:
    raise type(error)(f"cell '{name}': {error}") from error
