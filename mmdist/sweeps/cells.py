"""The cells of a sweep: runs that differ in a few fields, by a name each.

A grid is the product of axes. An axis is a concept's weight, or any other field
of the configuration, and its values. The first axis runs down the rows of the
contact sheet, the second across its columns, and further ones are blocks.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import hashlib
import itertools
import re
from typing import Any

from mmdist.config import fields
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.config import validation
from mmdist.core import errors
from mmdist.core import names
from mmdist.core import strict_json

MAX_NAME = 64  # Letters of a cell's name, which is its folder's.


_EMPTY = (
  'the sweep has no cell; expected one axis or more, such as '
  "--grid='happy=0,0.5,1'."
)


@dataclasses.dataclass(frozen=True)
class Axis:
  """One field of a grid.

  Attributes:
    field: a path, or the name of a concept, whose weight is meant.
    values: in the order in which they are shown.
  """

  field: str
  values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
  """One run of a sweep.

  Attributes:
    name: of its folder.
    config: all of its settings, checked.
    values: field -> value, what tells it from the others.
  """

  name: str
  config: schema.RunConfig
  values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def asks_nothing(self) -> bool:
    """Whether all of its weights are zero, so that it stays the start."""
    concepts = self.config.concepts
    return bool(concepts) and not any(concept.weight for concept in concepts)


@dataclasses.dataclass(frozen=True)
class Grid:
  """Cells, and how they are laid out.

  Attributes:
    axes: of the layout; empty for cells that were listed.
    cells: in the order of the layout, the last axis fastest.
  """

  axes: tuple[Axis, ...]
  cells: tuple[Cell, ...]


def grid(
  config: schema.RunConfig, axes: Mapping[str, Sequence[Any]] | Sequence[Axis]
) -> Grid:
  """Returns the product of axes over a configuration.

  Args:
    config: what all cells have in common.
    axes: field, or name of a concept -> its values; see `Axis`.

  Raises:
    UserError: an axis has no value, or one twice; a field or concept is
      unknown; a value is none of the field.
  """
  if not axes:
    raise errors.UserError(_EMPTY)
  if isinstance(axes, Mapping):
    axes = [Axis(field, tuple(values)) for field, values in axes.items()]
  _check_axes(config, axes)
  combinations = itertools.product(*(axis.values for axis in axes))
  described = [
    dict(zip([axis.field for axis in axes], values, strict=True))
    for values in combinations
  ]
  return Grid(tuple(axes), listed(config, described))


def listed(
  config: schema.RunConfig, described: Iterable[Mapping[str, Any]]
) -> tuple[Cell, ...]:
  """Returns cells, each given by the fields in which it differs.

  Args:
    config: what they have in common.
    described: per cell, path or name of a concept -> value. The key 'name' is
      the cell's; without one it is named after its values.

  Raises:
    UserError: see `grid`; or two cells are the same run.
  """
  cells = []
  for values in described:
    values = dict(values)
    given = values.pop('name', None)
    name = name_of(values) if given in (None, '') else str(given)
    changed = fields.set_fields(config, values)
    validation.validate(changed)
    cells.append(Cell(name, changed, values))
  return check_cells(cells)


def check_cells(cells: Iterable[Cell]) -> tuple[Cell, ...]:
  """Returns cells if there are some, all named, and no two the same.

  Raises:
    UserError: in one line.
  """
  cells = tuple(cells)
  if not cells:
    raise errors.UserError(_EMPTY)
  by_name: dict[str, Cell] = {}
  by_content: dict[str, Cell] = {}
  for cell in cells:
    names.check_file_name('a cell', cell.name)
    content = strict_json.dumps(
      serialization.to_dict(cell.config), sort_keys=True
    )
    twin = by_content.get(content) or by_name.get(cell.name)
    if twin is not None:
      what = 'the same run' if content in by_content else 'of one name'
      raise errors.UserError(
        f"the cells '{twin.name}' and '{cell.name}' are {what}; expected each "
        'once.'
      )
    by_name[cell.name] = by_content[content] = cell
  return cells


def name_of(values: Mapping[str, Any]) -> str:
  """Returns a file name made of what tells a cell from the others.

  Short values are readable in it, such as 'happy_0.5-sad_1'. A long name is cut
  and ends in a few digits of a hash, so that it differs from others.
  """
  parts = []
  for field, value in values.items():
    part = f'{field.rpartition(".")[2]}_{_shown(value)}'
    parts.append(re.sub(r'[^\w.-]+', '-', part, flags=re.ASCII).strip('-'))
  name = '-'.join(parts) or 'cell'
  if len(name) <= MAX_NAME and _is_exact(values):
    return name
  # A value may be anything here, such as a date: it is checked afterwards.
  exact = strict_json.dumps(
    serialization.to_dict(dict(values)), sort_keys=True, default=str
  )
  digits = hashlib.sha256(exact.encode()).hexdigest()[:8]
  return f'{name[: MAX_NAME - 9]}-{digits}'


def _is_exact(values: Mapping[str, Any]) -> bool:
  """Returns whether the name says every value in full."""
  return all(
    re.fullmatch(r'[\w.-]*', _shown(value), re.ASCII)
    for value in values.values()
  )


def _shown(value: Any) -> str:
  if isinstance(value, float):
    return f'{value:g}' if float(f'{value:g}') == value else repr(value)
  return str(value)


def _check_axes(config: schema.RunConfig, axes: Sequence[Axis]) -> None:
  paths: dict[str, str] = {}
  for axis in axes:
    path = fields.resolve(config, axis.field)
    if path in paths:
      raise errors.UserError(
        f"two axes of the grid set '{path}'; expected one for each field."
      )
    paths[path] = axis.field
    if not axis.values:
      raise errors.UserError(
        f"axis '{axis.field}' of the grid has no values; expected some, such "
        f"as --grid='{axis.field}=0,0.5,1'."
      )
    seen: list[Any] = []
    for value in axis.values:
      if value in seen:
        raise errors.UserError(
          f"axis '{axis.field}' of the grid has {_shown(value)} twice; "
          'expected each value once.'
        )
      seen.append(value)
