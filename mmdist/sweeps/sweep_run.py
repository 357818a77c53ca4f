"""Runs the cells of a sweep over Ray: slots, shared actors, signals.

What is decided about cells is in `scheduling.py`, what is checked before in
`planning.py`, what is reserved in `sweep_room.py`, and what is made of the
results in `sweep_results.py`.
"""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import os
from typing import Any
import uuid

from mmdist.core import errors
from mmdist.core import progress as progress_lib
from mmdist.core import source_hash
from mmdist.distribution import cluster as cluster_lib
from mmdist.distribution import limits
from mmdist.distribution import memory_room
from mmdist.distribution import placement
from mmdist.run import memory_estimate
from mmdist.run import sessions
from mmdist.run import stopping
from mmdist.sweeps import cell_runner
from mmdist.sweeps import folder
from mmdist.sweeps import planning
from mmdist.sweeps import ray_slots
from mmdist.sweeps import scheduling
from mmdist.sweeps import shared_actors
from mmdist.sweeps import sweep_progress
from mmdist.sweeps import sweep_room


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a sweep is run.

  Attributes:
    executor: 'ray' has the priors of all cells in shared actors, 'inline' has
      each cell's in the process of its learner.
    address: of a running cluster; None starts Ray on this machine.
    cores: that each cell has.
    num_gpus: of each cell's learner; 0 has it use those of its machine that
      no prior reserves.
    most: cells at a time, at most.
    max_attempts: of one cell.
    grace_s: how long cells may take to save after a signal.
    ship_code: whether the workers of a cluster get this mmdist.
    preflight_only: whether a cell takes one step, of which nothing is kept.
    memory: of the priors and learners on this machine; None is not known.
  """

  executor: str
  address: str | None
  cores: int
  most: int
  num_gpus: float = 0.0
  max_attempts: int = 3
  grace_s: float = 60.0
  ship_code: bool = True
  preflight_only: bool = False
  memory: memory_estimate.MemoryEstimate | None = None


def run(
  plan: planning.Plan,
  workdir: str | os.PathLike,
  settings: Settings,
  report: Callable[[str], None],
  begin: Callable[[], None] = lambda: None,
) -> Mapping[str, scheduling.Ended]:
  """Runs what is left to run; returns what became of it, by cell.

  Args:
    plan: says what that is.
    workdir: of the sweep, held by `folder.claimed`.
    settings: how it is run.
    report: is told of progress and ended cells.
    begin: called once there is room, before the first cell.

  Raises:
    UserError, ClusterUnavailable: it could not begin, or was stopped before,
      and `begin` was not called.
  """
  needs = sweep_room.needs_of(plan, settings)
  stop = stopping.Stopper(settings.grace_s)
  with contextlib.ExitStack() as closing:
    cluster = cluster_lib.Cluster(
      settings.address,
      needs.at_once,
      ship_code=settings.ship_code,
      gpus=needs.gpus,
      cells=needs.at_once.keys() - needs.models.keys(),
    )
    closing.callback(cluster.close)
    closing.enter_context(stop)

    def check() -> None:
      stop.check_stop()
      cluster.check_alive()

    def unless_lost(close: Callable[[], None]) -> None:
      # Where the head is gone, Ray would try for a minute to tell it, and then
      # end this process.
      if not cluster.is_lost():
        close()

    room = placement.Room(needs.at_least)
    closing.callback(unless_lost, room.close)
    try:
      room.wait(check, report)
    except stopping.Overdue:
      raise errors.UserError(
        'stopped while there was no room yet; nothing was begun, and the same '
        'command begins.'
      ) from None
    begin()
    stop.has_begun = True  # So that cells are given their time to save.
    pool = shared_actors.ActorPool(
      {key: room.place(key, one) for key, one in needs.models.items()},
      # The memory of this machine was checked before.
      _MemoryCheck(plan, check) if settings.address else None,
    )
    closing.callback(unless_lost, pool.close)
    running = _Running(plan, workdir, settings, pool)
    slots = ray_slots.RaySlots(
      needs.slot,
      min(settings.most, len(plan.to_run)),
      running.make_task,
      running.lose,
      code=code_of(settings),
      reserved=room.place(sweep_room.SLOT, needs.slot.options()),
      is_whole=lambda: room.is_whole(report),
    )
    closing.callback(unless_lost, slots.close)
    return _run_cells(plan, workdir, settings, report, slots, pool, stop, check)


def _run_cells(
  plan: planning.Plan,
  workdir: str | os.PathLike,
  settings: Settings,
  report: Callable[[str], None],
  slots: ray_slots.RaySlots,
  pool: shared_actors.ActorPool,
  stop: stopping.Stopper,
  check: Callable[[], None],
) -> Mapping[str, scheduling.Ended]:
  cells = {cell.name: cell for cell in plan.to_run}
  said = sweep_progress.SweepProgress(cells.values(), slots.progress, report)
  is_told = False
  ended: dict[str, scheduling.Ended] = {}

  def tell(
    job: scheduling.Job, outcome: cell_runner.Outcome, again: bool
  ) -> None:
    if again:
      pool.replace_dead()
    else:
      said.ended(job.name, is_failed=outcome.kind == 'failed')
      ended[job.name] = scheduling.Ended(
        outcome.kind, outcome.error, job.attempt
      )
      pool.keep_only(
        {key for name in cells if name not in ended for key in plan.keys(name)}
      )
    log = folder.log_path(workdir, cells[job.name])
    report(describe(job, outcome, again, log))

  def on_poll() -> None:
    nonlocal is_told
    if stop.asked and not is_told:
      is_told = True
      slots.stop()
    check()
    said.say()

  try:
    return scheduling.run_all(
      cells,
      slots,
      max_attempts=settings.max_attempts,
      tell=tell,
      is_stopping=lambda: stop.asked,
      on_poll=on_poll,
    )
  except stopping.Overdue:
    report('the cells took too long to save; each goes on from its checkpoint')
    return {n: ended.get(n, scheduling.Ended('stopped')) for n in cells}


class _MemoryCheck:
  """Checks that the machine of an actor has memory for its frozen model.

  How many cells will have proxies there is not known on a cluster, so those of
  one cell are counted.
  """

  def __init__(self, plan: planning.Plan, check_stop: Callable[[], None]):
    self._models = plan.models
    self._num_views = planning.count_views(plan)
    self._num_texts = planning.count_texts(plan)
    self._check_stop = check_stop

  def __call__(self, key: tuple, actor: Any) -> None:
    """Asks an actor that is new; see `memory_room.check`."""
    recipe = self._models[key]
    name = recipe.spec.name
    looks = memory_estimate.Looks(
      {name: self._num_views[key]}, {name: self._num_texts[key]}
    )
    memory_room.check(
      {key: actor},
      {key: looks.of([recipe])},
      limits.Limits().build_deadline_s,
      self._check_stop,
    )


def code_of(settings: Settings) -> str:
  """Returns what processes of a sweep compare their code with; '' for nothing.

  On one machine nothing is compared: a checkout may be edited meanwhile.
  """
  return source_hash.name_code() if settings.address else ''


class _Running:
  """Makes the tasks of cells; knows which learner each cell has now."""

  def __init__(
    self,
    plan: planning.Plan,
    workdir: str | os.PathLike,
    settings: Settings,
    pool: shared_actors.ActorPool,
  ):
    self._cells = {cell.name: cell for cell in plan.to_run}
    self._plan = plan
    self._workdir = workdir
    self._settings = settings
    self._pool = pool
    self._learners: dict[str, str] = {}

  def make_task(self, job: scheduling.Job) -> cell_runner.Task:
    cell = self._cells[job.name]
    actors: Mapping[tuple, Any] = {}
    if self._settings.executor == 'ray':
      actors = self._pool.actors_for(self._plan.recipes[job.name])
    learner = f'{job.name}/{job.attempt}/{uuid.uuid4().hex[:8]}'
    self._learners[job.name] = learner
    return cell_runner.Task(
      cell.name,
      cell.config,
      str(folder.cell_folder(self._workdir, cell).absolute()),
      str(folder.log_path(self._workdir, cell).absolute()),
      self._settings.executor,
      actors,
      learner,
      code_of(self._settings),
      os.getcwd(),
      preflight_only=self._settings.preflight_only,
      command=sessions.command(),
    )

  def lose(self, job: scheduling.Job) -> None:
    """Has the shared actors drop the proxies of a learner that died."""
    self._pool.end_learner(self._learners[job.name])


def describe(
  job: scheduling.Job,
  outcome: cell_runner.Outcome,
  again: bool,
  log: os.PathLike,
) -> str:
  """Returns the line about an attempt that ended."""
  took = progress_lib.format_seconds(outcome.seconds)
  if outcome.kind != 'failed':
    return f'{job.name}: {outcome.kind} after {took}'
  then = 'it will be tried again' if again else f'its log is {log}'
  return f'{job.name}: failed (attempt {job.attempt}): {outcome.error}; {then}'
