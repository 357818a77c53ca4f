"""What is checked of a run, and said about it, before anything is loaded."""

from collections.abc import Sequence

from mmdist.cameras import orbits
from mmdist.config import schema
from mmdist.core import messages
from mmdist.objectives import binding
from mmdist.objectives import prompts
from mmdist.run import recipes as recipes_lib


def check_priors(
  objective: binding.BoundObjective, config: schema.RunConfig
) -> None:
  """Checks the priors' files, and that each knows the words it will read.

  Priors that are Python objects have no files and are not checked.

  Raises:
    FileNotFoundError, UserError: in one line.
  """
  # Here, because it imports torch: mistakes that need no file are said first.
  from mmdist.priors import checks
  from mmdist.priors import locate

  for name in objective.priors:
    prior = config.priors[name]
    if not recipes_lib.is_object(prior):
      texts = texts_of(objective, config, name)
      checks.check_prior(locate.locate(prior.directory), texts, prior.lora)


def texts_of(
  objective: binding.BoundObjective, config: schema.RunConfig, prior: str
) -> list[str]:
  """Returns every text that a run may send to one of its priors."""
  words = orbits.VIEW_WORDS if config.views.use_view_words else ()
  plain = [
    prompts.add_prefix(config.views.prompt_prefix, term.prompt)
    for term in objective.of_prior(prior)
  ]
  return [
    prompts.add_view_word(text, word) for text in plain for word in ('', *words)
  ]


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
