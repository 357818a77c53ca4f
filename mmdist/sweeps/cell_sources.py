"""Cells as a person writes them: axes on a command line, or a file of cells."""

from collections.abc import Mapping, Sequence
import dataclasses
import re
from typing import Any

from mmdist.config import experiments
from mmdist.config import fields
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.config import validation
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.sweeps import cell_names
from mmdist.sweeps import cells
from mmdist.sweeps import plain_yaml

_CLOSING = {'(': ')', '[': ']', '{': '}', '"': '"', "'": "'"}
_QUOTES = '\'"'
# A number that YAML 1.1 takes for a text, such as 1e-3.
_EXPONENT = re.compile(r'[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+')


def find_cells(
  config: schema.RunConfig,
  axes: Sequence[str] = (),
  file: str = '',
  study: str = '',
  settings: Sequence[str] = (),
) -> cells.Grid:
  """Returns the cells that a command line asks for.

  Args:
    config: what they have in common.
    axes: see `parse_axis`.
    file: see `read_cells`; in place of axes.
    study: of `experiments/studies.py`, whose cells have experiments of their
      own; in place of both.
    settings: FIELD=VALUE, for every cell.

  Raises:
    UserError, FileNotFoundError: in one line.
  """
  if study:
    if config != experiments.load('generate'):
      raise errors.UserError(
        'a study has experiments of its own, so --config is not used; give '
        '--set=FIELD=VALUE for what all of its cells are to have.'
      )
    studies = experiments.load_module('studies')
    found = studies['get_study'](study)
    comparison = studies['get_comparison'](study)
    return cells.Grid((), _with_settings(found, settings), comparison)
  for setting in settings:
    config = set_one(config, setting)
  if file:
    return cells.Grid((), read_cells(file, config))
  return cells.grid(config, [parse_axis(config, axis) for axis in axes])


def _with_settings(
  found: Sequence[cells.Cell], settings: Sequence[str]
) -> tuple[cells.Cell, ...]:
  changed = []
  for cell in found:
    config = cell.config
    with cell_names.naming(cell.name):
      for setting in settings:
        config = set_one(config, setting)
      validation.validate(config)
    changed.append(dataclasses.replace(cell, config=config))
  return cells.check_cells(changed)


def set_one(config: schema.RunConfig, setting: str) -> schema.RunConfig:
  """Returns a configuration with one field set as FIELD=VALUE says.

  Raises:
    UserError: in one line.
  """
  name, equals, value = setting.partition('=')
  if not equals:
    raise errors.UserError(
      f"--set='{setting}' sets nothing; expected FIELD=VALUE."
    )
  return fields.set_fields(config, {name: fields.parse(config, name, value)})


def parse_axis(config: schema.RunConfig, text: str) -> cells.Axis:
  """Reads 'happy=0,0.5,1', or any field in place of a concept's name.

  A value that has commas of its own stands in quotes or brackets.

  Args:
    config: that the axis is of.
    text: FIELD=VALUE,VALUE,...

  Raises:
    UserError: in one line.
  """
  name, equals, listed = text.partition('=')
  name = name.strip()
  if not equals or not name:
    raise errors.UserError(
      f"--grid='{text}' is no axis; expected FIELD=VALUE,VALUE,... with the "
      'name of a concept or a field of the configuration, such as '
      "--grid='happy=0,0.5,1'."
    )
  values = [] if not listed.strip() else split(listed)
  return cells.Axis(
    name, tuple(fields.parse(config, name, value) for value in values)
  )


def split(text: str) -> list[str]:
  """Splits at commas outside of quotes and brackets; takes quotes off.

  A quote opens a value only at its beginning: "a man's hat" has an apostrophe.
  """
  parts, part, closing = [], '', ''
  for letter in text:
    if closing:
      closing = '' if letter == closing else closing
    elif letter in _CLOSING and not (letter in _QUOTES and part.strip()):
      closing = _CLOSING[letter]
    elif letter == ',':
      parts.append(part)
      part = ''
      continue
    part += letter
  return [_unquote(one.strip()) for one in [*parts, part]]


def _unquote(text: str) -> str:
  quoted = len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES
  return text[1:-1] if quoted else text


def read_cells(path: str, config: schema.RunConfig) -> tuple[cells.Cell, ...]:
  """Returns the cells that a file lists.

  A YAML file holds a list of mappings, each with the fields in which a cell
  differs and perhaps its `name`. A Python file defines `get_cells(config)`,
  which returns such a list; it is run.

  Args:
    path: of the file.
    config: what the cells have in common.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  file = local_paths.local(path)
  if not file.is_file():
    raise FileNotFoundError(
      f'{path} is no file; expected the cells of a sweep, as YAML or Python.'
    )
  if file.suffix == '.py':
    described = experiments.call(file, 'get_cells', config, takes='config')
  elif file.suffix in ('.yaml', '.yml', '.json'):
    described = plain_yaml.read(file)
  else:
    raise errors.UserError(
      f'{path} is no file of cells; expected one that ends in .yaml or .py.'
    )
  return cells.listed(config, _check_list(path, described))


def _check_list(path: str, described: Any) -> Sequence[Mapping[str, Any]]:
  if isinstance(described, Mapping) and set(described) == {'cells'}:
    described = described['cells']
  if not isinstance(described, Sequence) or not all(
    isinstance(cell, Mapping) for cell in described
  ):
    raise errors.UserError(
      f'{path} holds no list of cells; expected a list of mappings, such as '
      '"- {happy: 0.5, seed: 1}".'
    )
  try:
    plain = [serialization.to_dict(cell) for cell in described]
  except RecursionError as error:
    raise errors.UserError(
      f'{path} holds a cell that is part of itself; expected numbers, texts '
      'and lists as values.'
    ) from error
  return [
    {
      str(key): value if key == 'name' else _number(value)
      for key, value in cell.items()
    }
    for cell in plain
  ]


def _number(value: Any) -> Any:
  """Returns the number that a text such as 1e-3 means; else the value."""
  if isinstance(value, str) and _EXPONENT.fullmatch(value):
    return float(value)
  return value
