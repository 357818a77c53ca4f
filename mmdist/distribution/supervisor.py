"""One prior's actor, seen from the learner's side: made again when it is lost.

Owns what is done about a process that died, hangs or lost an answer. It is
ended for certain; the prior is built anew, its proxy restored, and everything
that was asked since is asked once more.

Whoever calls a `PriorSupervisor` gets the answer that an actor without faults
would have given, bit for bit, or an exception; never an approximation. Three
things make that possible: a request carries every random choice of its answer
and of the fit that follows, the journal keeps every request since the last
snapshot of the proxy, and the actor carries out each call once (`actor.py`).
"""

from collections.abc import Callable, Mapping
import logging
import math
import time
from typing import Any, TypeVar

import ray

from mmdist.core import messages
from mmdist.core import progress
from mmdist.distribution import actor as actor_lib
from mmdist.distribution import calls
from mmdist.distribution import faults
from mmdist.distribution import hosting as hosting_lib
from mmdist.distribution import journal as journal_lib
from mmdist.distribution import limits as limits_lib
from mmdist.distribution import processes
from mmdist.distribution import ray_errors
from mmdist.distribution import waiting

_T = TypeVar('_T')
_POLL_S = 0.2  # Between two attempts to reach a process that restarts.
# How often it is said that a prior still loads, or does not answer yet.
_SAY_LOADING_S = 30.0
_SAY_SILENT_S = 120.0


