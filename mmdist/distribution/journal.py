"""What a lost proxy is made from again: a snapshot, and all requests since.

The learner's side keeps it, so it outlives the prior's process. Replaying the
same requests on the same snapshot gives the same proxy, bit for bit, because a
request carries every random choice. A hash of each earlier answer is kept, so
that a replay which answers otherwise is noticed.
"""

from collections.abc import Mapping
import dataclasses
import hashlib

import numpy as np

from mmdist.core import messages


@dataclasses.dataclass
class Entry:
  """One request, with what is known of its answer.

  Attributes:
    request: what was asked.
    digest: of the answer, once one has arrived; else ''.
    reply: an answer that a replay brought and that no caller has taken yet.
    fit: what the fit after it reported, once known; of the last part of a
      step alone.
  """

  request: messages.ScoreRequest
  digest: str = ''
  reply: messages.ScoreGradient | None = None
  fit: Mapping[str, float] | None = None


class Journal:
  """The requests of one prior since its last snapshot.

  Attributes:
    state: the snapshot; None stands for the proxy as it was built.
    entries: what was asked since. One fit follows the last part of each step.
  """

  def __init__(self) -> None:
    self.state: messages.ProxyState | None = None
    self.entries: list[Entry] = []

  def ask(self, request: messages.ScoreRequest) -> Entry:
    """Notes a request before it is sent."""
    entry = Entry(request)
    self.entries.append(entry)
    return entry

  @property
  def num_steps(self) -> int:
    """How many steps the entries are of, those that are not over included."""
    return sum(entry.request.is_first for entry in self.entries)

  def reset(self, state: messages.ProxyState) -> None:
    """Begins anew from a snapshot that holds the fits of all entries."""
    self.state = state
    self.entries = []


def digest(reply: messages.ScoreGradient) -> str:
  """Returns a sha256 of what an answer does to the learner.

  Its metrics are left out: they hold times, which never repeat.
  """
  array = np.ascontiguousarray(reply.cotangent)
  known = (reply.step, reply.proxy_step, reply.channel, array.shape)
  content = repr((*known, array.dtype.str)).encode() + array.tobytes()
  return hashlib.sha256(content).hexdigest()
