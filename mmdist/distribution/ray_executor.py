"""One Ray actor per prior; a lost one is made again, to the last bit.

An actor is built from a recipe inside its own process. Ray restarts a process
that dies, but never replays a call (`max_task_retries=0`): a replay on a fresh
proxy would answer as if nothing had been lost. The learner's side replays
instead, from a snapshot and a journal, and checks the answers against those it
had.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import logging
import os
import pathlib
import signal
import time

import ray
from ray.util import scheduling_strategies

from mmdist.core import messages
from mmdist.distribution import actor as actor_lib
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor
from mmdist.distribution import faults
from mmdist.distribution import journal as journal_lib

# Read once, when the numeric libraries are first imported.
_THREAD_VARIABLES = (
  'OMP_NUM_THREADS',
  'MKL_NUM_THREADS',
  'OPENBLAS_NUM_THREADS',
)
# An actor that reserves no GPU still sees those there are: small priors share
# the learner's device.
_SHARE_GPUS = {'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0'}
# Requests hold their renders, so the journal must end somewhere.
MAX_JOURNAL = 64
_POLL_S = 0.2
_KILL_WITHIN_S = 30.0


@dataclasses.dataclass(frozen=True)
class Limits:
  """How long a prior may be silent, and how often it may be lost.

  Attributes:
    deadline_s: for an answer, a fit or a copy of a proxy. Only this finds a
      process that is stopped rather than dead.
    build_deadline_s: for a process to start and its weights to load.
    max_losses: of one prior within the window; one more ends the run.
    window_s: seconds.
  """

  deadline_s: float = 1800.0
  build_deadline_s: float = 1800.0
  max_losses: int = 5
  window_s: float = 3600.0


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


class Host:
  """One prior's actor, seen from the learner's side.

  Args:
    recipe: what the actor builds.
    options: Ray's.
    limits: of its silence and of its losses.
  """

  def __init__(
    self, recipe: messages.PriorRecipe, options: Mapping, limits: Limits
  ):
    self.name = recipe.spec.name
    self.limits = limits
    self.journal = journal_lib.Journal()
    self._recipe = recipe
    self._options = dict(options)
    self._budget = faults.Budget(limits.max_losses, limits.window_s)
    self._birth: actor_lib.Birth | None = None
    self._start()

  def _start(self) -> None:
    actor_class = ray.remote(actor_lib.PriorActor).options(**self._options)
    self._actor = actor_class.remote()
    self._build = self._actor.build.remote(self._recipe)

  def wait_until_ready(self) -> None:
    """Returns when the prior is built; a loss meanwhile is made good."""
    if self._birth is None:
      self._insist(None, self._await_build, lambda: None)

  def _await_build(self) -> None:
    self._birth = self.receive(None, self._build, self.limits.build_deadline_s)

  def ask(self, request: messages.ScoreRequest) -> '_Asked':
    """Sends a request and the fit after it; waits for neither."""
    entry = self.journal.ask(request)
    return self._send(entry)

  def _send(self, entry: journal_lib.Entry) -> '_Asked':
    request = entry.request
    return _Asked(
      entry,
      self._actor.score.remote(request),
      self._actor.fit.remote(request.step, request.proxy_step),
    )

  def answer(self, asked: '_Asked') -> messages.ScoreGradient:
    """Returns the answer to a request, whatever it takes."""
    entry = asked.entry

    def get():
      reply = self.receive(entry.request.step, asked.score)
      entry.digest = journal_lib.digest(reply)
      return reply

    def replayed():
      reply, entry.reply = entry.reply, None
      if reply is None:
        raise faults.PriorFailed(
          self.name,
          entry.request.step,
          'its answer was lost after its proxy had been saved; ask for answers '
          'before saving',
        )
      return reply

    if entry.reply is not None:  # A replay for someone else brought it.
      return replayed()
    return self._insist(entry.request.step, get, replayed)

  def fitted(self, asked: '_Asked') -> Mapping[str, float]:
    """Returns what the fit after a request reported."""
    entry = asked.entry

    def get():
      entry.fit = dict(self.receive(entry.request.step, asked.fit))
      return entry.fit

    if entry.fit is not None:
      return entry.fit
    return self._insist(entry.request.step, get, lambda: entry.fit)

  def save(self) -> messages.ProxyState:
    """Returns the proxy with every fit sent so far; the journal begins anew."""
    reference = self._actor.save_proxy.remote()

    def again():
      return self.receive(None, self._actor.save_proxy.remote())

    state = self._insist(None, lambda: self.receive(None, reference), again)
    self.journal.reset(state)
    return state

  def restore(self, state: messages.ProxyState) -> None:
    """Puts a proxy back; what was sent before has had no effect."""
    # First: should the process be lost now, this is what it is made from.
    self.journal.reset(state)
    self._insist(None, lambda: self._restore(state), lambda: None)

  def _restore(self, state: messages.ProxyState) -> None:
    self.receive(None, self._actor.restore_proxy.remote(state))

  def receive(self, step: int | None, reference, deadline_s: float = 0.0):
    """Returns what a reference stands for, or raises the prior's fault."""
    deadline_s = deadline_s or self.limits.deadline_s
    try:
      return ray.get(reference, timeout=deadline_s)
    except ray.exceptions.RayTaskError as error:
      cause = error.cause if error.cause is not None else error
      kind = faults.PriorFailed
      if isinstance(cause, actor_lib.OutOfStep):
        kind = faults.PriorLost
      elif isinstance(cause, FloatingPointError):
        kind = faults.PriorNotFinite
      raise kind(self.name, step, faults.describe(cause)) from cause
    except ray.exceptions.GetTimeoutError as error:
      cause = f'no answer within {deadline_s:g} s'
      raise faults.PriorLost(self.name, step, cause) from error
    except ray.exceptions.RayError as error:
      cause = f'its process died ({type(error).__name__})'
      raise faults.PriorLost(self.name, step, cause) from error

  def _insist(self, step: int | None, attempt: Callable, afterwards: Callable):
    """Returns attempt(), or after a loss that was made good, afterwards().

    Raises:
      PriorLost: the budget of losses is spent.
    """
    try:
      return attempt()
    except faults.PriorLost as fault:
      loss = fault
    while True:
      self._budget.spend(loss)
      logging.warning('%s; bringing it back', loss)
      try:
        self._bring_back(step)
        return afterwards()
      except faults.PriorLost as fault:
        loss = fault

  def _bring_back(self, step: int | None) -> None:
    """Makes the actor what it was: built, restored, replayed."""
    if self._birth is not None:
      end_process(self._birth)
    self._rebuild(step)
    if self.journal.state is not None:
      self._restore(self.journal.state)
    for entry in self.journal.entries:
      self._replay(entry)

  def _rebuild(self, step: int | None) -> None:
    """Waits until Ray has restarted the process, and builds the prior."""
    until = time.monotonic() + self.limits.build_deadline_s
    while True:
      left = until - time.monotonic()
      build = self._actor.build.remote(self._recipe)
      try:
        self._birth = self.receive(step, build, max(left, _POLL_S))
        return
      except faults.PriorLost as fault:
        if left <= 0:
          raise
        if isinstance(fault.__cause__, ray.exceptions.ActorDiedError):
          self._start()  # Ray has given this actor up for good.
      time.sleep(_POLL_S)

  def _replay(self, entry: journal_lib.Entry) -> None:
    asked = self._send(entry)
    step = entry.request.step
    reply = self.receive(step, asked.score)
    digest = journal_lib.digest(reply)
    if entry.digest and digest != entry.digest:
      raise faults.PriorFailed(
        self.name,
        step,
        'brought back, it answers otherwise than before: its machine differs '
        'from the one that it was lost on; resume from the last checkpoint',
      )
    if not entry.digest:
      entry.digest, entry.reply = digest, reply
    entry.fit = dict(self.receive(step, asked.fit))

  def close(self) -> None:
    """Ends the process, also one that does not listen any more."""
    ray.kill(self._actor)
    if self._birth is not None:
      end_process(self._birth)


