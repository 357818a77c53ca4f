"""Which actor a prior is in: one that its run has started, or one of many runs.

A supervisor is handed one of these and never starts or ends an actor itself.
Several supervisors may hold the same one: their priors then share a process,
and the frozen weights in it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import ray

from mmdist.distribution import actor as actor_lib
from mmdist.distribution import actor_environment
from mmdist.distribution import processes

_GRACE_S = 2.0  # For a process that Ray has asked to end.


class Hosting(Protocol):
  """Where a supervisor finds its actor.

  Attributes:
    actor: Ray's handle of a `PriorActor`.
  """

  # Any: Ray's types know `remote` only of methods that are marked for it.
  actor: Any

  def replace(self, lost: Any) -> None:
    """Starts another in place of an actor that Ray has given up for good.

    Args:
      lost: the handle that was given up. If it is not `actor` any more, then
        another supervisor has replaced it already.
    """

  def leave(
    self, session: actor_lib.SessionId, process: processes.ProcessId | None
  ) -> None:
    """Lets a prior go at the end of its run.

    Args:
      session: the prior.
      process: where it was last heard of.
    """


class Owned:
  """An actor of one run; it ends with the run."""

  def __init__(self, options: Mapping[str, Any]):
    """Starts the actor.

    Args:
      options: Ray's, for the actor.
    """
    self._options = dict(options)
    self.actor = self._start()

  def _start(self) -> Any:
    options = actor_environment.without_inherited(self._options)
    return ray.remote(actor_lib.PriorActor).options(**options).remote()

  def replace(self, lost: Any) -> None:
    if lost is self.actor:
      self.actor = self._start()

  def leave(
    self, session: actor_lib.SessionId, process: processes.ProcessId | None
  ) -> None:
    """Ends the process, also one that does not listen any more."""
    del session  # All priors of the actor end with it.
    ray.kill(self.actor)
    if process is not None:
      # If it ends before it has heard of Ray, Ray takes that for an accident,
      # and prints a long warning where its head outlives this run.
      processes.end_process(process, _GRACE_S)


class Shared:
  """An actor of a sweep, in which other runs have priors too."""

  def __init__(self, actor: Any):
    """Takes Ray's handle of an actor that runs."""
    self.actor = actor

  def replace(self, lost: Any) -> None:
    """Does nothing: the sweep, which started the actor, starts another.

    The run that needs it fails, and the sweep tries that run again.
    """

  def leave(
    self, session: actor_lib.SessionId, process: processes.ProcessId | None
  ) -> None:
    del process
    self.actor.end_session.remote(session)