class PriorSupervisor:
  """One prior's actor, seen from the learner's side.

  Attributes:
    name: the prior's.
    limits: how long it may be silent, and how often it may be lost.
    journal: what a lost proxy is made from again.

  Args:
    recipe: what the actor builds.
    hosting: which actor.
    learner: a name that no other learner of the actor has.
    limits: how long it may be silent, and how often it may be lost.
    check_stop: called now and then while it waits; may raise.
    code: names the learner's code, which the actor compares with its own; ''
      is not compared.
  """

  def __init__(
    self,
    recipe: messages.PriorRecipe,
    hosting: hosting_lib.Hosting,
    learner: str,
    limits: limits_lib.Limits,
    check_stop: Callable[[], None] = lambda: None,
    code: str = '',
  ):
    self.name = recipe.spec.name
    self.limits = limits
    self.journal = journal_lib.Journal()
    self._check_stop = check_stop
    self._recipe = recipe
    self._hosting = hosting
    self._code = code
    self._session = actor_lib.SessionId(learner, self.name)
    self._budget = faults.Budget(limits.max_losses, limits.window_s)
    self._deadline = limits_lib.Deadline()
    # Which process answers, once it has said so. Needed to kill one that hangs.
    self._process: processes.ProcessId | None = None
    # The prior is built by a call, not by the actor's constructor. When Ray
    # restarts a process it runs the constructor again by itself; an actor that
    # came back with a fresh proxy could not be told from the one that was lost.
    # With a call of its own, the actor comes back without a prior, and says so
    # when it is asked.
    self._build = self._ask_to_build()
    self._patience = waiting.Patience(_SAY_SILENT_S)

  @property
  def _actor(self) -> Any:
    return self._hosting.actor

  def _ask_to_build(self) -> ray.ObjectRef:
    self._asked_to_build_at = time.monotonic()
    # This first, so that a process that hangs while it builds can be ended.
    self._where = self._actor.where.remote()
    return self._actor.build.remote(self._session, self._recipe, self._code)

  def wait_until_ready(self) -> None:
    """Returns when the prior is built; if its process dies, waits for another.

    Raises PriorFailed if it cannot be built, PriorLost after too many losses.
    """
    if self._process is None:
      self._insist(None, self._await_build, self._build_again, lambda: None)

  def _await_build(self) -> None:
    # Its building began when it was asked, maybe while another was waited for.
    self._patience = waiting.Patience(
      _SAY_LOADING_S, start=self._asked_to_build_at
    )
    self._process = self.receive(
      None, self._build, self.limits.build_deadline_s
    )
    self._deadline.begin()

  def _build_again(self) -> None:
    self._build = self._ask_to_build()
    self._await_build()

  def ask(self, request: messages.ScoreRequest) -> calls.Scoring:
    """Sends a request, and does not wait for its answer."""
    # Noted before it is sent: whatever happens on the way, it can be replayed.
    return self._send_score(self.journal.ask(request))

  def ask_fit(self, scoring: calls.Scoring) -> calls.Asked:
    """Sends the fit after the last request of a step, and waits for none."""
    # Ray carries out the calls on one actor in the order in which they were
    # submitted. So the fit follows its score without another round trip, and
    # the next request finds the fit done.
    request = scoring.entry.request
    fit = self._actor.fit.remote(
      self._session, request.step, request.proxy_step
    )
    return calls.Asked(scoring.entry, scoring.score, fit, scoring.sent)

  def _send_score(self, entry: journal_lib.Entry) -> calls.Scoring:
    return calls.Scoring(
      entry, self._actor.score.remote(self._session, entry.request)
    )

  def _send(self, entry: journal_lib.Entry) -> calls.Sent:
    scoring = self._send_score(entry)
    return self.ask_fit(scoring) if entry.request.is_last else scoring

  def answer(self, asked: calls.Sent) -> messages.ScoreGradient:
    """Returns the answer; if it was lost, recovers it first.

    Raises:
      PriorFailed: it raised, or the answer was lost after its proxy was saved.
      PriorLost: it was lost more often than `limits` allow.
    """
    entry = asked.entry

    def get() -> messages.ScoreGradient:
      return self._answered(entry, asked)

    def again() -> messages.ScoreGradient:
      return self._answered(entry, self._send(entry))

    def replayed() -> messages.ScoreGradient:
      # The prior was lost and brought back meanwhile. The replay has asked
      # this request too, and has left the answer in its entry. It is handed
      # over once and then forgotten, since it is as large as the images.
      reply, entry.reply = entry.reply, None
      if reply is None:
        # No replay has asked it: its entry left the journal when the proxy was
        # saved. The proxy has gone on since, so it cannot be asked again.
        raise faults.PriorFailed(
          self.name,
          entry.request.step,
          'its answer was lost after its proxy had been saved; ask for answers '
          'before saving',
        )
      return reply

    if entry.reply is not None:  # A replay for another call brought it.
      return replayed()
    return self._insist(entry.request.step, get, again, replayed)

  def _answered(
    self, entry: journal_lib.Entry, scoring: calls.Sent
  ) -> messages.ScoreGradient:
    reply = self.receive(entry.request.step, scoring.score)
    self._deadline.note(time.monotonic() - scoring.sent)
    # The learner will use this answer, so a later replay must give the same.
    entry.digest = journal_lib.digest(reply)
    return reply

  def fitted(self, asked: calls.Asked) -> Mapping[str, float]:
    """Returns what the fit after a request reported."""
    entry = asked.entry

    def get(reference: ray.ObjectRef) -> Mapping[str, float]:
      entry.fit = dict(self.receive(entry.request.step, reference))
      return entry.fit

    if entry.fit is not None:  # A replay for another call has done it.
      return entry.fit
    return self._insist(
      entry.request.step,
      lambda: get(asked.fit),
      # Sends the score as well, which the actor answers from memory.
      lambda: get(self.ask_fit(self._send_score(entry)).fit),
      # If the proxy was saved since, the fit is in it; the report is lost.
      lambda: entry.fit or {},
    )

  def save(self) -> messages.ProxyState:
    """Returns the proxy with every fit sent so far; the journal begins anew."""

    def save_proxy() -> messages.ProxyState:
      return self.receive(None, self._actor.save_proxy.remote(self._session))

    state = self._insist(None, save_proxy, save_proxy, save_proxy)
    self.journal.reset(state)
    return state

  def restore(self, state: messages.ProxyState) -> None:
    """Puts a proxy back; what was sent before has had no effect."""
    # The journal is reset first: if the process is lost during the call below,
    # it is rebuilt from this state.
    self.journal.reset(state)

    def restore() -> None:
      self._restore(state)

    # Bringing the prior back has restored it from the journal already.
    self._insist(None, restore, restore, lambda: None)

  def _restore(self, state: messages.ProxyState) -> None:
    restored = self._actor.restore_proxy.remote(self._session, state)
    self.receive(None, restored)

  def receive(
    self, step: int | None, reference: ray.ObjectRef, deadline_s: float = 0.0
  ) -> Any:
    """Returns what a reference stands for, or raises the prior's fault.

    Which fault decides what is done about it: PriorFailed is the prior's own
    error, which would come again; after PriorLost the prior is brought back;
    after ReplyLost it is asked once more.

    Args:
      step: of the request, for the message; None outside of any step.
      reference: to the result of a call on the actor.
      deadline_s: how long to wait for a build; 0 stands for the deadline of an
        answer.
    """
    waits = 'is still loading' if deadline_s else 'has not answered yet'
    deadline_s = deadline_s or self._deadline.seconds(self.limits)

    def look() -> None:
      self._say_waiting(waits, deadline_s)

    try:
      return waiting.get(reference, deadline_s, self._check_stop, look)
    except ray.exceptions.RayError as error:
      raise ray_errors.fault_of(
        error, self.name, step, deadline_s
      ) from ray_errors.cause_of(error)

  def _say_waiting(self, waits: str, deadline_s: float) -> None:
    if waited := self._patience.due():
      until = progress.format_seconds(deadline_s)
      logging.warning(
        "prior '%s' %s, %s so far; it is lost after %s",
        *(self.name, waits, waited, until),
      )

  def _last_known(self) -> processes.ProcessId | None:
    """Returns the process that answers, or that hangs while it builds."""
    # The newest one has said where it is before it began to build.
    try:
      return ray.get(self._where, timeout=0)
    except ray.exceptions.RayError:
      return self._process

  def _insist(
    self,
    step: int | None,
    attempt: Callable[[], _T],
    again: Callable[[], _T],
    afterwards: Callable[[], _T],
  ) -> _T:
    """Returns what an attempt gives; if it was lost, recovers it first.

    Args:
      step: for messages.
      attempt: waits for what is under way.
      again: for an answer that was lost while its process may be well: asks
        that process once more. It remembers what it has answered.
      afterwards: gives the same once the prior was brought back.

    Raises:
      PriorLost: it was lost more often than `limits` allow.
      PriorFailed: the prior itself raised; asking again would not help.
    """
    self._patience = waiting.Patience(_SAY_SILENT_S)
    try:
      return attempt()
    except faults.PriorLost as fault:
      loss = fault
    # Recovering may fail with another loss, which is then handled in the next
    # round. Two budgets end this, since a prior that is lost over and over has
    # another problem. The run's forgets losses older than its window. This
    # call's forgets none: where each attempt takes half an hour, since no
    # machine has room, few attempts fall in one window.
    in_a_row = faults.Budget(self.limits.max_losses, math.inf)
    while True:
      # Before the first build there is no proxy to lose.
      if self._process is not None:
        self._budget.spend(loss)
      in_a_row.spend(loss)
      try:
        if isinstance(loss, faults.ReplyLost):
          logging.warning('%s; asking again', loss)
          return again()
        logging.warning('%s; bringing it back', loss)
        self._deadline.note_loss()
        self._bring_back(step, loss)
        return afterwards()
      except faults.PriorLost as fault:
        loss = fault

  def _bring_back(self, step: int | None, loss: faults.PriorLost) -> None:
    """Makes the prior what it was: built, restored, replayed."""
    before = self._last_known()
    # A process that seems to be dead is killed, too. One that only hangs could
    # wake up later, and would hold its GPU's memory until then. But a process
    # that answers that it lacks this proxy is well, and may have others.
    answers = isinstance(loss.__cause__, actor_lib.OutOfStep)
    if before is not None and not answers:
      processes.end_process(before)
    if self.journal.state is None:
      # A process that is well may still have the prior, with fits behind it,
      # and there is no snapshot to put back. So it is built from nothing.
      self._actor.end_session.remote(self._session)
    self._rebuild(step)
    # Ray may have started another one by itself; two never hold one GPU.
    if before is not None and before != self._process:
      processes.end_process(before)
    # Without a snapshot the proxy as it was built is the one to begin from.
    if self.journal.state is not None:
      self._restore(self.journal.state)
    for entry in self.journal.entries:
      self._replay(entry)

  def _rebuild(self, step: int | None) -> None:
    """Waits until Ray has restarted the process, and builds the prior."""
    self._patience = waiting.Patience(_SAY_LOADING_S)
    until = time.monotonic() + self.limits.build_deadline_s
    while True:
      left = until - time.monotonic()
      actor = self._actor
      build = self._ask_to_build()
      try:
        self._process = self.receive(step, build, max(left, _POLL_S))
        self._deadline.begin()
        # What follows is replayed, not loaded.
        self._patience = waiting.Patience(_SAY_SILENT_S)
        return
      except faults.PriorLost as fault:
        # While Ray restarts a process, every call on it fails like this. After
        # the deadline it is not asked once more: that call would wait behind
        # the one that hangs, and nobody would know which process to end.
        if time.monotonic() >= until:
          raise
        if isinstance(fault.__cause__, ray.exceptions.ActorDiedError):
          self._hosting.replace(actor)  # Ray has given it up for good.
          if self._hosting.actor is actor:
            raise  # Nobody here starts another, so waiting would not help.
      self._say_waiting('is still loading', self.limits.build_deadline_s)
      time.sleep(_POLL_S)

  def _replay(self, entry: journal_lib.Entry) -> None:
    """Asks an entry's request again, and has its fit, if any, done again."""
    asked = self._send(entry)
    step = entry.request.step
    reply = self.receive(step, asked.score)
    digest = journal_lib.digest(reply)
    # The learner has moved by the answer that it had. If this one differs, the
    # proxy differs as well, and the run would continue from a state that no
    # uninterrupted run can reach.
    if entry.digest and digest != entry.digest:
      raise faults.PriorFailed(
        self.name,
        step,
        'brought back, it answers otherwise than before: its machine differs '
        'from the one that it was lost on; resume from the last checkpoint',
      )
    # No caller has had this answer yet: it is kept for the one that asks.
    if not entry.digest:
      entry.digest, entry.reply = digest, reply
    if isinstance(asked, calls.Asked):
      entry.fit = dict(self.receive(step, asked.fit))

  def close(self) -> None:
    """Lets the prior go, even if it does not answer any more."""
    self._hosting.leave(self._session, self._last_known())
