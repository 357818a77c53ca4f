"""One prior's actor, seen from the learner's side: made again when it is lost.

Owns what is done about a process that died, hangs or lost an answer: it is
ended for certain, built anew, restored, and asked everything since once more.
"""

from collections.abc import Callable, Mapping
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
from mmdist.distribution import faults
from mmdist.distribution import journal as journal_lib

_POLL_S = 0.2
_SLICE_S = 0.5
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


@dataclasses.dataclass(frozen=True)
class Asked:
  """A request on its way: its entry, and references to answer and fit."""

  entry: journal_lib.Entry
  score: ray.ObjectRef
  fit: ray.ObjectRef


class PriorSupervisor:
  """One prior's actor, seen from the learner's side.

  Args:
    recipe: what the actor builds.
    options: Ray's.
    limits: of its silence and of its losses.
    check_stop: called now and then while it waits; may raise.
  """

  def __init__(
    self,
    recipe: messages.PriorRecipe,
    options: Mapping,
    limits: Limits,
    check_stop: Callable[[], None] = lambda: None,
  ):
    self.name = recipe.spec.name
    self.limits = limits
    self.journal = journal_lib.Journal()
    self._check_stop = check_stop
    self._recipe = recipe
    self._options = dict(options)
    self._budget = faults.Budget(limits.max_losses, limits.window_s)
    self._process: actor_lib.ProcessId | None = None
    self._start()

  def _start(self) -> None:
    actor_class = ray.remote(actor_lib.PriorActor).options(**self._options)
    self._actor = actor_class.remote()
    self._build = self._ask_to_build()

  def _ask_to_build(self) -> ray.ObjectRef:
    return self._actor.build.remote(self._recipe)

  def wait_until_ready(self) -> None:
    """Returns when the prior is built; a loss meanwhile is made good."""
    if self._process is None:
      self._insist(None, self._await_build, self._build_again, lambda: None)

  def _await_build(self) -> None:
    self._process = self.receive(
      None, self._build, self.limits.build_deadline_s
    )

  def _build_again(self) -> None:
    self._build = self._ask_to_build()
    self._await_build()

  def ask(self, request: messages.ScoreRequest) -> Asked:
    """Sends a request and the fit after it; waits for neither."""
    entry = self.journal.ask(request)
    return self._send(entry)

  def _send(self, entry: journal_lib.Entry) -> Asked:
    request = entry.request
    return Asked(
      entry,
      self._actor.score.remote(request),
      self._actor.fit.remote(request.step, request.proxy_step),
    )

  def answer(self, asked: Asked) -> messages.ScoreGradient:
    """Returns the answer to a request, whatever it takes."""
    entry = asked.entry

    def get():
      return self._answered(entry, asked.score)

    def again():
      return self._answered(entry, self._send(entry).score)

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
    return self._insist(entry.request.step, get, again, replayed)

  def _answered(self, entry: journal_lib.Entry, reference):
    reply = self.receive(entry.request.step, reference)
    entry.digest = journal_lib.digest(reply)
    return reply

  def fitted(self, asked: Asked) -> Mapping[str, float]:
    """Returns what the fit after a request reported."""
    entry = asked.entry

    def get(reference):
      entry.fit = dict(self.receive(entry.request.step, reference))
      return entry.fit

    if entry.fit is not None:
      return entry.fit
    return self._insist(
      entry.request.step,
      lambda: get(asked.fit),
      lambda: get(self._send(entry).fit),
      lambda: entry.fit,
    )

  def save(self) -> messages.ProxyState:
    """Returns the proxy with every fit sent so far; the journal begins anew."""

    def save_proxy():
      return self.receive(None, self._actor.save_proxy.remote())

    state = self._insist(None, save_proxy, save_proxy, save_proxy)
    self.journal.reset(state)
    return state

  def restore(self, state: messages.ProxyState) -> None:
    """Puts a proxy back; what was sent before has had no effect."""
    # First: should the process be lost now, this is what it is made from.
    self.journal.reset(state)

    def restore():
      self._restore(state)

    self._insist(None, restore, restore, lambda: None)

  def _restore(self, state: messages.ProxyState) -> None:
    self.receive(None, self._actor.restore_proxy.remote(state))

  def receive(self, step: int | None, reference, deadline_s: float = 0.0):
    """Returns what a reference stands for, or raises the prior's fault."""
    deadline_s = deadline_s or self.limits.deadline_s
    try:
      return self._get(reference, deadline_s)
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
    except ray.exceptions.ObjectLostError as error:
      cause = f'its answer was lost on the way ({type(error).__name__})'
      raise faults.ReplyLost(self.name, step, cause) from error
    except ray.exceptions.RayError as error:
      cause = f'its process died ({type(error).__name__})'
      raise faults.PriorLost(self.name, step, cause) from error

  def _get(self, reference, deadline_s: float):
    """As ray.get, but in slices: while it waits, Python hears no signal."""
    until = time.monotonic() + deadline_s
    while True:
      self._check_stop()
      left = until - time.monotonic()
      try:
        return ray.get(reference, timeout=min(max(left, 0), _SLICE_S))
      except ray.exceptions.GetTimeoutError:
        if left <= _SLICE_S:
          raise

  def _insist(
    self,
    step: int | None,
    attempt: Callable,
    again: Callable,
    afterwards: Callable,
  ):
    """Returns what an attempt gives, whatever it takes.

    Args:
      step: for messages.
      attempt: waits for what is under way.
      again: asks a process once more that may be well; it answers from memory
        what it has answered.
      afterwards: gives the same once the prior was made again.

    Raises:
      PriorLost: the budget of losses is spent.
    """
    try:
      return attempt()
    except faults.PriorLost as fault:
      loss = fault
    while True:
      self._budget.spend(loss)
      try:
        if isinstance(loss, faults.ReplyLost):
          logging.warning('%s; asking again', loss)
          return again()
        logging.warning('%s; bringing it back', loss)
        self._bring_back(step)
        return afterwards()
      except faults.PriorLost as fault:
        loss = fault

  def _bring_back(self, step: int | None) -> None:
    """Makes the actor what it was: built, restored, replayed."""
    if self._process is not None:
      end_process(self._process)
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
      build = self._ask_to_build()
      try:
        self._process = self.receive(step, build, max(left, _POLL_S))
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
    if self._process is not None:
      end_process(self._process)


def end_process(process: actor_lib.ProcessId) -> None:
  """Kills the process of an actor, wherever it is; harmless if it is gone.

  Ray asks a process to end itself, which a stopped one does not hear.
  """
  if process.node == ray.get_runtime_context().get_node_id():
    _kill(process.pid)
    return
  there = scheduling_strategies.NodeAffinitySchedulingStrategy(
    process.node, soft=False
  )
  kill = ray.remote(num_cpus=0, max_retries=0)(_kill)
  try:
    ray.get(
      kill.options(scheduling_strategy=there).remote(process.pid),
      timeout=_KILL_WITHIN_S,
    )
  except ray.exceptions.RayError as error:  # The machine is gone as well.
    logging.warning('process %d is out of reach: %s', process.pid, error)


def _kill(pid: int) -> None:
  """Kills one of Ray's processes; a number in other use now is left alone."""
  try:
    command = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
    if command.startswith(b'ray::'):
      os.kill(pid, signal.SIGKILL)
  except (FileNotFoundError, ProcessLookupError):
    pass
