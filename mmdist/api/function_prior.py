"""A function as a prior: for losses that need no proxy."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import shapes


class FunctionPrior:
  """A `messages.Prior` that asks a function and has nothing to fit.

  Args:
    name: of the prior.
    channel: the renders that it looks at.
    function: maps a `messages.ScoreRequest` to [V, H, W, 3], the gradient of
      a loss with respect to the request's images. It has to weigh its answer
      by the weight of each of `request.terms` itself; a mean over views,
      pixels and channels keeps it comparable with other priors.
  """

  def __init__(
    self,
    name: str,
    channel: messages.Channel,
    function: Callable[[messages.ScoreRequest], Any],
  ):
    self.channel = channel
    self._name = name
    self._function = function
    self._step = 0

  def score(self, request: messages.ScoreRequest) -> messages.ScoreGradient:
    """Returns the function's answer.

    Raises:
      UserError: its answer is not of the shape of the images.
      NotFinite: its answer holds NaN or infinity.
    """
    answer = np.array(self._function(request), np.float32)
    shapes.check_shape(
      f"the answer of prior '{self._name}'", answer, request.images.shape
    )
    if not np.isfinite(answer).all():
      raise errors.NotFinite(
        f"step {request.step}: the answer of prior '{self._name}' holds NaN or "
        'infinity.'
      )
    return messages.ScoreGradient(
      step=request.step,
      prior=self._name,
      channel=self.channel,
      cotangent=answer,
      proxy_step=self._step,
      metrics={},
    )

  def fit(self) -> Mapping[str, float]:
    """Fits nothing; counts, so that learner and prior stay in step."""
    self._step += 1
    return {}

  def save_proxy(self) -> messages.ProxyState:
    return messages.ProxyState(self._step, {})

  def restore_proxy(self, state: messages.ProxyState) -> None:
    self._step = state.step
