"""Hosts between whom and their actors things go wrong."""

from mmdist.distribution import faults
from mmdist.distribution import supervisor


class Lossy(supervisor.PriorSupervisor):
  """Loses one reply on its way, though the actor has given it.

  Attributes:
    step: of the reply.
    index: which of the step's replies it is, from 0.
    fault: what its receiver takes it for.
    lost: what was lost, by the names of its types.
  """

  step = 2
  index = 0
  fault = faults.ReplyLost

  def __init__(self, *arguments, **options):
    super().__init__(*arguments, **options)
    self.lost: list[str] = []
    self._num_received = 0

  def receive(self, step, reference, deadline_s=0.0):
    reply = super().receive(step, reference, deadline_s)
    if step == self.step and not self.lost:
      self._num_received += 1
      if self._num_received > self.index:
        self.lost.append(type(reply).__name__)
        raise self.fault(self.name, step, 'its reply was lost')
    return reply


class LossyLater(Lossy):
  """Loses the second reply of a step: of two parts, the second's answer."""

  index = 1


class LossyFits(Lossy):
  """Loses the third reply of a step: of two parts, what the fit reports."""

  index = 2


class Silent(Lossy):
  """As `Lossy`, but there is no telling that the process is well."""

  fault = faults.PriorLost


class Echo(supervisor.PriorSupervisor):
  """Sends each request once more when the next one is behind it.

  Attributes:
    late: references to what should have no answer.
  """

  def __init__(self, *arguments, **options):
    super().__init__(*arguments, **options)
    self.late: list = []
    self._before = None

  def ask_fit(self, scoring):
    asked = super().ask_fit(scoring)
    if self._before is not None:
      late = super().ask_fit(self._send_score(self._before))
      self.late += [late.score, late.fit]
    self._before = scoring.entry
    return asked


class Stutterer(supervisor.PriorSupervisor):
  """Sends a request and its fit twice, as a network might.

  Attributes:
    step: of the request; None is every one.
    sent: how many were doubled.
  """

  step = None
  sent = 0

  def ask_fit(self, scoring):
    asked = super().ask_fit(scoring)
    if self.step in (None, scoring.entry.request.step):
      self.sent += 1
      asked = super().ask_fit(self._send_score(scoring.entry))
    return asked
