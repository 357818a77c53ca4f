"""Flags from a dataclass of options, and the dataclass back from flags.

The fields are made by `mmdist.core.options.option`. A bool, int, float or str,
also one that may be None, is a flag of that type; a text with choices is an
enum; a tuple of texts or of whole numbers is a list with commas, one of texts
also a flag that may be repeated.
"""

import dataclasses
import re
import types
import typing
from typing import Any

from absl import flags

from mmdist.core import options as options_lib


def define(kind: type, values: flags.FlagValues) -> None:
  """Defines a flag for every field of a dataclass.

  Args:
    kind: the dataclass.
    values: where the flags are defined.
  """
  hints = typing.get_type_hints(kind)
  for field in dataclasses.fields(kind):
    is_required = field.default is options_lib.REQUIRED
    _define_one(
      field.name,
      _without_none(hints[field.name]),
      None if is_required else field.default,
      options_lib.describe(field),
      values,
    )
    if is_required:
      flags.mark_flag_as_required(field.name, values)


def read(kind: type, values: flags.FlagValues) -> Any:
  """Returns the dataclass that the parsed flags describe.

  Raises:
    UserError: in one line; see `options.checked`.
  """
  found = {}
  hints = typing.get_type_hints(kind)
  for field in dataclasses.fields(kind):
    value: Any = values[field.name].value
    if isinstance(value, list):
      value = tuple(value)
      if hints[field.name] == tuple[int, ...]:
        value = options_lib.whole_numbers(field.name, value)
    found[field.name] = value
  return options_lib.checked(kind(**found))


def _without_none(hint: Any) -> Any:
  """Returns X for `X | None`, and anything else as it is."""
  if isinstance(hint, types.UnionType):
    (hint,) = (part for part in hint.__args__ if part is not type(None))
  return hint


def _define_one(
  name: str,
  hint: Any,
  default: Any,
  described: options_lib.Description,
  values: flags.FlagValues,
) -> None:
  common: dict[str, Any] = {'flag_values': values}
  bounds: dict[str, Any] = {
    'lower_bound': described.minimum,
    'upper_bound': described.maximum,
  }
  text = described.help
  if hint is bool:
    flags.DEFINE_bool(name, default, text, **common)
  elif hint is int:
    flags.DEFINE_integer(name, default, text, **bounds, **common)
  elif hint is float:
    flags.DEFINE_float(name, default, text, **bounds, **common)
  elif typing.get_origin(hint) is tuple and described.repeated:
    flags.DEFINE_multi_string(name, default, text, **common)
  elif typing.get_origin(hint) is tuple:
    shown = None if default is None else ','.join(map(str, default))
    flags.DEFINE_list(name, shown, text, **common)
  elif described.choices:
    flags.DEFINE_enum(name, default, described.choices, text, **common)
  elif hint is str:
    flags.DEFINE_string(name, default, text, **common)
  else:
    raise TypeError(f'option {name} is of type {hint}, which has no flag.')


def format_help(values: flags.FlagValues) -> str:
  """Returns what every flag is for, its default and what it takes."""
  blocks = []
  for name in values:
    flag = values[name]
    shown = f'--[no]{name}' if flag.boolean else f'--{name}'
    notes = [f'default: {flag.default_as_str}'] if flag.default_as_str else []
    notes += filter(None, [flag.parser.syntactic_help])
    note = f' ({"; ".join(notes)})' if notes else ''
    # absl breaks its own remarks into lines that begin with spaces.
    text = re.sub(r'\n\s+', ' ', flag.help)
    first, *rest = f'{text}{note}'.split('\n')
    lines = [flags.text_wrap(f'{shown}: {first}', 78, '      ', '  ')]
    blocks.append('\n'.join([*lines, *(f'      {line}' for line in rest)]))
  return '\n'.join(blocks)
