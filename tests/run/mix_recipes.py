"""The recipes of the priors that a configuration asks."""

from mmdist.objectives import binding
from mmdist.run import recipes as recipes_lib


def make_recipes(config, num_threads=2):
  objective = binding.bind_config(config)
  return recipes_lib.make_recipes(config.priors, objective.priors, num_threads)
