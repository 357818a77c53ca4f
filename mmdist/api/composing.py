"""One configuration out of all that `mmdist.optimize` may be given.

Whatever a run is given is in its `config.json`, so that it resumes and can be
compared with a run that was started from a command line.
"""

from collections.abc import Callable, Mapping
import copy
import os
from typing import Any

from mmdist.api import function_prior
from mmdist.config import schema
from mmdist.config import validation
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import names
from mmdist.core import representation as representation_lib
from mmdist.objectives import concept as concept_lib
from mmdist.run import recipes

PriorLike = (
  schema.PriorConfig
  | messages.Prior
  | Callable[[messages.ScoreRequest], Any]
  | str
  | os.PathLike
)


def compose(
  what: str | concept_lib.ComposedObjective | None,
  config: schema.RunConfig | None = None,
  priors: Mapping[str, PriorLike] | None = None,
  representation: representation_lib.Representation | None = None,
) -> tuple[schema.RunConfig, dict[str, messages.Prior]]:
  """Returns a checked configuration, and the priors that are objects.

  Args:
    what: a sentence, an objective, or None where `config` says what is asked.
    config: of the run; None has the defaults. It is not changed.
    priors: by name; they replace all priors of the configuration. An object or
      a function takes over the settings of the configuration's prior of the
      same name, if there is one.
    representation: one's own, in place of the conditional NeRF.

  Raises:
    UserError: in one line; an argument is of a wrong kind, or a setting has a
      value that cannot be run.
  """
  run = copy.deepcopy(config) if config is not None else schema.RunConfig()
  if not isinstance(run, schema.RunConfig):
    raise errors.UserError(
      f'config is {type(config).__name__}; expected an mmdist.RunConfig.'
    )
  if isinstance(what, str):
    run.prompt, run.concepts = what, []
  elif isinstance(what, concept_lib.ComposedObjective):
    run.concepts = concept_lib.to_config(what)
    if not run.concepts:
      raise errors.UserError(
        'the objective is empty: its concepts cancel; expected at least one '
        'of positive weight.'
      )
    # Where there are concepts, nothing is asked of the prompt; it is a name.
    run.prompt = max(run.concepts, key=lambda concept: concept.weight).text
  elif what is not None:
    raise errors.UserError(
      f'what to make is {type(what).__name__}; expected a sentence, a sum of '
      "mmdist.avatar('...'), or None with config=mmdist.RunConfig(...)."
    )
  objects: dict[str, messages.Prior] = {}
  if priors is not None:
    run.priors = {
      name: _config_of(name, prior, run.priors, objects)
      for name, prior in priors.items()
    }
  if representation is not None:
    _check_representation(representation)
    run.nerf_assets = recipes.name_of_object(representation)
  validation.validate(run)
  return run, objects


def _config_of(
  name: str,
  prior: Any,
  known: Mapping[str, schema.PriorConfig],
  objects: dict[str, messages.Prior],
) -> schema.PriorConfig:
  """Returns a prior's settings; notes it in `objects` if it is an object."""
  if isinstance(prior, schema.PriorConfig):
    return copy.deepcopy(prior)
  if isinstance(prior, str | os.PathLike):
    return schema.PriorConfig(os.fspath(prior))
  settings = copy.deepcopy(known.get(name)) or schema.PriorConfig(
    channel=getattr(prior, 'channel', 'rgb')
  )
  settings.directory = recipes.name_of_object(prior)
  if hasattr(prior, 'score'):
    missing = [m for m in _PRIOR_METHODS if not hasattr(prior, m)]
    if missing:
      raise errors.UserError(
        f"prior '{name}' has score, but no {', '.join(missing)}; expected the "
        'methods of mmdist.core.messages.Prior.'
      )
    objects[name] = prior
  elif callable(prior):
    settings.directory = f'{recipes.OBJECT}{_name_of_function(prior)}'
    objects[name] = function_prior.FunctionPrior(name, settings.channel, prior)
  else:
    raise errors.UserError(
      f"prior '{name}' is {type(prior).__name__}; expected mmdist.Prior(...), "
      'a directory, an object with score, fit, save_proxy and restore_proxy, '
      'or a function of a ScoreRequest.'
    )
  return settings


_PRIOR_METHODS = ('score', 'fit', 'save_proxy', 'restore_proxy')


def _name_of_function(function: Callable) -> str:
  name = getattr(function, '__qualname__', type(function).__qualname__)
  return f'{getattr(function, "__module__", "")}.{name}'


def _check_representation(value: Any) -> None:
  for method in ('init', 'render'):
    if not callable(getattr(value, method, None)):
      raise errors.UserError(
        f'the representation is {type(value).__name__}, which has no {method}; '
        'expected init, render and, for a mesh, density, as in '
        'mmdist.Representation.'
      )


def check_executor(name: Any) -> None:
  """Raises UserError for the name of an executor that does not exist."""
  if isinstance(name, str):
    names.check_choice('executor', name, ('ray', 'inline'))
