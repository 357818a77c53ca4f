"""What runs in a prior's own process: each call has its effect exactly once.

The learner may ask again whenever an answer did not reach it. It cannot know
whether the call was lost on its way there, in which case nothing has happened,
or the answer on its way back, in which case the proxy may have been fitted
already. A second fit on the same renders would change the proxy, and so the
result of the run. So the fits behind the proxy are counted here: a call that
was handled before is answered from memory, and one that comes too early or too
late is refused.

It is enough to remember the answers of one step per prior, one for each part
of its views: the loop has all of them before it asks for the next step. A
repeated question about an earlier step is refused like any other that comes too
late, and so is a part whose earlier parts were not asked here; the prior is
then brought back.
"""

from collections.abc import Callable, Mapping
import dataclasses
import os
import socket
from typing import Any

import ray

from mmdist.core import errors
from mmdist.core import messages
from mmdist.distribution import code_shipping
from mmdist.distribution import executor
from mmdist.distribution import processes


class OutOfStep(RuntimeError):
  """This process cannot answer: its proxy is not the one asked for.

  The usual reason is that Ray has restarted the process: the new one has never
  built a prior. The learner's side then brings the prior back.
  """


class LearnerEnded(RuntimeError):
  """The learner was taken for dead, so its priors were let go for good."""


@dataclasses.dataclass(frozen=True)
class SessionId:
  """Which of the priors of an actor is meant.

  Attributes:
    learner: whose prior it is; no two learners have one name.
    prior: its name in that learner's run.
  """

  learner: str
  prior: str


class Session:
  """One prior of one learner."""

  def __init__(self, recipe: messages.PriorRecipe) -> None:
    self._prior = recipe.build(recipe.spec)
    # Fits behind the proxy. The prior counts them too, but the promise that
    # each fit happens once must hold for any `messages.Prior`, also for one
    # that miscounts: so this count follows the calls that were carried out,
    # not what the prior says of itself.
    self._proxy_step = 0
    # The answers of the step that it is in, by the first view of each part.
    self._replies: dict[int, messages.ScoreGradient] = {}
    # The one to the last part, once that was given: a fit may follow.
    self._reply: messages.ScoreGradient | None = None
    self._last_fit: Mapping[str, float] = {}

  def score(self, request: messages.ScoreRequest) -> messages.ScoreGradient:
    """Answers a request; one of the step that it is in, from memory.

    Raises:
      OutOfStep: the proxy has another number of fits behind it, or the parts
        of the step before this one were not answered here.
    """
    reply = self._replies.get(request.first_view)
    if reply and (reply.step, reply.proxy_step) == _key(request):
      return reply
    self._check(request.proxy_step, f'step {request.step}')
    self._check_part(request)
    reply = self._prior.score(request)
    if request.is_first:
      self._replies = {}  # Those of the step before.
    # Remembered before it is sent, so that it can be sent again.
    self._replies[request.first_view] = reply
    self._reply = reply if request.is_last else None
    return reply

  def fit(self, request_step: int, proxy_step: int) -> Mapping[str, float]:
    """Fits the proxy on the renders of one step, once.

    A second call for the same step returns the same report and fits nothing.

    Args:
      request_step: step of the requests.
      proxy_step: fits that they found behind the proxy.

    Raises:
      OutOfStep: this step was not the last one scored, or not all of it was,
        or the proxy has another number of fits behind it.
    """
    # The prior keeps the renders of one step only, so no other can be fitted,
    # and this one not before its last part was scored.
    reply = self._reply
    if reply is None or (reply.step, reply.proxy_step) != (
      request_step,
      proxy_step,
    ):
      raise OutOfStep(f'step {request_step} was not scored, so nothing fits it')
    # This fit is behind the proxy already; only its report was lost.
    if self._proxy_step == proxy_step + 1:
      return self._last_fit
    self._check(proxy_step, f'the fit of step {request_step}')
    # Counted after the fit: one that raises has not happened.
    self._last_fit = dict(self._prior.fit())
    self._proxy_step += 1
    return self._last_fit

  def save_proxy(self) -> messages.ProxyState:
    """Returns a copy of everything that fits have changed."""
    return self._prior.save_proxy()

  def restore_proxy(self, state: messages.ProxyState) -> None:
    """Goes back to a copy; the count of fits goes back with it."""
    self._prior.restore_proxy(state)
    self._proxy_step = state.step
    # Remembered answers belong to the proxy before, so they are dropped.
    self._replies, self._reply, self._last_fit = {}, None, {}

  def close(self) -> None:
    """Has the prior release what it holds besides weights that others share."""
    executor.close_prior(self._prior)

  def _check_part(self, request: messages.ScoreRequest) -> None:
    answered = sum(
      len(reply.cotangent)
      for reply in self._replies.values()
      if (reply.step, reply.proxy_step) == _key(request)
    )
    if not request.is_first and request.first_view != answered:
      raise OutOfStep(
        f'step {request.step} goes on at view {request.first_view}, and '
        f'{answered} of its views were scored here'
      )

  def _check(self, proxy_step: int, what: str) -> None:
    if proxy_step != self._proxy_step:
      raise OutOfStep(
        f'{what} wants a proxy with {proxy_step} fits behind it, this one has '
        f'{self._proxy_step}'
      )


