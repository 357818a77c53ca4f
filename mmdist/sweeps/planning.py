"""What a sweep will do: checked, and told, before anything is loaded.

A thousand cells are planned in seconds, since what they have in common, such as
the files of their priors, is read once.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import os
import pathlib
import statistics

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import names as names_lib
from mmdist.core import progress
from mmdist.objectives import binding
from mmdist.objectives import texts
from mmdist.run import device_setup
from mmdist.run import metrics_file
from mmdist.run import preflight
from mmdist.run import recipes as recipes_lib
from mmdist.run import resuming
from mmdist.sweeps import cells as cells_lib
from mmdist.sweeps import folder

_MEASURED_STEPS = 20  # The last ones of a cell: the first ones compile.
_MEASURED_CELLS = 50


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a sweep will do.

  Attributes:
    grid: all cells.
    states: by cell, see `folder.state_of`; 'start' for one that asks nothing,
      'later' for one that is not to be run now.
    recipes: by cell, of the priors that it asks; none for one that is not run.
    warnings: a line about the balance of weights -> cells that it is about.
    step_seconds: of the cells that have run here; None if none has.
  """

  grid: cells_lib.Grid
  states: Mapping[str, str]
  recipes: Mapping[str, Sequence[messages.PriorRecipe]]
  warnings: Mapping[str, Sequence[str]]
  step_seconds: float | None

  @property
  def to_run(self) -> list[cells_lib.Cell]:
    """The cells that are not done, in the order of the grid."""
    return [
      cell
      for cell in self.grid.cells
      if self.states[cell.name] in ('new', 'begun')
    ]

  def of(self, names: Iterable[str]) -> 'Plan':
    """Returns the plan in which only cells of these names are run.

    Raises:
      UserError: there is no such cell.
    """
    names = list(names)
    for name in names:
      if name not in self.states:
        raise errors.UserError(
          names_lib.unknown('cell', name, self.states, 'Cells')
        )
    states = {
      name: 'later'
      if state in ('new', 'begun') and name not in names
      else state
      for name, state in self.states.items()
    }
    return dataclasses.replace(self, states=states)

  def keys(self, name: str) -> set[tuple]:
    """Returns the sharing keys of the frozen models that a cell asks."""
    keys = {recipe.spec.sharing_key for recipe in self.recipes[name]}
    return {key for key in keys if key is not None}

  @property
  def models(self) -> dict[tuple, messages.PriorRecipe]:
    """One recipe for each frozen model that the cells share."""
    found: dict[tuple, messages.PriorRecipe] = {}
    for cell in self.to_run:
      for recipe in self.recipes[cell.name]:
        if recipe.spec.sharing_key is not None:
          found.setdefault(recipe.spec.sharing_key, recipe)
    return found


def make_plan(
  grid: cells_lib.Grid,
  workdir: str | os.PathLike,
  num_cores: int,
) -> Plan:
  """Checks every cell and returns what is left to do.

  Args:
    grid: the cells.
    workdir: of the sweep.
    num_cores: that each cell has; they decide its threads.

  Raises:
    UserError: in one line; a cell cannot be run, which is named, or the folder
      holds another sweep.
    FileNotFoundError: files of a prior are not there.
  """
  folder.check(workdir, grid.cells)
  make_recipes = _RecipeMaker(num_cores)
  states: dict[str, str] = {}
  recipes: dict[str, Sequence[messages.PriorRecipe]] = {}
  warnings: dict[str, list[str]] = {}
  for cell in grid.cells:
    if cell.asks_nothing:
      states[cell.name], recipes[cell.name] = 'start', []
      continue
    states[cell.name] = folder.state_of(workdir, cell)
    try:
      objective = binding.bind_config(cell.config)
      preflight.check_views(objective, cell.config)
      recipes[cell.name] = make_recipes(cell.config, objective)
    except errors.UserError as error:
      raise errors.UserError(f"cell '{cell.name}': {error}") from error
    for line in binding.balance_warnings(objective):
      warnings.setdefault(line, []).append(cell.name)
  make_recipes.check_texts()
  seconds = _step_seconds(workdir, grid.cells)
  return Plan(grid, states, recipes, warnings, seconds)


