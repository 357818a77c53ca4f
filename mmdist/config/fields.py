"""Sets one field of a configuration by its path, or by the name of a concept.

Paths are those of `mmdist.config.serialization`: `learner.learning_rate`,
`concepts[0].text`. The name of a concept stands for its weight.
"""

import ast
from collections.abc import Mapping
import re
from typing import Any

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import errors
from mmdist.core import lora_lists

# What Python raises where a text is no value; the last two of many brackets.
_NO_VALUE = (
  ValueError,
  SyntaxError,
  KeyError,
  TypeError,
  MemoryError,
  RecursionError,
)
_WEIGHT = re.compile(r'concepts\[(\d+)\]\.weight')
_LORAS = re.compile(r'priors\.\w+\.loras')
_PART = re.compile(r'\.?([A-Za-z_][\w-]*)|\[(\d+)\]')


def resolve(config: schema.RunConfig, name: str) -> str:
  """Returns the path that a name stands for.

  Args:
    config: of a run.
    name: a path, or the name of one of the run's concepts.

  Raises:
    UserError: there is neither; names the nearest of both.
  """
  concepts = {concept.name: i for i, concept in enumerate(config.concepts)}
  if name in concepts and name:
    return f'concepts[{concepts[name]}].weight'
  leaves = serialization.flatten(config)
  if name in leaves:
    return name
  below = [path for path in leaves if path.startswith((f'{name}.', f'{name}['))]
  if below:
    raise errors.UserError(
      f"'{name}' is not one value; expected one of: {', '.join(below)}."
    )
  known = [*filter(None, concepts), *leaves]
  line = serialization.unknown_field(name, name, known)
  # Concepts only: they are meant mostly, and there are hundreds of fields.
  hint = line.partition(' Fields there: ')[0]
  named = ', '.join(filter(None, concepts))
  raise errors.UserError(
    f'{hint} Concepts: {named or "none has a name"}; fields: '
    '`mmdist optimize --help` lists them.'
  )


def set_fields(
  config: schema.RunConfig, values: Mapping[str, Any]
) -> schema.RunConfig:
  """Returns a copy of a configuration with other values in some fields.

  Args:
    config: it stays as it is.
    values: path or name of a concept -> value.

  Raises:
    UserError: a field is unknown, or a value has another type than it.
  """
  data = serialization.to_dict(config)
  for name, value in values.items():
    _set(data, resolve(config, name), serialization.to_dict(value))
  try:
    return serialization.from_dict(data, type(config))
  except errors.UserError as error:
    raise errors.UserError(_with_names(config, str(error))) from error


def called(config: schema.RunConfig, path: str) -> str:
  """Returns what a message calls a field: a concept's weight by its name."""
  weight = _WEIGHT.fullmatch(path)
  name = config.concepts[int(weight[1])].name if weight else ''
  return f"the weight of '{name}'" if name else path


def _with_names(config: schema.RunConfig, line: str) -> str:
  path, space, rest = line.partition(' ')
  return f'{called(config, path)}{space}{rest}'


def _set(data: Any, path: str, value: Any) -> None:
  keys = [
    match[1] if match[1] is not None else int(match[2])
    for match in _PART.finditer(path)
  ]
  for key in keys[:-1]:
    data = data[key]
  data[keys[-1]] = value


def parse(config: schema.RunConfig, name: str, text: str) -> Any:
  """Returns the value that a text stands for in a field.

  Args:
    config: of a run.
    name: path of the field, or the name of a concept.
    text: as a command line has it.

  Raises:
    UserError: the field is unknown, or the text is no value of its type.
  """
  path = resolve(config, name)
  before = serialization.flatten(config)[path]
  text = text.strip()
  if _LORAS.fullmatch(path):
    return lora_lists.parse(text, name)
  try:
    return _read(text, before)
  except _NO_VALUE as error:
    kind = 'number' if type(before) in (int, float) else type(before).__name__
    raise errors.UserError(
      f"{name} is '{text}'; expected a {kind}, such as {before!r}."
    ) from error


def _read(text: str, like: Any) -> Any:
  if isinstance(like, bool):
    return {'true': True, 'false': False}[text.lower()]
  if isinstance(like, int):
    return int(text)
  if isinstance(like, float):
    return float(text)
  if isinstance(like, str):
    return text
  value = ast.literal_eval(text)
  if not isinstance(value, type(like) | list | tuple):
    raise ValueError(text)
  return value
