"""Calls on the actor of a prior that are on their way."""

import dataclasses
import time

import ray

from mmdist.distribution import journal as journal_lib


@dataclasses.dataclass(frozen=True)
class Scoring:
  """A request on its way, whose fit has not been sent yet, or never is.

  Where priors share an actor, all are scored before any is fitted, since the
  learner waits for the scores. A part of a step that is not its last has no
  fit.

  Attributes:
    entry: its entry in the journal.
    score: Ray's reference to the answer.
    sent: when it was sent, in seconds of `time.monotonic`.
  """

  entry: journal_lib.Entry
  score: ray.ObjectRef
  sent: float = dataclasses.field(default_factory=time.monotonic)


@dataclasses.dataclass(frozen=True)
class Asked:
  """A request on its way, and the fit that follows it.

  Attributes:
    entry, score, sent: as of `Scoring`.
    fit: Ray's reference to what the fit reports.
  """

  entry: journal_lib.Entry
  score: ray.ObjectRef
  fit: ray.ObjectRef
  sent: float


Sent = Scoring | Asked