class _RecipeMaker:
  """Makes recipes for many runs; looks at each file once."""

  def __init__(self, num_cores: int):
    self._num_cores = num_cores
    self._texts: dict[tuple[str, str], set[str]] = {}
    self._files: dict[tuple[str, str], str] = {}

  def __call__(
    self, config: schema.RunConfig, objective: binding.BoundObjective
  ) -> list[messages.PriorRecipe]:
    threads = device_setup.share_cores(len(objective.priors), self._num_cores)
    recipes = recipes_lib.make_recipes(
      config.priors, objective.priors, threads.prior
    )
    for name, sent in texts.texts_of(objective, config.views).items():
      options = config.priors[name]
      key = options.directory, options.lora
      self._texts.setdefault(key, set()).update(sent)
    return [self._with_files(recipe) for recipe in recipes]

  def _with_files(self, recipe: messages.PriorRecipe) -> messages.PriorRecipe:
    options = recipe.spec.options
    key = options.directory, options.lora
    if key not in self._files:
      self._files[key] = resuming.files_digest(*key)
    files = self._files[key]
    return dataclasses.replace(
      recipe, spec=dataclasses.replace(recipe.spec, files=files)
    )

  def check_texts(self) -> None:
    """Checks every text that any cell sends, once for each set of files."""
    for (directory, lora), sent in self._texts.items():
      preflight.check_files(directory, sorted(sent), lora)


def _step_seconds(
  workdir: str | os.PathLike, cells: Sequence[cells_lib.Cell]
) -> float | None:
  """Returns the median of the last steps of cells that ran here."""
  found: list[float] = []
  for cell in cells:
    path = folder.cell_folder(workdir, cell) / metrics_file.NAME
    if len(found) < _MEASURED_CELLS:
      found += _last_seconds(path)
  return statistics.median(found) if found else None


def _last_seconds(path: pathlib.Path) -> list[float]:
  try:
    rows = metrics_file.read(path)[-_MEASURED_STEPS:]
  except errors.UserError:
    return []  # Said where it matters: here it is an estimate less.
  return [row['step_seconds'] for row in rows if 'step_seconds' in row]


def format_plan(plan: Plan, num_slots: int | None, where: str) -> list[str]:
  """Returns what a person reads before the sweep begins.

  Args:
    plan: what will be done.
    num_slots: cells at a time; None: as many as a cluster has room for.
    where: what a slot is, such as '2 cores of this machine'.
  """
  cells = plan.grid.cells
  lines = [
    f'sweep    {len(cells)} cells: '
    + ', '.join(_counts([plan.states[cell.name] for cell in cells]))
  ]
  lines += [
    f'axis     {axis.field} = {", ".join(map(str, axis.values))}'
    for axis in plan.grid.axes
  ]
  if not plan.to_run:
    return lines
  many = 'as many as there is room for' if num_slots is None else num_slots
  lines.append(f'cells    {many} at a time, each on {where}')
  lines += _model_lines(plan)
  lines += _warning_lines(plan)
  lines.append(f'time     {_time(plan, num_slots)}')
  return lines


def format_cells(plan: Plan) -> list[str]:
  """Returns a line for each cell: its name and its state."""
  width = max(len(cell.name) for cell in plan.grid.cells)
  return [
    f'{cell.name:{width}}  {plan.states[cell.name]}' for cell in plan.grid.cells
  ]


_WORDS = {
  'finished': 'finished',
  'begun': 'to go on with',
  'new': 'to begin',
  'later': 'for another time',
  'start': 'that ask nothing and show the start',
}


def _counts(states: Sequence[str]) -> list[str]:
  return [
    f'{states.count(state)} {words}'
    for state, words in _WORDS.items()
    if states.count(state)
  ]


def _model_lines(plan: Plan) -> list[str]:
  """Returns a line for each frozen model, which many cells share."""
  users: dict[tuple, set[str]] = {}
  for cell in plan.to_run:
    for recipe in plan.recipes[cell.name]:
      if recipe.spec.sharing_key is not None:
        users.setdefault(recipe.spec.sharing_key, set()).add(recipe.spec.name)
  num_views = max(cell.config.views.num_views for cell in plan.to_run)
  return [
    f'model    {recipe.spec.options.directory} of '
    f'{", ".join(sorted(users[key]))}, once for all cells; {line}'
    for key, recipe in plan.models.items()
    for line in preflight.estimate_memory([recipe], num_views).lines()[:1]
  ]


def _warning_lines(plan: Plan) -> list[str]:
  """Returns each warning about a balance once, with the cells it is of."""
  to_run = {cell.name for cell in plan.to_run}
  lines = []
  for line, names in plan.warnings.items():
    named = [name for name in names if name in to_run]
    if named:
      more = f' and {len(named) - 3} more' * (len(named) > 3)
      lines.append(f'warning  {line} (cells: {", ".join(named[:3])}{more})')
  return lines


def _time(plan: Plan, num_slots: int | None) -> str:
  steps = sum(cell.config.num_steps for cell in plan.to_run)
  if plan.step_seconds is None:
    return f'{steps} steps; how long one takes is known once a cell has run'
  seconds = steps * plan.step_seconds / max(num_slots or 1, 1)
  return (
    f'{steps} steps of {plan.step_seconds:.2g} s: about '
    f'{progress.format_seconds(seconds)}, without starting'
    f'{", one after the other" * (num_slots is None)}'
  )
