"""How priors are asked, wherever they run: the protocol, and the inline one.

Executors are handed recipes and never import the priors. `Pending.result()`
returns an answer without waiting for the fit that follows it: the learner needs
the answer at once and the fit only by the next step, so a prior in a process of
its own fits while the learner works. A prior handles its calls in the order of
submission, so inline and Ray agree bit for bit.

A step may be submitted in parts (`messages.ScoreRequest.first_view`). The next
part may be submitted before the answers to this one are there. The one fit of a
prior follows its last part.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import logging
from typing import Any, Protocol, TypeVar

from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import names
from mmdist.distribution import faults

_T = TypeVar('_T')
# Tells a step from the one before: its number, and that of the proxies' fits,
# which goes on where a step is taken again without the one before it.
StepKey = tuple[int, int]


class Pending(Protocol):
  """Answers that are on their way."""

  def result(self) -> dict[str, messages.ScoreGradient]:
    """Returns ALL answers, by prior in sorted order; never a subset.

    Raises:
      PriorFailed: a prior raised, now or in the fit before; PriorNotFinite
        if the error is about NaN or infinity.
      PriorLost: a prior's process was gone or silent more often than is
        allowed.
    """


class Executor(Protocol):
  """Runs one prior per recipe.

  Callers do not depend on the process that a prior runs in. After PriorFailed,
  `restore_proxies` brings all proxies back to one step; after PriorLost nothing
  but `close()` may be called.
  """

  def wait_until_ready(self) -> None:
    """Returns when every prior is built.

    Raises:
      PriorFailed: one cannot be built.
      PriorLost: one was lost more often than is allowed.
    """

  def submit(self, requests: Mapping[str, messages.ScoreRequest]) -> Pending:
    """Sends every request, by prior, before any answer is waited for.

    The requests are of one step, whole or a part of it. It may be called for
    the next part before the answers to this one are there.
    """

  def fit_metrics(self) -> dict[str, dict[str, float]]:
    """Returns, by prior, the report of its last fit that is known to be over.

    After `submit(...).result()` it is the fit of the step before.
    """

  def save_proxies(self) -> dict[str, messages.ProxyState]:
    """Returns every proxy's state, all submitted fits included."""

  def restore_proxies(self, states: Mapping[str, messages.ProxyState]) -> None:
    """Puts back every proxy, as if nothing had been submitted since.

    Raises:
      UserError: a state is missing, or is of a prior that does not run.
    """

  def close(self) -> None:
    """Lets all priors go; closing twice is harmless."""


def recipes_by_name(
  recipes: Sequence[messages.PriorRecipe],
) -> dict[str, messages.PriorRecipe]:
  """Returns the recipes in sorted order; UserError if two share a name."""
  by_name = {recipe.spec.name: recipe for recipe in recipes}
  if len(by_name) < len(recipes) or not recipes:
    raise errors.UserError(
      f'the priors are called {[r.spec.name for r in recipes]}; expected at '
      'least one, and a name of its own for each.'
    )
  return dict(sorted(by_name.items()))


def check_running(asked: Mapping[str, Any], running: Mapping[str, Any]) -> None:
  """Raises UserError if one of the priors asked for does not run."""
  for name in asked:
    if name not in running:
      raise errors.UserError(names.unknown('prior', name, running, 'Priors'))


def step_key(requests: Mapping[str, messages.ScoreRequest]) -> StepKey | None:
  """Returns the step that the requests are of; None if there are none."""
  for request in requests.values():
    return request.step, request.proxy_step
  return None


def check_complete(
  states: Mapping[str, Any], running: Mapping[str, Any]
) -> None:
  """Raises UserError unless there is one state for each prior."""
  check_running(states, running)
  missing = [name for name in running if name not in states]
  if missing:
    raise errors.UserError(
      f'no proxy state for {", ".join(missing)}; expected one for each of '
      f'{", ".join(running)}.'
    )


