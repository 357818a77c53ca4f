"""Options of a command: one frozen dataclass, which flags are made from.

A default, its help and its bounds stand once, at the dataclass's field. What
turns the fields into flags is `launchers/option_flags.py`; a program builds
the dataclass itself. A function that takes such options calls `checked` first.
"""

from collections.abc import Sequence
import dataclasses
import math
import typing
from typing import Any

from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import names

REQUIRED: Any = dataclasses.MISSING  # As a default: there is none.
_KEY = 'option'
_Options = typing.TypeVar('_Options')  # Such a dataclass.


@dataclasses.dataclass(frozen=True)
class Description:
  """What is known about one option besides its type and default.

  Attributes:
    help: a sentence for `--help`.
    minimum, maximum: bounds of a number, both allowed; None: no bound but that
      it has to be finite.
    choices: the only values of a text; empty: any text.
    is_path: of a file or folder on this machine; may begin with `~`.
    repeated: a tuple whose flag is given once per item, since items may hold
      commas; the flag of any other tuple is one list with commas.
  """

  help: str
  minimum: float | None = None
  maximum: float | None = None
  choices: tuple[str, ...] = ()
  is_path: bool = False
  repeated: bool = False


def option(
  default: Any,
  help: str,
  *,
  minimum: float | None = None,
  maximum: float | None = None,
  choices: Sequence[str] = (),
  is_path: bool = False,
  repeated: bool = False,
) -> Any:
  """Returns a dataclass field for an option.

  Args:
    default: its value if nothing is given; `REQUIRED` if it must be given.
    help, minimum, maximum, choices, is_path, repeated: see `Description`.
  """
  described = Description(
    help, minimum, maximum, tuple(choices), is_path, repeated
  )
  return dataclasses.field(default=default, metadata={_KEY: described})


def describe(field: dataclasses.Field) -> Description:
  """Returns what `option` was told about a field."""
  return field.metadata[_KEY]


def checked(options: _Options) -> _Options:
  """Returns the options with paths of this machine; see `local_paths`.

  Raises:
    UserError: in one line; see `check`, or a path is in remote storage.
  """
  check(options)
  fields: Any = options
  paths = {
    field.name: local_paths.expand(getattr(options, field.name), field.name)
    for field in dataclasses.fields(fields)
    if describe(field).is_path and getattr(options, field.name)
  }
  return dataclasses.replace(fields, **paths)


def check(options: Any) -> None:
  """Raises UserError if a value is out of bounds or none of the choices."""
  for field in dataclasses.fields(options):
    value, described = getattr(options, field.name), describe(field)
    if value == '' and field.default is REQUIRED and described.is_path:
      # It would be the folder that the person happens to be in.
      raise errors.UserError(
        f'{field.name} is empty; expected a path, or . for this folder.'
      )
    if described.choices and value is not None:
      names.check_choice(field.name, value, described.choices)
    if isinstance(value, int | float):
      _check_bounds(field.name, value, described)
    for text in value if isinstance(value, tuple) else (value,):
      if isinstance(text, str):
        names.check_text(field.name, text)


def _check_bounds(name: str, value: float, described: Description) -> None:
  low, high = described.minimum, described.maximum
  # Nothing is without end: what may be left out has a value that says so.
  if isinstance(value, float) and not math.isfinite(value):
    raise errors.UserError(f'{name} is {value}; expected a finite number.')
  if low is not None and value < low:
    raise errors.UserError(f'{name} is {value}; expected at least {low}.')
  if high is not None and value > high:
    raise errors.UserError(f'{name} is {value}; expected at most {high}.')


def whole_numbers(name: str, items: Sequence[str]) -> tuple[int, ...]:
  """Returns the numbers that the items of a list are.

  Raises:
    UserError: one is none.
  """
  try:
    return tuple(int(item) for item in items)
  except ValueError as error:
    raise errors.UserError(
      f'{name} is {",".join(items)}; expected whole numbers with commas.'
    ) from error
