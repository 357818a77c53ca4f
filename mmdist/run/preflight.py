"""What is checked of a run, and said about it, before anything is loaded."""

from collections.abc import Sequence

from mmdist.config import schema
from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import texts
from mmdist.run import recipes as recipes_lib


def check_priors(
  objective: binding.BoundObjective, config: schema.RunConfig
) -> None:
  """Checks the priors' files, and that each knows the words it will read.

  Priors that are Python objects have no files and are not checked.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  for name, sent in texts.texts_of(objective, config.views).items():
    prior = config.priors[name]
    if not recipes_lib.is_object(prior):
      check_files(prior.directory, sorted(sent), prior.lora)


def check_files(directory: str, sent: Sequence[str], lora: str = '') -> None:
  """Checks one prior's files, and that it knows the words it will read.

  Args:
    directory: as a configuration names it.
    sent: every text that it will be sent.
    lora: of the user's own; '' for none.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  # Here, because it imports torch: mistakes that need no file are said first.
  from mmdist.priors import checks
  from mmdist.priors import locate

  checks.check_prior(locate.locate(directory), sent, lora)


def memory_lines(
  recipes: Sequence[messages.PriorRecipe], num_views: int
) -> list[str]:
  """Returns what each prior will need in memory, nothing of it loaded yet."""
  from mmdist.priors import footprint

  estimates = {
    recipe.spec.name: footprint.estimate(recipe.spec, num_views)
    for recipe in recipes
    if recipes_lib.has_files(recipe)
  }
  return footprint.format_lines(estimates) if estimates else []
