"""The legs of a trajectory: what each asks, and the run that it is.

A leg is a run like any other, with proxies and an optimiser of its own. It
starts from the result of the leg before. (MagicMirror, section 3.3: once there
is a result of one concept, the objective of another is applied to it.)
"""

from collections.abc import Iterable, Mapping, Sequence
import copy
import dataclasses
import pathlib
import re
from typing import TypeAlias

from mmdist.api import composing
from mmdist.config import schema
from mmdist.config import trajectory_schema
from mmdist.core import errors
from mmdist.core import names
from mmdist.core import representation as representation_lib
from mmdist.objectives import binding
from mmdist.objectives import concept as concept_lib
from mmdist.run import preflight

_MOST_LETTERS = 40  # Of a name that is made of a sentence.


@dataclasses.dataclass(frozen=True)
class Leg:
  """One leg as a program gives it.

  Attributes:
    what: a sentence, or a sum of `mmdist.avatar`s.
    num_steps: 0 takes those of the configuration.
    name: of its folder; '' takes the words of what is asked.
  """

  what: str | concept_lib.ComposedObjective
  num_steps: int = 0
  name: str = ''


LegLike: TypeAlias = Leg | tuple | str | concept_lib.ComposedObjective


@dataclasses.dataclass(frozen=True)
class PlannedLeg:
  """One leg, checked.

  Attributes:
    name: of its folders, with its number in front.
    config: of its run, without where it starts; see `starting_from`.
  """

  name: str
  config: schema.RunConfig


def plan(
  legs: Iterable[LegLike],
  config: schema.RunConfig | None = None,
  priors: Mapping[str, composing.PriorLike] | None = None,
  representation: representation_lib.Representation | None = None,
) -> tuple[PlannedLeg, ...]:
  """Checks every leg before the first is begun.

  Args:
    legs: in their order; a tuple is (what, num_steps) or (what, num_steps,
      name).
    config: what their runs have in common; None has the defaults.
    priors: see `mmdist.optimize`.
    representation: see `mmdist.optimize`.

  Raises:
    UserError: in one line, with the number of the leg that is wrong.
    FileNotFoundError: files of a prior are not there.
  """
  if isinstance(legs, str | Leg | concept_lib.ComposedObjective):
    raise errors.UserError(
      f'the legs are {legs!r}; expected a list of them, such as '
      "[('a portrait of a child', 300), ('a portrait of an old man', 300)]."
    )
  planned = []
  for number, leg in enumerate(map(read_leg, legs)):
    try:
      planned.append(_plan(number, leg, config, priors, representation))
    except errors.UserError as error:
      raise errors.UserError(f'leg {number}: {error}') from error
  if not planned:
    raise errors.UserError(
      "the trajectory has no leg; expected one or more, such as mmdist.Leg('a "
      "portrait of a happy man', 300)."
    )
  return tuple(planned)


def read_leg(leg: LegLike) -> Leg:
  """Returns a leg of what may stand for one.

  Raises:
    UserError: it is something else.
  """
  if isinstance(leg, Leg):
    return leg
  if isinstance(leg, str | concept_lib.ComposedObjective):
    return Leg(leg)
  if isinstance(leg, tuple) and 1 <= len(leg) <= 3:
    return Leg(*leg)
  raise errors.UserError(
    f'a leg is {leg!r}; expected mmdist.Leg(what, num_steps), or a tuple of '
    'these.'
  )


def from_config(config: trajectory_schema.TrajectoryConfig) -> Sequence[Leg]:
  """Returns the legs that a configuration describes.

  Raises:
    UserError: in one line; what is asked stands in `base`, or a leg asks
      nothing.
  """
  if config.base.concepts or config.base.prompt != schema.RunConfig().prompt:
    raise errors.UserError(
      'base.prompt and base.concepts are not asked; expected what is asked in '
      'the legs, such as --config.legs[0].prompt=...'
    )
  for number, leg in enumerate(config.legs):
    if not leg.prompt and not leg.concepts:
      raise errors.UserError(
        f'legs[{number}] asks nothing; expected a prompt or concepts.'
      )
  return [
    Leg(
      concept_lib.from_config(schema.RunConfig(leg.prompt, leg.concepts))
      if leg.concepts
      else leg.prompt,
      leg.num_steps,
      leg.name,
    )
    for leg in config.legs
  ]


def _plan(
  number: int,
  leg: Leg,
  config: schema.RunConfig | None,
  priors: Mapping[str, composing.PriorLike] | None,
  representation: representation_lib.Representation | None,
) -> PlannedLeg:
  base = copy.deepcopy(config) if config is not None else schema.RunConfig()
  if leg.what is None or not isinstance(leg.num_steps, int):
    raise errors.UserError(
      f'it is {leg}; expected a sentence or concepts, and a number of steps.'
    )
  if leg.num_steps:
    base.num_steps = leg.num_steps
  run, _ = composing.compose(leg.what, base, priors, representation)
  objective = binding.bind_config(run)
  preflight.check_views(objective, run)
  preflight.check_priors(objective, run)
  name = f'{number}-{leg.name or _words_of(run.prompt)}'
  names.check_file_name('a leg', name)
  return PlannedLeg(name, run)


def _words_of(text: str) -> str:
  words = re.sub(r'[^A-Za-z0-9]+', '-', text)[:_MOST_LETTERS].strip('-')
  return words or 'leg'


def starting_from(leg: PlannedLeg, directory: pathlib.Path) -> schema.RunConfig:
  """Returns a leg's configuration if it starts from what `starts` wrote.

  Args:
    leg: the second, or a later one.
    directory: of the start; see `mmdist.trajectories.starts`.
  """
  run = copy.deepcopy(leg.config)
  run.nerf_assets = str(directory)
  run.learner.start_code = 'mean'  # There is one code: it is the mean.
  return run
