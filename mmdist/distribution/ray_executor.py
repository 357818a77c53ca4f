"""One Ray actor per prior: threads, and what a loss looks like.

An actor is built from a recipe inside its own process. Ray may restart a dead
process, but never replays a call (`max_task_retries=0`): a replay on a fresh
proxy would answer as if nothing had been lost. A restarted actor therefore
knows that it is empty, and says so.
"""

from collections.abc import Mapping, Sequence

import ray

from mmdist.core import messages
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor
from mmdist.distribution import faults

# Read once, when the numeric libraries are first imported.
_THREAD_VARIABLES = (
  'OMP_NUM_THREADS',
  'MKL_NUM_THREADS',
  'OPENBLAS_NUM_THREADS',
)
# An actor that reserves no GPU still sees those there are: small priors share
# the learner's device.
_SHARE_GPUS = {'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0'}
# Only a deadline finds a stopped process; a prior's first answer waits for
# its weights to load.
DEFAULT_DEADLINE_S = 1800.0


class EmptyActor(RuntimeError):
  """This process is new and has not built its prior."""


class PriorActor:
  """Hosts one prior in a process of its own."""

  def __init__(self):
    self._prior = None

  def build(self, recipe: messages.PriorRecipe) -> None:
    self._prior = recipe.build(recipe.spec)

  def call(self, method: str, *arguments):
    """Returns what a method of the prior returns."""
    if self._prior is None:
      raise EmptyActor('its process was restarted and has lost its proxy')
    return getattr(self._prior, method)(*arguments)


def actor_options(spec: messages.PriorSpec, num_gpus: float) -> dict:
  """Returns Ray's options for the actor of one prior."""
  variables = dict(_SHARE_GPUS)
  if spec.num_threads:
    variables |= dict.fromkeys(_THREAD_VARIABLES, str(spec.num_threads))
  return {
    'num_cpus': max(spec.num_threads, 1),
    'num_gpus': num_gpus,
    'max_restarts': -1,
    'max_task_retries': 0,
    'runtime_env': {'env_vars': variables},
  }


class _Sent:
  """A Pending of Ray: references to the answers."""

  def __init__(self, owner: 'RayExecutor', steps: dict, references: dict):
    self._owner = owner
    self._steps = steps
    self._references = references
    # Fits that were under way: done before these scores can be, and their
    # faults explain those of the scores.
    self._earlier_fits = owner.take_fits()

  def result(self) -> dict[str, messages.ScoreGradient]:
    self._owner.finish_fits(self._earlier_fits)
    return {
      name: self._owner.get(name, self._steps[name], reference)
      for name, reference in self._references.items()
    }


class RayExecutor:
  """Runs every prior in a Ray actor. See `executor.Executor`."""

  def __init__(
    self,
    recipes: Sequence[messages.PriorRecipe],
    *,
    address: str | None = None,
    num_gpus: Mapping[str, float] | None = None,
    deadline_s: float = DEFAULT_DEADLINE_S,
  ):
    """Starts the actors; their priors load while the caller goes on.

    Args:
      recipes: one per prior.
      address: of a running cluster; None joins the Ray that this process has
        already joined, or else starts one on this machine.
      num_gpus: by prior, the GPUs (or share of one) that its actor reserves.
        Without a reservation it shares those of its machine.
      deadline_s: how long an answer may take before its prior counts as lost.

    Raises:
      ClusterUnavailable: Ray cannot be had, or has no room for a prior.
    """
    recipes = executor.recipes_by_name(recipes)
    options = {
      name: actor_options(recipe.spec, (num_gpus or {}).get(name, 0.0))
      for name, recipe in recipes.items()
    }
    self._deadline_s = deadline_s
    self._fits: dict[str, tuple] = {}  # Prior -> (step, reference).
    self._fit_metrics: dict[str, dict[str, float]] = {}
    self._actors: dict = {}
    self._cluster = cluster_lib.Cluster(address, options)
    for name in recipes:
      self._actors[name] = (
        ray.remote(PriorActor).options(**options[name]).remote()
      )
    self._builds = {
      name: self._actors[name].build.remote(recipe)
      for name, recipe in recipes.items()
    }

  def wait_until_ready(self) -> None:
    while self._builds:
      name, reference = next(iter(self._builds.items()))
      self.get(name, None, reference)
      del self._builds[name]

  def submit(
    self, requests: Mapping[str, messages.ScoreRequest]
  ) -> executor.Pending:
    executor.check_running(requests, self._actors)
    ordered = {name: requests[name] for name in sorted(requests)}
    references = {
      name: self._actors[name].call.remote('score', request)
      for name, request in ordered.items()
    }
    steps = {name: request.step for name, request in ordered.items()}
    pending = _Sent(self, steps, references)
    self._fits = {
      name: (step, self._actors[name].call.remote('fit'))
      for name, step in steps.items()
    }
    return pending

  def take_fits(self) -> dict[str, tuple]:
    """Hands over the fits under way, to be finished by the taker."""
    fits, self._fits = self._fits, {}
    return fits

  def finish_fits(self, fits: dict[str, tuple]) -> None:
    """Waits for builds and these fits, and keeps what the fits report."""
    self.wait_until_ready()
    for name, (step, reference) in fits.items():
      self._fit_metrics[name] = dict(self.get(name, step, reference))

  def get(self, name: str, step: int | None, reference):
    """Returns what a reference stands for, or raises the prior's fault."""
    try:
      return ray.get(reference, timeout=self._deadline_s)
    except ray.exceptions.RayTaskError as error:
      cause = error.cause if error.cause is not None else error
      kind = faults.PriorFailed
      if isinstance(cause, EmptyActor):
        kind = faults.PriorLost
      raise kind(name, step, faults.describe(cause)) from cause
    except ray.exceptions.GetTimeoutError as error:
      cause = f'no answer within {self._deadline_s:g} s'
      raise faults.PriorLost(name, step, cause) from error
    except ray.exceptions.RayError as error:
      cause = f'its process died ({type(error).__name__})'
      raise faults.PriorLost(name, step, cause) from error

  def fit_metrics(self) -> dict[str, dict[str, float]]:
    return {name: dict(m) for name, m in self._fit_metrics.items()}

  def save_proxies(self) -> dict[str, messages.ProxyState]:
    return self._call_all('save_proxy', {name: () for name in self._actors})

  def restore_proxies(self, states: Mapping[str, messages.ProxyState]) -> None:
    executor.check_complete(states, self._actors)
    self._call_all('restore_proxy', {name: (states[name],) for name in states})

  def _call_all(self, method: str, arguments: Mapping[str, tuple]) -> dict:
    fits = self.take_fits()
    references = {
      name: actor.call.remote(method, *arguments[name])
      for name, actor in self._actors.items()
    }
    self.finish_fits(fits)
    return {name: self.get(name, None, ref) for name, ref in references.items()}

  def close(self) -> None:
    for actor in self._actors.values():
      ray.kill(actor)
    self._actors = {}
    self._fits = {}
    self._cluster.close()

  def __enter__(self) -> 'RayExecutor':
    return self

  def __exit__(self, *exception) -> None:
    self.close()
