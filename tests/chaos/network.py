"""Hosts between whom and their actors things go wrong."""

from mmdist.distribution import faults
from mmdist.distribution import host as host_lib


class Lossy(host_lib.Host):
  """Loses one answer on its way, though the actor has given it.

  Attributes:
    step: of the answer.
    lost: what was lost, by the names of its types.
  """

  step = 2

  def __init__(self, *arguments, **options):
    super().__init__(*arguments, **options)
    self.lost: list[str] = []

  def receive(self, step, reference, deadline_s=0.0):
    reply = super().receive(step, reference, deadline_s)
    if step == self.step and not self.lost:
      self.lost.append(type(reply).__name__)
      raise faults.PriorLost(self.name, step, 'its reply was lost')
    return reply


class Stutterer(host_lib.Host):
  """Sends a request and its fit twice, as a network might.

  Attributes:
    step: of the request; None is every one.
    sent: how many were doubled.
  """

  step = None
  sent = 0

  def _send(self, entry):
    if self.step in (None, entry.request.step):
      self.sent += 1
      super()._send(entry)
    return super()._send(entry)
