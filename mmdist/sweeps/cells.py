"""The cells of a sweep: runs that differ in a few fields, by a name each.

A grid is the product of axes. An axis is a concept's weight, or any other field
of the configuration, and its values. The first axis runs down the rows of the
contact sheet, the second across its columns, and further ones are blocks.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import itertools
from typing import Any

from mmdist.config import deciding
from mmdist.config import fields
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.config import validation
from mmdist.core import errors
from mmdist.core import strict_json
from mmdist.sweeps import cell_names
from mmdist.sweeps import claims
from mmdist.sweeps import columns

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
    comparison: what is claimed about the cells; None: nothing.
  """

  axes: tuple[Axis, ...]
  cells: tuple[Cell, ...]
  comparison: claims.Comparison | None = None


def grid(
  config: schema.RunConfig,
  axes: Mapping[str, Iterable[Any]] | Sequence[Axis] = (),
  **more: Iterable[Any],
) -> Grid:
  """Returns the product of axes over a configuration.

  `grid(config, {'happy': [0, 1], 'learner.learning_rate': [1e-3, 3e-3]})`, or
  `grid(config, happy=[0, 1], seed=range(3))` where the names allow it.

  Args:
    config: what all cells have in common.
    axes: field, or name of a concept -> its values; see `Axis`.
    **more: further axes, behind the others.

  Raises:
    UserError: an axis has no value, or one twice; a field or concept is
      unknown, or decides nothing about the avatar; a value is none of the
      field.
  """
  found = _read_axes(axes) + _read_axes(more)
  if not found:
    raise errors.UserError(_EMPTY)
  _check_axes(config, found)
  combinations = itertools.product(*(axis.values for axis in found))
  described = [
    dict(zip([axis.field for axis in found], values, strict=True))
    for values in combinations
  ]
  return Grid(tuple(found), listed(config, described))


def _read_axes(
  axes: Mapping[str, Iterable[Any]] | Sequence[Axis],
) -> list[Axis]:
  if isinstance(axes, Mapping):
    return [_read_axis(field, values) for field, values in axes.items()]
  for axis in axes:
    if not isinstance(axis, Axis):
      raise errors.UserError(
        f'{axis!r} is no axis of a grid; expected a mapping, such as '
        "{'happy': [0, 0.5, 1]}."
      )
  return [_read_axis(axis.field, axis.values) for axis in axes]


def _read_axis(field: str, values: Any) -> Axis:
  values = _plain(values)
  what = f"axis '{field}' of the grid is {values!r}; expected a list of values"
  if isinstance(values, Mapping | set | frozenset):
    raise errors.UserError(f'{what}, in the order in which they are shown.')
  # The letters of a text are not meant.
  if isinstance(values, str | bytes) or not isinstance(values, Iterable):
    raise errors.UserError(f'{what}, such as [{values!r}].')
  return Axis(field, tuple(_plain(value) for value in values))


def _plain(value: Any) -> Any:
  """Returns a number or an array of numpy's as Python's, also inside a list."""
  if hasattr(value, 'tolist'):
    return value.tolist()
  if isinstance(value, tuple):
    return tuple(_plain(one) for one in value)
  return [_plain(one) for one in value] if isinstance(value, list) else value


def _plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
  return {field: _plain(value) for field, value in values.items()}


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
  for one in described:
    values = _plain_values(one)
    given = values.pop('name', None)
    name = cell_names.make(values) if given in (None, '') else str(given)
    with cell_names.naming(name):
      changed = fields.set_fields(config, values)
      validation.validate(changed)
    cells.append(Cell(name, changed, values))
  return check_cells(cells)


def check_cells(cells: Iterable[Cell]) -> tuple[Cell, ...]:
  """Returns cells if there are some, all named, and no two the same.

  Raises:
    UserError: in one line.
  """
  cells = tuple(
    dataclasses.replace(cell, values=_plain_values(cell.values))
    for cell in cells
  )
  if not cells:
    raise errors.UserError(_EMPTY)
  by_name: dict[str, Cell] = {}
  by_content: dict[str, Cell] = {}
  for cell in cells:
    cell_names.check(cell.name)
    for field in cell.values:
      _check_column(f"cell '{cell.name}'", field)
    content = strict_json.dumps(
      serialization.to_dict(deciding.deciding_fields(cell.config)),
      sort_keys=True,
    )
    if content in by_content:
      raise errors.UserError(_same_run(by_content[content], cell))
    if cell.name in by_name:
      raise errors.UserError(
        f"the cells '{cell.name}' and '{cell.name}' are of one name; expected "
        'each once.'
      )
    by_name[cell.name] = by_content[content] = cell
  return cells


def _same_run(first: Cell, second: Cell) -> str:
  """Returns the line about two cells that would become the same avatar."""
  before, after = map(serialization.flatten, (first.config, second.config))
  idle = [
    f"; in '{path}' they differ, but {why}"
    for path in before
    if before[path] != after.get(path)
    and (why := deciding.why_idle(first.config, path))
  ]
  return (
    f"the cells '{first.name}' and '{second.name}' are the same run"
    f'{"".join(idle[:1])}; expected each once.'
  )


def _check_axes(config: schema.RunConfig, axes: Sequence[Axis]) -> None:
  paths: dict[str, str] = {}
  for axis in axes:
    path = fields.resolve(config, axis.field)
    if path in paths:
      raise errors.UserError(
        f"two axes of the grid set '{path}'; expected one for each field."
      )
    paths[path] = axis.field
    _check_column(f"axis '{axis.field}' of the grid", axis.field)
    why = deciding.why_idle(config, path)
    if why:
      raise errors.UserError(
        f"axis '{axis.field}' of the grid decides nothing: {why}; expected a "
        'field that does. What all cells are to have is set once, with --set '
        'or in the configuration.'
      )
    _check_values(axis)


def _check_column(what: str, field: str) -> None:
  if columns.is_own(field):
    raise errors.UserError(
      f"{what} sets '{field}', and the table has a column '{field}' of its "
      "own; expected another name: rename the concept, or write its weight's "
      'path, such as concepts[0].weight.'
    )


def _check_values(axis: Axis) -> None:
  if not axis.values:
    raise errors.UserError(
      f"axis '{axis.field}' of the grid has no values; expected some, such "
      f"as --grid='{axis.field}=0,0.5,1'."
    )
  seen: list[Any] = []
  for value in axis.values:
    if value in seen:
      raise errors.UserError(
        f"axis '{axis.field}' of the grid has {cell_names.show(value)} twice; "
        'expected each value once.'
      )
    seen.append(value)
