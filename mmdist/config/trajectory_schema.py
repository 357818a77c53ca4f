"""The configuration of a trajectory: a run, and the legs that vary it.

Mutable dataclasses, as those of `mmdist.config.schema` and for the same reason.
"""

import dataclasses

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import errors


@dataclasses.dataclass
class LegConfig:
  """One leg: what is asked, and for how long."""

  prompt: str = ''  # Asked where there are no concepts.
  concepts: list[schema.ConceptConfig] = dataclasses.field(default_factory=list)
  num_steps: int = 0  # 0: base.num_steps.
  name: str = ''  # Of its folder; '' takes the words of what is asked.


@dataclasses.dataclass
class FilmConfig:
  """The film of the whole way.

  The camera swings about the front. A full turn would show the back of the head
  for half of the way, and what changes is mostly in the face.
  """

  points_per_leg: int = 18  # Parameters that are kept of each leg's way.
  frames_per_second: int = 12
  hold_s: float = 0.8  # How long the start and each leg's end are shown.
  swing_deg: float = 40.0  # To either side.
  swing_s: float = 6.0  # Of one swing to both sides.


@dataclasses.dataclass
class TrajectoryConfig:
  """Everything that decides a trajectory; `base.prompt` is not asked."""

  base: schema.RunConfig = dataclasses.field(default_factory=schema.RunConfig)
  legs: list[LegConfig] = dataclasses.field(default_factory=list)
  film: FilmConfig = dataclasses.field(default_factory=FilmConfig)


# The smallest and largest values, both allowed.
_RANGES = {
  'points_per_leg': (1, 10**4),
  'frames_per_second': (1, 120),
  'hold_s': (0, 60),
  'swing_deg': (0, 180),
  'swing_s': (0.1, 3600),
}


def check_film(film: FilmConfig) -> None:
  """Raises UserError, in one line, at the first value that cannot be used."""
  for name, value in serialization.flatten(film).items():
    low, high = _RANGES[name]
    if not low <= value <= high:  # NaN is in no range.
      raise errors.UserError(
        f'film.{name} is {value}; expected {low} to {high}.'
      )
