"""From a run's priors to recipes that an executor can build them from.

Nothing here imports torch or JAX: an actor unpickles a recipe in its own
process, and imports there what its prior needs.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from mmdist.config import schema
from mmdist.core import asset_paths
from mmdist.core import errors
from mmdist.core import local_paths
from mmdist.core import messages

# Opens the directory of a prior that is an object of a person's own program.
OBJECT = 'python:'


def make_recipes(
  priors: Mapping[str, schema.PriorConfig],
  asked: Sequence[str],
  num_threads: int,
  objects: Mapping[str, messages.Prior] | None = None,
) -> list[messages.PriorRecipe]:
  """Returns the recipe of each prior that is asked.

  Args:
    priors: by name, from the run's configuration.
    asked: names of the priors that the objective asks.
    num_threads: torch threads of each prior.
    objects: priors of a person's own, by name.

  Raises:
    UserError: the configuration names an object that was not given.
  """
  objects = objects or {}
  recipes = []
  for name in asked:
    spec = make_spec(name, priors[name], priors[name].num_cpus or num_threads)
    if name in objects:
      recipes.append(
        messages.PriorRecipe(spec, GivenPrior(objects[name]), is_given=True)
      )
    elif is_object(priors[name]):
      kind = priors[name].directory.removeprefix(OBJECT)
      raise errors.UserError(
        f"prior '{name}' is a Python object ({kind}) and no file holds it; "
        f'pass it again: mmdist.optimize(..., priors={{{name!r}: ...}}).'
      )
    else:
      recipes.append(messages.PriorRecipe(spec, build_prior))
  return recipes


def make_spec(
  name: str, prior: schema.PriorConfig, num_threads: int
) -> messages.PriorSpec:
  """Returns a prior's spec, as an actor on any machine can open it."""
  options = messages.copy_options(
    prior,
    directory=make_absolute(prior.directory),
    lora=prior.lora and make_absolute(prior.lora),
    loras=tuple((make_absolute(file), scale) for file, scale in prior.loras),
    base=prior.base and make_absolute(prior.base),
  )
  return messages.PriorSpec(name, options, num_threads)


def make_absolute(directory: str) -> str:
  """Returns a path as an actor can open it; other names as they are."""
  # A hub id or an embedded name stands for a folder of the actor's machine.
  if directory in asset_paths.EMBEDDED:
    return directory
  path = local_paths.local(directory)
  if not path.exists():
    return directory
  return str(path.absolute())


def build_prior(spec: messages.PriorSpec) -> messages.Prior:
  """Builds a prior, in the process that runs it: torch is imported there."""
  from mmdist.priors import prior

  return prior.build(spec)


def is_object(prior: schema.PriorConfig) -> bool:
  """Returns whether a prior is an object of a person's own program."""
  return prior.directory.startswith(OBJECT)


def has_files(recipe: messages.PriorRecipe) -> bool:
  """Returns whether a prior is built from files, and not a given object."""
  return not recipe.is_given


def name_of_object(value: Any) -> str:
  """Returns what a run's configuration calls an object: its class, marked."""
  kind = type(value)
  return f'{OBJECT}{kind.__module__}.{kind.__qualname__}'


@dataclasses.dataclass(frozen=True)
class GivenPrior:
  """Builds a prior that exists already.

  Attributes:
    prior: pickled with the recipe, so that an actor gets a copy of its own.
  """

  prior: messages.Prior

  def __call__(self, spec: messages.PriorSpec) -> messages.Prior:
    del spec
    return self.prior
