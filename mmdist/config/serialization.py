"""A run's configuration as text: printed, stored, compared and read again.

Works on any tree of dataclasses, dicts, lists and tuples, with a path such as
`priors.normal.weight` or `concepts[0].text` for each value in it; those are
also its names on the command line. `mmdist.config.validation` says what the
values may be.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import functools
import json
import math
import types
import typing
from typing import Any

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import lora_lists
from mmdist.core import names
from mmdist.core import strict_json


def to_dict(config: Any) -> Any:
  """Returns the tree of plain dicts and lists that JSON can hold."""
  if dataclasses.is_dataclass(config):
    return {
      field.name: to_dict(getattr(config, field.name))
      for field in dataclasses.fields(config)
    }
  if isinstance(config, Mapping):
    return {key: to_dict(value) for key, value in config.items()}
  if isinstance(config, list | tuple):
    return [to_dict(value) for value in config]
  return config


def to_json(config: Any) -> str:
  """Returns the text of a run's `config.json`."""
  return strict_json.dumps(to_dict(config), indent=2) + '\n'


def from_dict(data: Any, kind: Any = schema.RunConfig, path: str = '') -> Any:
  """Rebuilds a dataclass, by default a RunConfig, from `to_dict`'s tree.

  Fields that are missing keep their defaults.

  Raises:
    UserError: in one line; a field is unknown or a value has another type.
  """
  origin = typing.get_origin(kind) or kind
  if dataclasses.is_dataclass(origin):
    return _dataclass_from_dict(data, origin, path)
  arguments = typing.get_args(kind)
  if origin is dict:
    _check_type(data, Mapping, 'a mapping', path)
    return {
      key: from_dict(value, arguments[1], join(path, key))
      for key, value in data.items()
    }
  if kind == lora_lists.Loras:
    return lora_lists.normalise(data, path)
  if origin in (list, tuple):
    _check_type(data, list | tuple, 'a list', path)
    return origin(
      from_dict(value, arguments[0], f'{path}[{i}]')
      for i, value in enumerate(data)
    )
  return _scalar(data, kind, path)


def from_json(text: str, source: str = 'config.json') -> schema.RunConfig:
  """Reads `to_json`'s text; UserError in one line that names `source`."""
  try:
    return from_dict(json.loads(text))
  # Bad JSON is a ValueError too; a thousand brackets are a RecursionError.
  except (ValueError, RecursionError) as error:
    raise errors.UserError(f'{source} is no configuration: {error}') from error


def _dataclass_from_dict(data: Any, kind: Any, path: str) -> Any:
  _check_type(data, Mapping, 'a mapping of fields', path)
  hints = _type_hints(kind)
  for key in data:
    if key not in hints:
      raise errors.UserError(unknown_field(join(path, key), key, hints))
  values = {
    key: from_dict(value, hints[key], join(path, key))
    for key, value in data.items()
  }
  return kind(**values)


@functools.cache
def _type_hints(kind: type) -> dict[str, Any]:
  # Reading them takes a third of a sweep's thousand cells.
  return typing.get_type_hints(kind)


def _scalar(data: Any, kind: Any, path: str) -> Any:
  if kind is float and isinstance(data, int) and not isinstance(data, bool):
    try:
      return float(data)
    except OverflowError as error:
      raise errors.UserError(
        f'{path} is a number of more than 308 digits; expected float.'
      ) from error
  # JSON tells true from 1; in Python, True is an int.
  if type(data) is not kind:
    raise errors.UserError(f'{path} is {data!r}; expected {kind.__name__}.')
  return data


def _check_type(
  data: Any, kind: type | types.UnionType, expected: str, path: str
) -> None:
  if not isinstance(data, kind):
    raise errors.UserError(
      f'{path or "the configuration"} is {str(data)[:60]!r}; '
      f'expected {expected}.'
    )


def join(path: str, name: str) -> str:
  """Returns the path of a field below `path`."""
  return f'{path}.{name}' if path else str(name)


def unknown_field(path: str, name: str, known: Iterable[str]) -> str:
  """Returns the line about a field that does not exist."""
  known = list(known)
  hint = names.did_you_mean(name, known) or '.'
  return f"no field '{path}'{hint} Fields there: {', '.join(known) or 'none'}."


def flatten(config: Any, path: str = '') -> dict[str, Any]:
  """Returns path -> value of every leaf; an empty container is a leaf."""
  if dataclasses.is_dataclass(config):
    children = {
      join(path, field.name): getattr(config, field.name)
      for field in dataclasses.fields(config)
    }
  elif isinstance(config, Mapping):
    children = {join(path, key): value for key, value in config.items()}
  elif isinstance(config, list):
    children = {f'{path}[{i}]': value for i, value in enumerate(config)}
  else:
    return {path: config}
  if not children:
    return {path: config}
  leaves = {}
  for child, value in children.items():
    leaves.update(flatten(value, child))
  return leaves


def format_config(config: Any) -> str:
  """Returns one line per value, a column of paths and one of values."""
  leaves = flatten(config)
  width = max(map(len, leaves))
  return '\n'.join(f'{path:{width}}  {v!r}' for path, v in leaves.items())


def summarize(config: Any, full: bool) -> str:
  """Returns the configuration for a person to read.

  Args:
    config: of a dataclass whose fields have defaults.
    full: all of it; else, for a log, what differs from the defaults.
  """
  if full:
    return format_config(config)
  default = type(config)()
  changed = differences(default, config)
  before, after = flatten(default), flatten(config)
  count = sum(_same(before, after, path) for path in after)
  return '\n'.join([*changed, f'{count} settings have their defaults'])


def differences(before: Any, after: Any) -> list[str]:
  """Returns lines such as "learner.learning_rate: 0.001 -> 0.002"."""
  old, new = flatten(before), flatten(after)
  return [
    f'{path}: {_show(old, path)} -> {_show(new, path)}'
    for path in dict.fromkeys([*old, *new])
    if not _same(old, new, path)
  ]


def _same(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> bool:
  if path not in old or path not in new:
    return False
  both_nan = all(
    isinstance(v[path], float) and math.isnan(v[path]) for v in (old, new)
  )
  return both_nan or old[path] == new[path]


def _show(leaves: Mapping[str, Any], path: str) -> str:
  return repr(leaves[path]) if path in leaves else 'absent'
