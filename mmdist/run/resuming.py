"""Whether a run can go on where it stopped, with what has changed since.

`mmdist.run.workdir` compares a run with the folder that holds it. Here are
the checks that have to read the checkpoints, the objective or the priors'
files.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import pathlib

from mmdist.config import changes as config_changes
from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import lora_lists
from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import concept as concept_lib
from mmdist.objectives import schedules
from mmdist.run import opening
from mmdist.run import recipes as recipes_lib
from mmdist.run import workdir as workdir_lib


def weight_digests(
  recipes: Sequence[messages.PriorRecipe],
) -> dict[str, dict[str, str]]:
  """Returns prior -> file -> sha256 of the weights that will be used."""
  # Here, because it may import torch.
  from mmdist.priors import digest

  return {
    recipe.spec.name: digest.weight_digests(
      recipe.spec.options.directory,
      recipe.spec.options.all_loras,
      recipe.spec.options.base,
    )
    for recipe in recipes
    if recipes_lib.has_files(recipe)
  }


def files_digest(
  directory: str, loras: lora_lists.Loras = (), base: str = ''
) -> str:
  """Returns one sha256 over all files that a prior is built from.

  Args:
    directory: as a configuration names it.
    loras: of the user's own.
    base: beside a checkpoint in one file; '' for none.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  from mmdist.priors import digest

  weights = digest.weight_digests(directory, loras, base)
  return digest.files_digest(directory, weights, base)


def with_files(
  recipes: Sequence[messages.PriorRecipe],
  weights: Mapping[str, Mapping[str, str]],
) -> list[messages.PriorRecipe]:
  """Returns the recipes with what says which priors are of the same files.

  Args:
    recipes: of a run's priors.
    weights: what `weight_digests` returned for them.
  """
  from mmdist.priors import digest

  def with_digest(recipe: messages.PriorRecipe) -> messages.PriorRecipe:
    spec = recipe.spec
    if spec.name not in weights:  # An object: nobody else has it.
      return recipe
    files = digest.files_digest(
      spec.options.directory, weights[spec.name], spec.options.base
    )
    return dataclasses.replace(
      recipe, spec=dataclasses.replace(spec, files=files)
    )

  return [with_digest(recipe) for recipe in recipes]


def check_can_follow(
  workdir: pathlib.Path,
  run: schema.RunConfig,
  changes: Sequence[config_changes.Change],
) -> None:
  """Checks that the checkpoints fit a run that was changed with permission.

  Args:
    workdir: the run's folder.
    run: what is to be run.
    changes: how that differs from what the folder holds.

  Raises:
    UserError: other priors would be asked, or more steps are done already.
  """
  if not changes:
    return
  step = opening.newest_step(workdir)
  if run.num_steps < step:
    raise errors.UserError(
      f'num_steps is {run.num_steps}, and {workdir} has a checkpoint of step '
      f'{step}; expected at least as many, or --workdir a new folder.'
    )
  before = workdir_lib.read_config(workdir)
  asked = binding.bind_config(before).priors
  now = binding.bind_config(run).priors
  if asked != now:
    raise errors.UserError(
      f'{workdir} asks the priors {", ".join(asked)} and cannot go on with '
      f'{", ".join(now)}, since a checkpoint holds the proxy of each; let the '
      'same priors be asked, or give --workdir a new folder.'
    )


def rescaled_schedules(
  workdir: pathlib.Path,
  run: schema.RunConfig,
  changes: Sequence[config_changes.Change],
) -> list[str]:
  """Returns a line if another number of steps makes scheduled weights jump.

  A schedule follows the share of the run that is done. With more steps, the
  same step is a smaller share.

  Args:
    workdir: the run's folder.
    run: what is to be run.
    changes: how that differs from what the folder held.
  """
  before = {change.field: change.before for change in changes}.get('num_steps')
  if before is None:
    return []
  step = opening.newest_step(workdir)
  jumps = []
  for one in concept_lib.from_config(run).concepts:
    old, new = (
      float(one.weight)
      * schedules.parse(one.schedule).factor(schedules.progress_at(step, steps))
      for steps in (before, run.num_steps)
    )
    if not math.isclose(old, new, abs_tol=1e-6):
      jumps.append(f"that of '{one.text[:60]}' from {old:.3g} to {new:.3g}")
  if not jumps:
    return []
  return [
    f'num_steps: {before} -> {run.num_steps} stretches the schedules of '
    f'weights, which follow the share of the run; at step {step} '
    f'{", ".join(jumps)}. To keep them, write them as piecewise(...) in shares '
    f'of {run.num_steps} steps.'
  ]


def check_unchanged(
  workdir: pathlib.Path, changes: Sequence[config_changes.Change]
) -> None:
  """Raises UserError if a finished run is to be one of other settings."""
  if changes:
    raise errors.UserError(
      f'{workdir} is finished, so {changes[0].field} would change nothing any '
      'more; give it more steps (num_steps), or --workdir a new folder.'
    )