def end_process(birth: actor_lib.Birth) -> None:
  """Kills the process of an actor, wherever it is; harmless if it is gone.

  Ray asks a process to end itself, which a stopped one does not hear.
  """
  if birth.node == ray.get_runtime_context().get_node_id():
    _kill(birth.pid)
    return
  there = scheduling_strategies.NodeAffinitySchedulingStrategy(
    birth.node, soft=False
  )
  kill = ray.remote(num_cpus=0, max_retries=0)(_kill)
  try:
    ray.get(
      kill.options(scheduling_strategy=there).remote(birth.pid),
      timeout=_KILL_WITHIN_S,
    )
  except ray.exceptions.RayError as error:  # The machine is gone as well.
    logging.warning('process %d is out of reach: %s', birth.pid, error)


def _kill(pid: int) -> None:
  """Kills one of Ray's processes; a number in other use now is left alone."""
  try:
    command = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    if command.startswith(b'ray::'):
      os.kill(pid, signal.SIGKILL)
  except (FileNotFoundError, ProcessLookupError):
    pass


@dataclasses.dataclass(frozen=True)
class _Asked:
  """A request on its way: its entry, and references to answer and fit."""

  entry: journal_lib.Entry
  score: ray.ObjectRef
  fit: ray.ObjectRef


