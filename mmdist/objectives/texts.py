"""Which texts a run sends to which prior.

`prompts` puts one text together. This module knows what opens the texts of a
prior and which view words can follow them, and so lists all of them, so that
they can be checked before anything is loaded.
"""

import dataclasses
from typing import TYPE_CHECKING

from mmdist.cameras import orbits
from mmdist.config import schema

if TYPE_CHECKING:  # It imports this module.
  from mmdist.objectives import binding


def prefix_of(prior: schema.PriorConfig, views: schema.ViewsConfig) -> str:
  """Returns what opens the texts of a prior: its own prefix, or the run's.

  The run's is for priors that look at colours: no surface normals were ever
  captioned as a photo.
  """
  shared = views.prompt_prefix if prior.channel == 'rgb' else ''
  return prior.prompt_prefix or shared


def with_prefix(
  prior: schema.PriorConfig, views: schema.ViewsConfig
) -> schema.PriorConfig:
  """Returns the prior with `prefix_of` as its own prefix."""
  return dataclasses.replace(prior, prompt_prefix=prefix_of(prior, views))


def view_words(views: schema.ViewsConfig) -> tuple[str, ...]:
  """Returns the words of all views that a run can draw; () without words."""
  if not views.use_view_words:
    return ()
  return tuple(
    word for word in orbits.VIEW_WORDS if views.emphasis.get(word, 1.0) > 0
  )


def texts_of(
  objective: 'binding.BoundObjective', views: schema.ViewsConfig
) -> dict[str, frozenset[str]]:
  """Returns every text that each prior of a run may be sent.

  Args:
    objective: has `priors`, and `of_prior` with the terms of each.
    views: of the run.
  """
  words = ('', *view_words(views))
  return {
    prior: frozenset(
      text
      for term in objective.of_prior(prior)
      for word in words
      for text in term.texts_of_view(word)
    )
    for prior in objective.priors
  }
