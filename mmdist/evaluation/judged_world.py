"""Whether a judge can look at a run: it knows the heads of one world."""

from typing import TYPE_CHECKING

from mmdist.config import schema
from mmdist.core import asset_paths
from mmdist.core import errors
from mmdist.heads import worlds

if TYPE_CHECKING:
  from mmdist.evaluation import judge as judge_lib  # It imports torch.


def worlds_of(run: schema.RunConfig) -> dict[str, worlds.World]:
  """Returns prior -> world, of a run's priors that are of an embedded world.

  Args:
    run: its configuration.

  Raises:
    UserError: a prior's directory names an unknown world.
  """
  found = {}
  for name, prior in run.priors.items():
    if not prior.enabled or not prior.directory:
      continue
    try:
      directory = asset_paths.resolve(prior.directory)
    except (FileNotFoundError, errors.UserError):
      continue  # It is not here, or it is a file: nobody knows its world.
    world = worlds.of_directory(directory)
    if world:
      found[name] = world
  return found


def check(run: schema.RunConfig, judge: 'judge_lib.Judge') -> None:
  """Checks that a judge knows the world of a run's priors.

  Raises:
    UserError: it knows another one.
  """
  for name, world in worlds_of(run).items():
    if world != judge.world:
      raise errors.UserError(
        f"the run's prior '{name}' is of the world '{world.name}', and the "
        f"judge of '{judge.world.name}'; give --judge of the prior's world."
      )