class _Sent:
  """A Pending of Ray."""

  def __init__(self, owner: 'RayExecutor', asked: dict[str, _Asked]):
    self._owner = owner
    self._asked = asked
    # Fits that were under way: done before these scores can be, and their
    # faults explain those of the scores.
    self._earlier_fits = owner.take_fits()
    self._answers: dict[str, messages.ScoreGradient] = {}

  def result(self) -> dict[str, messages.ScoreGradient]:
    self._owner.finish_fits(self._earlier_fits)
    for name, asked in self._asked.items():
      if name not in self._answers:
        self._answers[name] = self._owner.hosts[name].answer(asked)
    return dict(self._answers)


class RayExecutor:
  """Runs every prior in a Ray actor. See `executor.Executor`.

  Attributes:
    hosts: by prior.
  """

  def __init__(
    self,
    recipes: Sequence[messages.PriorRecipe],
    *,
    address: str | None = None,
    num_gpus: Mapping[str, float] | None = None,
    limits: Limits = Limits(),
  ):
    """Starts the actors; their priors load while the caller goes on.

    Args:
      recipes: one per prior.
      address: of a running cluster; None joins the Ray that this process has
        already joined, or else starts one on this machine.
      num_gpus: by prior, the GPUs (or share of one) that its actor reserves.
        Without a reservation it shares those of its machine.
      limits: of the priors' silence and losses.

    Raises:
      ClusterUnavailable: Ray cannot be had, or has no room for a prior.
    """
    recipes = executor.recipes_by_name(recipes)
    options = {
      name: actor_options(recipe.spec, (num_gpus or {}).get(name, 0.0))
      for name, recipe in recipes.items()
    }
    self._fits: dict[str, _Asked] = {}
    self._fit_metrics: dict[str, dict[str, float]] = {}
    self.hosts: dict[str, Host] = {}
    self._cluster = cluster_lib.Cluster(address, options)
    self.hosts = {
      name: Host(recipe, options[name], limits)
      for name, recipe in recipes.items()
    }

  def wait_until_ready(self) -> None:
    for host in self.hosts.values():
      host.wait_until_ready()

  def submit(
    self, requests: Mapping[str, messages.ScoreRequest]
  ) -> executor.Pending:
    executor.check_running(requests, self.hosts)
    if any(len(h.journal.entries) >= MAX_JOURNAL for h in self.hosts.values()):
      self.save_proxies()
    asked = {
      name: self.hosts[name].ask(requests[name]) for name in sorted(requests)
    }
    pending = _Sent(self, asked)
    self._fits = asked
    return pending

  def take_fits(self) -> dict[str, _Asked]:
    """Hands over the fits under way, to be finished by the taker."""
    fits, self._fits = self._fits, {}
    return fits

  def finish_fits(self, fits: Mapping[str, _Asked]) -> None:
    """Waits for builds and these fits, and keeps what the fits report."""
    self.wait_until_ready()
    for name, asked in fits.items():
      self._fit_metrics[name] = dict(self.hosts[name].fitted(asked))

  def fit_metrics(self) -> dict[str, dict[str, float]]:
    return {name: dict(m) for name, m in self._fit_metrics.items()}

  def save_proxies(self) -> dict[str, messages.ProxyState]:
    self.finish_fits(self.take_fits())
    return {name: host.save() for name, host in self.hosts.items()}

  def restore_proxies(self, states: Mapping[str, messages.ProxyState]) -> None:
    executor.check_complete(states, self.hosts)
    self.take_fits()  # Whatever became of them, it is undone.
    self._fit_metrics = {}
    self.wait_until_ready()
    for name, host in self.hosts.items():
      host.restore(states[name])

  def close(self) -> None:
    for host in self.hosts.values():
      host.close()
    self.hosts = {}
    self._fits = {}
    self._cluster.close()

  def __enter__(self) -> 'RayExecutor':
    return self

  def __exit__(self, *exception) -> None:
    self.close()
