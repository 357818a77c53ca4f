"""Texts that ask for what no head can have, found before a run begins."""

from mmdist.config import schema
from mmdist.evaluation import judged_world
from mmdist.objectives import binding


def warnings_of(
  objective: binding.BoundObjective, config: schema.RunConfig
) -> list[str]:
  """Returns a line for every contradiction in what embedded priors will read.

  Other priors know more words than are understood here, and are not looked at.

  Args:
    objective: what is asked.
    config: of the run.

  Raises:
    UserError: a prior's directory names an unknown world.
  """
  found: dict[str, None] = {}  # In order, each once.
  for name, world in judged_world.worlds_of(config).items():
    for term in objective.of_prior(name) if name in objective.priors else ():
      # As a person wrote it: each channel puts it in other words.
      for text in filter(None, (term.text, term.negative_prompt)):
        for why in world.captions.contradictions(text):
          found[f"'{text}': {why}."] = None
  return list(found)
