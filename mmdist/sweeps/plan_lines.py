"""What a person reads about a sweep before it begins."""

from collections.abc import Sequence
import os

from mmdist.core import progress
from mmdist.objectives import binding
from mmdist.objectives import texts
from mmdist.run import memory_estimate
from mmdist.run import opening
from mmdist.run import preflight
from mmdist.sweeps import folder
from mmdist.sweeps import planning

_MOST_TEXTS = 8  # Of one prior, in the lines; cells say all of theirs.


def format_plan(
  plan: planning.Plan,
  num_slots: int | None,
  where: str,
  workdir: str | os.PathLike,
) -> list[str]:
  """Returns what a person reads before the sweep begins.

  Args:
    plan: what will be done.
    num_slots: cells at a time; None: as many as a cluster has room for.
    where: what a slot is, such as '2 cores of this machine'.
    workdir: of the sweep.
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
  lines += _objective_lines(plan)
  lines += _warning_lines(plan)
  lines.append(f'time     {_time(plan, num_slots, workdir)}')
  return lines


def format_cells(plan: planning.Plan) -> list[str]:
  """Returns a line for each cell: its name, its state and its sums."""
  width = max(len(cell.name) for cell in plan.grid.cells)
  lines = []
  for cell in plan.grid.cells:
    objective = plan.objectives.get(cell.name)
    sums = binding.signed_sum(objective) if objective else {}
    shown = ', '.join(f'{c} S = {total:g}' for c, total in sums.items())
    state = plan.states[cell.name]
    lines.append(f'{cell.name:{width}}  {state:8}  {shown}'.rstrip())
  return lines


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


def _model_lines(plan: planning.Plan) -> list[str]:
  """Returns a line for each frozen model, which many cells share."""
  users: dict[tuple, set[str]] = {}
  for cell in plan.to_run:
    for recipe in plan.recipes[cell.name]:
      if recipe.spec.sharing_key is not None:
        users.setdefault(recipe.spec.sharing_key, set()).add(recipe.spec.name)
  num_views = planning.count_views(plan)
  num_texts = planning.count_texts(plan)
  lines = []
  for key, recipe in plan.models.items():
    counts = {recipe.spec.name: num_texts[key]}
    memory = memory_estimate.estimate_memory([recipe], num_views[key], counts)
    lines += [
      f'model    {recipe.spec.options.directory} of '
      f'{", ".join(sorted(users[key]))}, once for all cells; {line}'
      for line in memory.lines()[:1]
    ]
  return lines


def _objective_lines(plan: planning.Plan) -> list[str]:
  """Returns what each prior will read, the sums, and what the paper leaves."""
  sent: dict[str, dict[str, None]] = {}
  sums: dict[str, list[float]] = {}
  left_open: dict[str, None] = {}
  for cell in plan.to_run:
    objective = plan.objectives[cell.name]
    for name in objective.priors:
      terms = objective.of_prior(name)
      sent.setdefault(name, {}).update(dict.fromkeys(t.prompt for t in terms))
    for channel, total in binding.signed_sum(objective).items():
      sums.setdefault(channel, []).append(total)
    left_open[preflight.left_open(objective, cell.config)] = None
  words = texts.view_words(plan.to_run[0].config.views)
  lines = []
  for name, prompts in sent.items():
    shown = ', '.join(f"'{text}'" for text in list(prompts)[:_MOST_TEXTS])
    more = len(prompts) - _MOST_TEXTS
    lines.append(
      f'reads    {name}: {shown}{f" and {more} more" * (more > 0)}'
      f'{f", with each of {len(words)} view words" * bool(words)}'
    )
  ranges = [
    f'{channel} S = {_range(totals)}' for channel, totals in sums.items()
  ]
  modes = dict.fromkeys(cell.config.mode for cell in plan.to_run)
  lines.append(
    f'balance  {", ".join(ranges)}; composed by {" or ".join(modes)}'
  )
  return lines + [f'open     {line}' for line in left_open]


def _range(numbers: Sequence[float]) -> str:
  low, high = min(numbers), max(numbers)
  return f'{low:g}' if low == high else f'{low:g} to {high:g}'


def _warning_lines(plan: planning.Plan) -> list[str]:
  """Returns each warning about a balance once, with the cells it is of."""
  to_run = {cell.name for cell in plan.to_run}
  lines = []
  for line, names in plan.warnings.items():
    named = [name for name in names if name in to_run]
    if named:
      more = f' and {len(named) - 3} more' * (len(named) > 3)
      lines.append(f'warning  {line} (cells: {", ".join(named[:3])}{more})')
  return lines


def _time(
  plan: planning.Plan, num_slots: int | None, workdir: str | os.PathLike
) -> str:
  steps = sum(
    cell.config.num_steps
    - opening.newest_step(folder.cell_folder(workdir, cell))
    for cell in plan.to_run
  )
  if plan.step_seconds is None:
    return f'{steps} steps; how long one takes is known once a cell has run'
  seconds = steps * plan.step_seconds / max(num_slots or 1, 1)
  return (
    f'{steps} steps of {plan.step_seconds:.2g} s: about '
    f'{progress.format_seconds(seconds)}, without starting'
    f'{", one after the other" * (num_slots is None)}'
  )
