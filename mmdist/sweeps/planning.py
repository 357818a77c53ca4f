"""What a sweep will do: checked, and told, before anything is loaded.

A thousand cells are planned in seconds, since what they have in common, such as
the files of their priors, is read once.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
import dataclasses
import os
import pathlib
import statistics

import jax

from mmdist.api import impossible_texts
from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import guidance_kinds
from mmdist.core import lora_lists
from mmdist.core import messages
from mmdist.core import names as names_lib
from mmdist.learner import learner_memory
from mmdist.learner import start
from mmdist.objectives import binding
from mmdist.objectives import texts
from mmdist.run import device_setup
from mmdist.run import memory_estimate
from mmdist.run import metrics_file
from mmdist.run import opening
from mmdist.run import preflight
from mmdist.run import recipes as recipes_lib
from mmdist.run import resuming
from mmdist.run import workdir as workdir_lib
from mmdist.sweeps import cell_names
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
    objectives: by cell, of those that ask something.
  """

  grid: cells_lib.Grid
  states: Mapping[str, str]
  recipes: Mapping[str, Sequence[messages.PriorRecipe]]
  warnings: Mapping[str, Sequence[str]]
  step_seconds: float | None
  objectives: Mapping[str, binding.BoundObjective] = dataclasses.field(
    default_factory=dict
  )

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
  only: Collection[str] | None = None,
) -> Plan:
  """Checks every cell and returns what is left to do.

  Args:
    grid: the cells.
    workdir: of the sweep.
    num_cores: that each cell has; they decide its threads.
    only: names of the cells to run now; None: all. What the others would load
      need not be there yet, so it is not looked at.

  Raises:
    UserError, OSError: in one line; a cell cannot be run, or its folder holds
      something else, which is named, or the folder holds another sweep, or
      there is no cell of a name in `only`.
  """
  folder.check(workdir, grid)
  chosen = {cell.name for cell in grid.cells} if only is None else set(only)
  make_recipes = _RecipeMaker(num_cores)
  check_start = _StartCheck()
  objectives: dict[str, binding.BoundObjective] = {}
  states: dict[str, str] = {}
  recipes: dict[str, Sequence[messages.PriorRecipe]] = {}
  warnings: dict[str, list[str]] = {}
  for cell in grid.cells:
    if cell.asks_nothing:
      states[cell.name], recipes[cell.name] = 'start', []
      continue
    with cell_names.naming(cell.name):
      # Also of a finished one: what a person changed there by hand would else
      # be shown as this cell's.
      if os.path.lexists(path := folder.cell_folder(workdir, cell)):
        workdir_lib.check(path, cell.config)
      states[cell.name] = folder.state_of(workdir, cell)
      objective = binding.bind_config(cell.config)
      preflight.check_views(objective, cell.config)
      recipes[cell.name] = []
      if cell.name in chosen:
        check_start(cell.config)
        recipes[cell.name] = make_recipes(cell.config, objective)
    objectives[cell.name] = objective
    for line in (
      *binding.balance_warnings(objective),
      *impossible_texts.warnings_of(objective, cell.config),
    ):
      warnings.setdefault(line, []).append(cell.name)
  make_recipes.check_texts()
  seconds = _step_seconds(workdir, grid.cells)
  plan = Plan(grid, states, recipes, warnings, seconds, objectives)
  return plan.of(chosen)


class _StartCheck:
  """Checks what runs start from; reads each network once."""

  def __init__(self) -> None:
    self._seen: set[str] = set()

  def __call__(self, config: schema.RunConfig) -> None:
    key = repr((config.nerf_assets, config.nerf, config.learner.start_code))
    if key not in self._seen:
      start.check(config)
      self._seen.add(key)


class _RecipeMaker:
  """Makes recipes for many runs; looks at each file once."""

  def __init__(self, num_cores: int):
    self._num_cores = num_cores
    self._texts: dict[tuple, tuple[messages.PriorOptions, set[str]]] = {}
    self._files: dict[tuple[str, lora_lists.Loras, str], str] = {}

  def __call__(
    self, config: schema.RunConfig, objective: binding.BoundObjective
  ) -> list[messages.PriorRecipe]:
    threads = device_setup.share_cores(len(objective.priors), self._num_cores)
    recipes = recipes_lib.make_recipes(
      config.priors, objective.priors, threads.prior
    )
    for name, sent in texts.texts_of(objective, config.views).items():
      options = config.priors[name]
      inverted = guidance_kinds.is_inverted(options)
      files = options.directory, options.all_loras, options.base
      key = *files, inverted, options.prompt_chunks
      self._texts.setdefault(key, (options, set()))[1].update(sent)
    return [self._with_files(recipe) for recipe in recipes]

  def _with_files(self, recipe: messages.PriorRecipe) -> messages.PriorRecipe:
    options = recipe.spec.options
    key = options.directory, options.all_loras, options.base
    if key not in self._files:
      try:
        self._files[key] = resuming.files_digest(*key)
      except FileNotFoundError as error:
        field = f'priors.{recipe.spec.name}'
        raise FileNotFoundError(f'{field}: {error}') from error
    files = self._files[key]
    return dataclasses.replace(
      recipe, spec=dataclasses.replace(recipe.spec, files=files)
    )

  def check_texts(self) -> None:
    """Checks every text that any cell sends, once for each set of files."""
    for options, sent in self._texts.values():
      preflight.check_files(options, sorted(sent))


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
  seconds = [row.get('step_seconds') for row in rows]
  return [one for one in seconds if isinstance(one, int | float)]


