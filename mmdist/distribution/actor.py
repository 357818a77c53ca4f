"""What runs in a prior's own process: each call has its effect exactly once.

The learner may ask again whenever an answer did not reach it. It cannot know
whether the call was lost on its way there, in which case nothing has happened,
or the answer on its way back, in which case the proxy may have been fitted
already. A second fit on the same renders would change the proxy, and so the
result of the run. So the fits behind the proxy are counted here: a call that
was handled before is answered from memory, and one that comes too early or too
late is refused.

One remembered answer is enough for the loop, which has every answer of a step
before it asks for the next. A repeated question about an earlier step is
refused like any other that comes too late; the prior is then brought back.
"""

from collections.abc import Mapping
import os

import ray

from mmdist.core import messages
from mmdist.distribution import processes


class OutOfStep(RuntimeError):
  """This process cannot answer: its proxy is not the one asked for.

  Mostly because Ray has restarted the process: the one that comes back has
  never built a prior. The learner's side then brings the prior back.
  """


class PriorActor:
  """Hosts one prior in a process of its own."""

  def __init__(self) -> None:
    self._prior: messages.Prior | None = None
    # Fits behind the proxy. The prior counts them too, but the promise that
    # each fit happens once must hold for any `messages.Prior`, also for one
    # that miscounts: so this count follows the calls that were carried out,
    # not what the prior says of itself.
    self._proxy_step = 0
    self._reply: messages.ScoreGradient | None = None
    self._last_fit: Mapping[str, float] = {}

  def build(self, recipe: messages.PriorRecipe) -> processes.ProcessId:
    """Builds the prior, once; returns where it lives."""
    # Asked again, the prior that is there stays: it has its fits behind it.
    if self._prior is None:
      self._prior = recipe.build(recipe.spec)
    return processes.ProcessId(
      os.getpid(), ray.get_runtime_context().get_node_id()
    )

  def score(self, request: messages.ScoreRequest) -> messages.ScoreGradient:
    """Answers a request; one that was answered already, from memory."""
    prior = self._built()
    reply = self._reply
    if reply and (reply.step, reply.proxy_step) == _key(request):
      return reply
    self._check(request.proxy_step, f'step {request.step}')
    # Remembered before it is sent, so that it can be sent again.
    self._reply = prior.score(request)
    return self._reply

  def fit(self, request_step: int, proxy_step: int) -> Mapping[str, float]:
    """Fits the proxy on the renders of one request; a second call does not.

    Args:
      request_step: step of the request.
      proxy_step: fits that the request found behind the proxy.
    """
    prior = self._built()
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
    self._last_fit = dict(prior.fit())
    self._proxy_step += 1
    return self._last_fit

  def save_proxy(self) -> messages.ProxyState:
    return self._built().save_proxy()

  def restore_proxy(self, state: messages.ProxyState) -> None:
    self._built().restore_proxy(state)
    self._proxy_step = state.step
    # Remembered answers belong to the proxy before, so they are dropped.
    self._reply, self._last_fit = None, {}

  def _built(self) -> messages.Prior:
    if self._prior is None:
      raise OutOfStep('its process was restarted and has lost its proxy')
    return self._prior

  def _check(self, proxy_step: int, what: str) -> None:
    if proxy_step != self._proxy_step:
      raise OutOfStep(
        f'{what} wants a proxy with {proxy_step} fits behind it, this one has '
        f'{self._proxy_step}'
      )


def _key(request: messages.ScoreRequest) -> tuple[int, int]:
  return request.step, request.proxy_step
