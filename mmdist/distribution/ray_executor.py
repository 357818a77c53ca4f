"""One Ray actor per prior; a lost one is made again, to the last bit.

An actor is built from a recipe inside its own process. Ray restarts a process
that dies, but never replays a call (`max_task_retries=0`): a replay on a fresh
proxy would answer as if nothing had been lost. The learner's side replays
instead, from a snapshot and a journal, and checks the answers against those it
had (`supervisor.py`).

A step in time: `submit` sends score and fit to every actor and returns at
once; `result` waits for the scores alone. The fits run while the learner takes
its step and renders the next views, and are waited for with the next step's
answers. Where a step asks in parts, an actor scores one while the learner
renders the next, and fits after its last.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import contextlib
import logging
from typing import Any
import uuid

import ray

from mmdist.core import errors
from mmdist.core import messages
from mmdist.distribution import actor_environment
from mmdist.distribution import calls
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import executor
from mmdist.distribution import hosting
from mmdist.distribution import learner_seat
from mmdist.distribution import limits as limits_lib
from mmdist.distribution import memory_room
from mmdist.distribution import memory_shares
from mmdist.distribution import placement
from mmdist.distribution import supervisor

_LEARNER = 'learner'  # Its part of a reservation.
# Steps between two snapshots of the proxies, at most. Requests hold their
# renders, so the journal has to end somewhere: 64 steps of four views at
# 128 x 128 are 50 MB for each prior. A prior that is brought back has to repeat
# as many scores and fits.
MAX_JOURNAL = 64


LookFor = Callable[[Sequence[messages.PriorRecipe]], memory_shares.Look]


def actor_options(
  spec: messages.PriorSpec,
  reservation: placement.Reservation = placement.NOTHING,
) -> dict[str, Any]:
  """Returns Ray's options for the actor of one prior."""
  return {
    **reservation.options(spec.num_threads),
    # Ray restarts a process as often as it dies; `faults.Budget` has the limit.
    'max_restarts': -1,
    'max_task_retries': 0,
    'runtime_env': actor_environment.runtime_env(spec.num_threads),
  }