def _label(recipe: messages.PriorRecipe) -> str:
  """Returns a name that tells a frozen model from all others of a sweep."""
  options = recipe.spec.options
  loras = [f'{file} {scale}' for file, scale in options.all_loras]
  kind = ' '.join([options.directory, *loras])
  return f'{recipe.spec.name} ({kind}, {options.dtype}, {options.device})'


def count_views(plan: Plan) -> dict[tuple, int]:
  """Returns the most views that any cell shows each frozen model."""
  return _most_of_any(
    plan,
    lambda cell: memory_estimate.count_views(
      plan.objectives[cell.name], cell.config.views
    ),
  )


def count_texts(plan: Plan) -> dict[tuple, int]:
  """Returns the most texts that any cell asks of each frozen model."""
  return _most_of_any(
    plan, lambda cell: memory_estimate.count_texts(plan.objectives[cell.name])
  )


def _most_of_any(
  plan: Plan, count: Callable[[cells_lib.Cell], Mapping[str, int]]
) -> dict[tuple, int]:
  most: dict[tuple, int] = {}
  for cell in plan.to_run:
    counts = count(cell)
    for recipe in plan.recipes[cell.name]:
      key, name = recipe.spec.sharing_key, recipe.spec.name
      if key is not None:
        most[key] = max(most.get(key, 1), counts[name])
  return most


def estimate_learner(
  plan: Plan, num_cores: int
) -> learner_memory.LearnerMemory:
  """Returns what the largest learner of the cells to be run will need.

  Args:
    plan: of which at least one cell is to be run.
    num_cores: that each cell has.
  """
  found: dict[str, learner_memory.LearnerMemory] = {}
  for cell in plan.to_run:
    config = cell.config
    with_normals = 'normal' in plan.objectives[cell.name].channels
    key = repr((config.nerf, config.learner, config.views, with_normals))
    if key not in found:
      representation = opening.representation_of(config)
      # Only shapes: JAX would else start here, and take a GPU from the cells.
      seed = jax.eval_shape(lambda: jax.random.key(0))
      params = jax.eval_shape(representation.init, seed)
      num_devices = config.learner.num_devices or num_cores
      found[key] = learner_memory.estimate(
        representation, params, config, num_devices, with_normals
      )
  return max(found.values(), key=lambda one: one.on_machine)


def estimate_memory(
  plan: Plan, num_slots: int, executor: str
) -> tuple[memory_estimate.MemoryEstimate, int]:
  """Estimates what the priors of a sweep will need on one machine.

  What its learners will need is not in it; see `estimate_learner`.

  Args:
    plan: of which at least one cell is to be run.
    num_slots: cells at a time.
    executor: 'ray' has each frozen model once, and the proxies of each cell;
      'inline' has the priors of each cell in its own process.

  Returns:
    The estimate, and how many processes hold all of it.
  """
  if executor == 'inline':
    most = max(plan.to_run, key=lambda cell: len(plan.recipes[cell.name]))
    recipes = plan.recipes[most.name]
    objective = plan.objectives[most.name]
    views = memory_estimate.count_views(objective, most.config.views)
    counts = memory_estimate.count_texts(objective)
    return memory_estimate.estimate_memory(recipes, views, counts), num_slots
  num_views, num_texts = count_views(plan), count_texts(plan)
  # Copies of one recipe are estimated as priors that share their model.
  copies, views, counts = [], {}, {}
  for key, recipe in plan.models.items():
    for slot in range(num_slots):
      name = f'{_label(recipe)}{f" of cell {slot + 1}" * bool(slot)}'
      views[name], counts[name] = num_views[key], num_texts[key]
      spec = dataclasses.replace(recipe.spec, name=name)
      copies.append(dataclasses.replace(recipe, spec=spec))
  return memory_estimate.estimate_memory(copies, views, counts), 1
