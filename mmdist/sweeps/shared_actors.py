"""The actors of a sweep: frozen weights that the learners of all cells use.

There is one for each set of weight files and settings, however many cells and
learners. Each learner has proxies of its own in it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import ray

from mmdist.core import messages
from mmdist.distribution import actor as actor_lib
from mmdist.distribution import hosting

# How long to wait for an actor's sign of life. One that gives none in this time
# is busy, or is being brought back.
_HEAR_S = 2.0


class ActorPool:
  """Starts actors as they are needed, and ends those that are needed no more.

  Args:
    options: `PriorSpec.sharing_key` -> Ray's options of its actor, with its
      place.
    check_memory: called with the key and the handle of an actor that is new,
      before it loads anything; may raise. None checks nothing.
  """

  def __init__(
    self,
    options: Mapping[tuple, Mapping[str, Any]],
    check_memory: Callable[[tuple, Any], None] | None = None,
  ) -> None:
    self._options = options
    self._check_memory = check_memory
    self._actors: dict[tuple, hosting.Owned] = {}

  def actors_for(
    self, recipes: Sequence[messages.PriorRecipe]
  ) -> dict[tuple, Any]:
    """Returns sharing key -> handle, for the priors of one cell.

    Raises:
      UserError: the memory of an actor's machine has no room for its prior.
    """
    found = {}
    for recipe in recipes:
      key = recipe.spec.sharing_key
      if key is None:  # An object: it has an actor of its own.
        continue
      if key not in self._actors:
        self._actors[key] = hosting.Owned(self._options[key])
        if self._check_memory is not None:
          self._check_memory(key, self._actors[key].actor)
      found[key] = self._actors[key].actor
    return found

  def keep_only(self, needed: Collection[tuple]) -> None:
    """Ends the actors of all other sharing keys; their memory is free then."""
    for key in self._actors.keys() - set(needed):
      self._actors.pop(key).leave(actor_lib.SessionId('', ''), None)

  def end_learner(self, learner: str) -> None:
    """Has every actor drop the proxies of a learner that has died."""
    for owned in self._actors.values():
      owned.actor.end_learner.remote(learner)

  def replace_dead(self) -> None:
    """Starts those actors anew that Ray has given up for good.

    An actor that only died is brought back by Ray; see `ray_executor`.
    """
    asked = {
      owned.actor.sessions.remote(): owned for owned in self._actors.values()
    }
    if not asked:
      return
    heard, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_HEAR_S)
    for reference in heard:
      owned = asked[reference]
      try:
        ray.get(reference)
      except ray.exceptions.ActorDiedError:
        owned.replace(owned.actor)
      except ray.exceptions.RayError:
        pass  # It is being brought back.

  def close(self) -> None:
    """Ends them all."""
    for owned in self._actors.values():
      owned.leave(actor_lib.SessionId('', ''), None)
    self._actors = {}