class PriorActor:
  """Hosts priors in a process of its own.

  Usually it is one prior. Priors of the same weights may share a process, be
  they of one run or of many learners. Each is then a session with a proxy of
  its own, and the frozen weights are in memory once (`priors/prior.py`). Ray
  carries the calls out one at a time, in the order in which they arrive. A
  learner has one step under way at most, so it delays another learner by one
  step at most.
  """

  def __init__(self) -> None:
    self._sessions: dict[SessionId, Session] = {}
    self._ended: set[str] = set()

  def build(
    self, session: SessionId, recipe: messages.PriorRecipe, code: str = ''
  ) -> processes.ProcessId:
    """Builds a prior, once; returns where it lives.

    Args:
      session: the prior.
      recipe: what it is built from.
      code: the learner's; see `code_shipping.check_same`.

    Raises:
      LearnerEnded: `end_learner` was called for it.
      OtherCode: the learner has another mmdist than this process.
    """
    code_shipping.check_same(code)
    if session.learner in self._ended:
      raise LearnerEnded(f'{session.learner} was given up and cannot come back')
    # When it is asked again, the prior that is there stays, with its fits.
    if session not in self._sessions:
      self._sessions[session] = _build(recipe)
    # The learner has to know the process, to end it if it does not answer.
    return self.where()

  def call(self, function: Callable[[], Any]) -> Any:
    """Calls a function in this process, which touches no prior.

    Args:
      function: picklable.
    """
    return function()

  def where(self) -> processes.ProcessId:
    """Returns which process this is."""
    return processes.ProcessId(
      os.getpid(), ray.get_runtime_context().get_node_id()
    )

  def score(
    self, session: SessionId, request: messages.ScoreRequest
  ) -> messages.ScoreGradient:
    """Answers a request; see `Session.score`."""
    return self._built(session).score(request)

  def fit(
    self, session: SessionId, request_step: int, proxy_step: int
  ) -> Mapping[str, float]:
    """Fits a proxy once; see `Session.fit`."""
    return self._built(session).fit(request_step, proxy_step)

  def save_proxy(self, session: SessionId) -> messages.ProxyState:
    """Returns a copy of a proxy; see `Session.save_proxy`."""
    return self._built(session).save_proxy()

  def restore_proxy(
    self, session: SessionId, state: messages.ProxyState
  ) -> None:
    """Puts a copy of a proxy back; see `Session.restore_proxy`."""
    self._built(session).restore_proxy(state)

  def end_session(self, session: SessionId) -> None:
    """Lets one prior go; harmless if it is not there."""
    ended = self._sessions.pop(session, None)
    if ended is not None:
      ended.close()

  def end_learner(self, learner: str) -> None:
    """Lets all priors of a learner go, for good.

    A learner that was taken for dead may still run somewhere, so whatever it
    asks afterwards is refused.
    """
    self._ended.add(learner)
    # A list of its own, since `end_session` changes the dictionary.
    for session in [s for s in self._sessions if s.learner == learner]:
      self.end_session(session)

  def sessions(self) -> list[SessionId]:
    """Returns the priors that are there."""
    return list(self._sessions)

  def _built(self, session: SessionId) -> Session:
    # Ray has run the constructor again, and nothing has been built since.
    if session not in self._sessions:
      raise OutOfStep('its process was restarted and has lost its proxy')
    return self._sessions[session]


def _build(recipe: messages.PriorRecipe) -> Session:
  """Builds a prior; if a file cannot be read, the error names the machine."""
  try:
    return Session(recipe)
  except OSError as error:
    # A UserError, since not every OSError can be made from a message alone, and
    # the person at the learner has to know on which machine to look.
    raise errors.UserError(
      f'on machine {socket.gethostname()}: {type(error).__name__}: {error}'
    ) from error


def _key(request: messages.ScoreRequest) -> tuple[int, int]:
  return request.step, request.proxy_step