def most_of(options: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
  """Returns the options of an actor in which several priors have room.

  Its priors work one at a time, so it reserves the most that one of them does.

  Raises:
    UserError: two of them ask for machines with different labels.
  """
  all_options = list(options)
  most = {
    **all_options[0],
    'num_cpus': max(o['num_cpus'] for o in all_options),
    'num_gpus': max(o['num_gpus'] for o in all_options),
  }
  resources: dict[str, float] = {}
  labels: dict[str, str] = {}
  for one in all_options:
    for name, amount in one.get('resources', {}).items():
      resources[name] = max(amount, resources.get(name, 0.0))
    for name, label in one.get('label_selector', {}).items():
      if labels.setdefault(name, label) != label:
        raise errors.UserError(
          f"node_labels has {name} '{labels[name]}' and '{label}' for priors "
          'of the same files, which share an actor; give them the same labels.'
        )
  most |= {'resources': resources} if resources else {}
  return most | ({'label_selector': labels} if labels else {})


def options_of_actors(
  recipes: Mapping[str, messages.PriorRecipe],
  reservations: Mapping[str, placement.Reservation] | None = None,
) -> dict[tuple, dict[str, Any]]:
  """Returns Ray's options of each actor; priors of the same files share one.

  Args:
    recipes: by prior.
    reservations: by prior, what its actor reserves of its machine.

  Raises:
    UserError: see `most_of`.
  """
  return {
    group: most_of(
      actor_options(
        recipes[name].spec,
        (reservations or {}).get(name, placement.NOTHING),
      )
      for name in names
    )
    for group, names in messages.group_by_files(recipes).items()
  }


def with_seat(
  options: Mapping[Any, dict[str, Any]], learner_gpus: Sequence[str]
) -> dict[Any, dict[str, Any]]:
  """Returns the options of actors, and of what the learner reserves itself."""
  seat = learner_seat.options(learner_gpus)
  return {**options, **({_LEARNER: seat} if seat else {})}


class _Sent:
  """A Pending of Ray: what `submit` returns."""

  def __init__(
    self,
    owner: 'RayExecutor',
    asked: dict[str, calls.Sent],
    earlier_fits: dict[str, calls.Asked],
  ):
    self._owner = owner
    self._asked = asked
    # Fits that were under way. An actor does them before these scores, and if
    # one of them fails, that explains why the scores fail.
    self._earlier_fits = earlier_fits
    self._answers: dict[str, messages.ScoreGradient] = {}

  def result(self) -> dict[str, messages.ScoreGradient]:
    self._owner.finish_fits(self._earlier_fits)
    # In sorted order. While one is waited for the others go on computing, so
    # the slowest alone decides how long this takes.
    for name, asked in self._asked.items():
      if name not in self._answers:
        self._answers[name] = self._owner.supervisors[name].answer(asked)
    return dict(self._answers)


class RayExecutor:
  """Runs every prior in a Ray actor. See `executor.Executor`.

  Priors that are made of the same files share an actor.

  Attributes:
    supervisors: by prior.
  """

  def __init__(
    self,
    recipes: Sequence[messages.PriorRecipe],
    *,
    address: str | None = None,
    dashboard: bool = False,
    ship_code: bool = True,
    reservations: Mapping[str, placement.Reservation] | None = None,
    gpus: Sequence[str] = (),
    learner_gpus: Sequence[str] = (),
    limits: limits_lib.Limits | None = None,
    check_stop: Callable[[], None] = lambda: None,
    shared: Mapping[tuple, Any] | None = None,
    learner: str = '',
    code: str = '',
    look: LookFor | None = None,
    room: placement.Room | None = None,
  ):
    """Starts the actors; their priors load while the caller goes on.

    Args:
      recipes: one per prior.
      address: of a running cluster; None joins the Ray that this process has
        already joined, or else starts one on this machine.
      dashboard: whether a Ray that is started here serves its dashboard, see
        `cluster.Cluster`.
      ship_code: whether the workers of a cluster get this mmdist.
      reservations: by prior, what its actor reserves of its machine.
      gpus: names of the GPUs that a Ray which is started here gives out; none
        leaves all of them to it. See `gpu_plan`.
      learner_gpus: names of those that the learner computes on, which a
        cluster is to give to nobody else.
      limits: of the priors' silence and losses; None has the defaults.
      check_stop: called now and then while an answer is waited for; may raise.
      shared: actors that other learners have priors in, by the priors'
        `PriorSpec.sharing_key`; a prior of another key has one of its own.
      learner: what this learner is called there; '' finds a name.
      code: this learner's, which actors compare; '' is not compared. See
        `code_shipping.check_same`.
      look: returns what the actor of some priors is to call, before any of
        them loads, to see whether they fit; None does not ask.
      room: that somebody has reserved for them, and for others, and closes;
        None reserves it here.

    Raises:
      ClusterUnavailable: Ray cannot be had, or has no room for a prior.
      UserError: two recipes have one name, priors that share an actor ask for
        machines with different labels, or a device lacks the memory.
    """
    by_name = executor.recipes_by_name(recipes)
    groups = messages.group_by_files(by_name)
    of_group = {
      group: one
      for group, one in options_of_actors(by_name, reservations).items()
      if group not in (shared or {})
    }
    self._room: placement.Room | None = None
    self._seat: Any = None
    self._fits: dict[str, calls.Asked] = {}
    self._step: executor.StepKey | None = None  # That was asked last.
    self._fit_metrics: dict[str, dict[str, float]] = {}
    # Empty until Ray is there: `close` has to work whatever fails below.
    self.supervisors: dict[str, supervisor.PriorSupervisor] = {}
    self._cluster = cluster_lib.Cluster(
      address, of_group, dashboard, ship_code, gpus
    )

    def check() -> None:
      check_stop()
      self._cluster.check_alive()

    try:
      if address and of_group:
        # Others may use the cluster, too. One that starts here has room.
        everybody = with_seat(of_group, learner_gpus)
        if room is None:
          placement.check_room(everybody)
          self._room = room = placement.Room(everybody)
          room.wait(check, logging.warning)
        if _LEARNER in everybody:
          placed = room.place(_LEARNER, everybody[_LEARNER])
          self._seat = learner_seat.take(placed, learner_gpus)
        of_group = {
          group: room.place(group, one) for group, one in of_group.items()
        }
      learner = learner or uuid.uuid4().hex
      limits = limits or limits_lib.Limits()
      hosts: dict[tuple, hosting.Hosting] = {
        group: hosting.Owned(of_group[group])
        if group in of_group
        else hosting.Shared((shared or {})[group])
        for group in groups
      }
      if look is not None:
        memory_room.check(
          {group: hosts[group].actor for group in of_group},
          {
            group: look([by_name[name] for name in groups[group]])
            for group in of_group
          },
          limits.build_deadline_s,
          check,
        )
      for group, names in groups.items():
        for name in names:
          self.supervisors[name] = supervisor.PriorSupervisor(
            by_name[name],
            hosts[group],
            learner,
            limits,
            check,
            code,
          )
    except BaseException:
      # Nobody has this executor yet, so nobody else can close it: a reservation
      # would keep its room as long as this process lives.
      self.close()
      raise
    self.supervisors = dict(sorted(self.supervisors.items()))

  def wait_until_ready(self) -> None:
    # One after the other; meanwhile the others go on loading.
    for supervised in self.supervisors.values():
      supervised.wait_until_ready()

  def submit(
    self, requests: Mapping[str, messages.ScoreRequest]
  ) -> executor.Pending:
    executor.check_running(requests, self.supervisors)
    before, self._step = self._step, executor.step_key(requests)
    earlier_fits: dict[str, calls.Asked] = {}
    # Between the parts of a step no proxy is saved, since a replay from there
    # would lack the parts before, and no fit is waited for: those that were
    # sent are of this step.
    if self._step != before:
      if any(
        supervised.journal.num_steps >= MAX_JOURNAL
        for supervised in self.supervisors.values()
      ):
        # The loop saves them more often than that; this is for other callers.
        self.save_proxies()
      earlier_fits = self.take_fits()
    # All are sent before any is waited for, so that the actors work at once;
    # fits after all scores, which are what the learner waits for.
    scorings = {
      name: self.supervisors[name].ask(requests[name])
      for name in sorted(requests)
    }
    fits = {
      name: self.supervisors[name].ask_fit(scoring)
      for name, scoring in scorings.items()
      if requests[name].is_last
    }
    self._fits |= fits
    return _Sent(self, {**scorings, **fits}, earlier_fits)

  def take_fits(self) -> dict[str, calls.Asked]:
    """Hands over the fits under way, to be finished by the taker."""
    fits, self._fits = self._fits, {}
    return fits

  def finish_fits(self, fits: Mapping[str, calls.Asked]) -> None:
    """Waits for builds and these fits, and keeps what the fits report."""
    self.wait_until_ready()
    for name, asked in fits.items():
      self._fit_metrics[name] = dict(self.supervisors[name].fitted(asked))

  def fit_metrics(self) -> dict[str, dict[str, float]]:
    return {name: dict(m) for name, m in self._fit_metrics.items()}

  def save_proxies(self) -> dict[str, messages.ProxyState]:
    # First the fits under way, so that what they reported is not lost.
    self.finish_fits(self.take_fits())
    return {
      name: supervised.save() for name, supervised in self.supervisors.items()
    }

  def restore_proxies(self, states: Mapping[str, messages.ProxyState]) -> None:
    executor.check_complete(states, self.supervisors)
    self.take_fits()  # Whatever became of them, it is undone.
    self._fit_metrics, self._step = {}, None
    self.wait_until_ready()
    for name, supervised in self.supervisors.items():
      supervised.restore(states[name])

  def close(self) -> None:
    # Where the head is gone, Ray would try for a minute to tell it, and then
    # end this process. The actors end with their machines' part of Ray.
    is_lost = self._cluster.is_lost()
    # In reverse order, and each also after another has failed.
    with contextlib.ExitStack() as closing:
      closing.callback(self._cluster.close)
      if not is_lost and self._room is not None:
        closing.callback(self._room.close)
      if not is_lost and self._seat is not None:
        closing.callback(ray.kill, self._seat)
      for supervised in () if is_lost else self.supervisors.values():
        closing.callback(supervised.close)
      self.supervisors = {}
      self._fits = {}
      self._seat = self._room = None

  def __enter__(self) -> 'RayExecutor':
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()