def call(
  prior: str,
  step: int | None,
  function: Callable[..., _T],
  *arguments: Any,
) -> _T:
  """Returns function(*arguments).

  Args:
    prior: its name, for the error.
    step: of the request, for the error; None outside of any step.
    function: a method of the prior.
    *arguments: of the function.

  Raises:
    PriorFailed: the function raised; what it raised is the cause.
      PriorNotFinite if that was a FloatingPointError.
  """
  try:
    return function(*arguments)
  except FloatingPointError as error:
    raise faults.PriorNotFinite(prior, step, faults.describe(error)) from error
  except Exception as error:
    raise faults.PriorFailed(prior, step, faults.describe(error)) from error


def close_prior(prior: messages.Prior) -> None:
  """Has a prior release what it holds, where it has a method for that."""
  # Not in the protocol: a prior of a person's own need not have it.
  close = getattr(prior, 'close', None)
  if close is not None:
    close()


class _Answered:
  """A Pending whose answers, or whose fault, are known already."""

  def __init__(
    self,
    answers: dict[str, messages.ScoreGradient],
    fault: faults.PriorFault | None,
  ):
    self._answers = answers
    self._fault = fault

  def result(self) -> dict[str, messages.ScoreGradient]:
    if self._fault is not None:
      raise self._fault
    return dict(self._answers)


class InlineExecutor:
  """Runs every prior in this process, one after the other.

  Scores are computed on submission. Their fits are done at the beginning of the
  next call, so what a caller sees is the same as with actors, which fit while
  the learner is busy. See `Executor`.
  """

  def __init__(self, recipes: Sequence[messages.PriorRecipe]):
    """Builds the priors; PriorFailed names one that cannot be built."""
    self._priors: dict[str, messages.Prior] = {}
    self._unfitted: dict[str, int] = {}  # Prior -> step of the waiting fit.
    self._step: StepKey | None = None  # That was asked last.
    self._fit_metrics: dict[str, dict[str, float]] = {}
    self._closing = contextlib.ExitStack()
    try:
      for name, recipe in recipes_by_name(recipes).items():
        prior = call(name, None, recipe.build, recipe.spec)
        self._priors[name] = prior
        if not recipe.is_given:
          self._closing.callback(close_prior, prior)
    except BaseException:
      # Nobody has this executor yet, so nobody else can close it. What has
      # failed is why there is none, not a prior that cannot be closed.
      try:
        self.close()
      except Exception:
        logging.exception('a prior could not be closed')
      raise

  def wait_until_ready(self) -> None:
    """Returns at once: the constructor has built every prior."""

  def submit(self, requests: Mapping[str, messages.ScoreRequest]) -> Pending:
    check_running(requests, self._priors)
    answers = {}
    try:
      # First the fits of the step before, in the order of an actor.
      before, self._step = self._step, step_key(requests)
      if self._step != before:
        self._fit()
      for name in sorted(requests):
        request = requests[name]
        score = self._priors[name].score
        answers[name] = call(name, request.step, score, request)
        if request.is_last:
          self._unfitted[name] = request.step
    except faults.PriorFault as fault:
      # `result` raises it, since with Ray it would be known there, not here.
      return _Answered({}, fault)
    return _Answered(answers, None)

  def _fit(self) -> None:
    """Runs the fits that the step before left."""
    for name in list(self._unfitted):
      # Taken off first, so that a fit that raises is not tried again.
      step = self._unfitted.pop(name)
      metrics = call(name, step, self._priors[name].fit)
      self._fit_metrics[name] = dict(metrics)

  def fit_metrics(self) -> dict[str, dict[str, float]]:
    return {name: dict(m) for name, m in self._fit_metrics.items()}

  def save_proxies(self) -> dict[str, messages.ProxyState]:
    self._fit()
    return {
      name: call(name, None, prior.save_proxy)
      for name, prior in self._priors.items()
    }

  def restore_proxies(self, states: Mapping[str, messages.ProxyState]) -> None:
    check_complete(states, self._priors)
    self._unfitted, self._fit_metrics, self._step = {}, {}, None
    for name, prior in self._priors.items():
      call(name, None, prior.restore_proxy, states[name])

  def close(self) -> None:
    self._priors = {}
    self._unfitted = {}
    # Each prior also after another has failed; a second time there is none.
    self._closing.close()

  def __enter__(self) -> 'InlineExecutor':
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()
