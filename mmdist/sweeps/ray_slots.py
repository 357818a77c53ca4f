"""Slots that are Ray actors: one process per slot, on any machine of a cluster.

Ray decides where a slot is. A slot for which there is no room waits, and comes
when another job ends or a machine joins. A slot that dies is asked for again.

The room of one slot is reserved together with that of the priors, so that a
sweep always goes on. The other slots take what is left; where a machine was
lost and the priors find no room any more, they give way.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import time
from typing import Any

import ray

from mmdist.core import cores as cores_lib
from mmdist.distribution import actor_environment
from mmdist.distribution import code_shipping
from mmdist.distribution import faults
from mmdist.distribution import gpu_plan
from mmdist.distribution import ray_errors
from mmdist.run import device_setup
from mmdist.sweeps import cell_runner
from mmdist.sweeps import scheduling

_LOOK_FOR_ROOM_EVERY_S = 10.0
# How long the reserved room may be missing before a running cell is ended. A
# cell whose prior has no room would else wait for it in vain.
_GIVE_WAY_AFTER_S = 60.0


@dataclasses.dataclass(frozen=True)
class Size:
  """What a slot takes of its machine.

  Attributes:
    cores: for its learner, and for priors that run in its process.
    num_gpus: of its learner.
    visible_gpus: names of those that its learner may use without reserving
      any; '' leaves all of its machine's.
    memory_fraction: the most of a GPU's memory that its learner may take; None
      leaves that to JAX.
  """

  cores: int
  num_gpus: float = 0.0
  visible_gpus: str = ''
  memory_fraction: float | None = None

  def options(self) -> dict[str, Any]:
    """Returns Ray's options of a slot."""
    runtime_env = actor_environment.runtime_env(num_threads=0)
    if self.visible_gpus:
      runtime_env['env_vars'][gpu_plan.VISIBLE] = self.visible_gpus
    if self.memory_fraction is not None:
      limit = device_setup.memory_limit(self.memory_fraction)
      runtime_env['env_vars'][device_setup.MEMORY_FRACTION] = limit
    return {
      'num_cpus': self.cores,
      'num_gpus': self.num_gpus,
      'runtime_env': runtime_env,
    }


class Runner(cell_runner.CellRunner):
  """A `CellRunner` that is told by its slot which cores are its own."""

  def __init__(self) -> None:
    super().__init__()
    self._cores = cores_lib.usable()

  def where(self, code: str = '') -> str:
    """Returns Ray's id of the machine, once the process is there.

    Args:
      code: the sweep's; see `code_shipping.check_same`.
    """
    code_shipping.check_same(code)
    return ray.get_runtime_context().get_node_id()

  def run_on(
    self, index: int, num_cores: int, task: cell_runner.Task
  ) -> cell_runner.Outcome:
    """Runs a cell on this slot's share of the machine's cores.

    Args:
      index: among the slots of this machine.
      num_cores: of each slot.
      task: see `run`.
    """
    # The affinity is this thread's. JAX starts in it, with a device per core.
    cores, first = self._cores, index * num_cores
    cores_lib.keep_to(
      {cores[(first + k) % len(cores)] for k in range(num_cores)}
    )
    return self.run(task)


# eq=False: two slots are never equal, so that one can be found in a list.
@dataclasses.dataclass(eq=False)
class _Slot:
  """One actor. It is there once it has a node, and then free without a job.

  Attributes:
    actor: Ray's handle.
    pending: reference to what is awaited of it; None if nothing is.
    node: Ray's id of its machine; '' if it is not there yet.
    index: among the slots of that machine.
    job: that it runs.
    is_reserved: whether it has the place that is reserved for one slot.
  """

  actor: Any
  pending: Any
  node: str = ''
  index: int = 0
  job: scheduling.Job | None = None
  is_reserved: bool = False

  @property
  def is_free(self) -> bool:
    return bool(self.node) and self.job is None


class RaySlots:
  """See `scheduling.Slots`.

  Args:
    size: of each.
    most: how many to have at most.
    make_task: returns what a job runs; called as it starts.
    on_lost: called with the job of a slot that died.
    runner: what a slot's process is.
    code: the sweep's, which the slots compare with theirs; '' is not compared.
    reserved: Ray's options of one slot with its place in a reservation; None
      where nothing is reserved.
    is_whole: returns whether all that is reserved is there now.
  """

  def __init__(
    self,
    size: Size,
    most: int,
    make_task: Callable[[scheduling.Job], cell_runner.Task],
    on_lost: Callable[[scheduling.Job], None] = lambda job: None,
    runner: type[Runner] = Runner,
    code: str = '',
    reserved: Mapping[str, Any] | None = None,
    is_whole: Callable[[], bool] = lambda: True,
  ):
    self._size = size
    self._most = most
    self._make_task = make_task
    self._on_lost = on_lost
    self._runner = runner
    self._code = code
    self._reserved = reserved
    self._is_whole = is_whole
    self._was_whole = time.monotonic()
    self._gives_way = False
    self._slots: list[_Slot] = []
    self._looked = 0.0
    self._num_failed_starts = 0  # Since the last slot that came.
    self._ask_for_slots()

  def _ask_for_slots(self) -> None:
    """Starts actors as far as the cluster might have room for them."""
    self._looked = time.monotonic()
    resources = ray.cluster_resources()
    room = int(resources.get('CPU', 0.0) // self._size.cores)
    if self._size.num_gpus:
      room = min(room, int(resources.get('GPU', 0.0) // self._size.num_gpus))
    if self._gives_way:
      return
    while len(self._slots) < min(max(room, 1), self._most):
      self._slots.append(self._start())

  def _start(self) -> _Slot:
    is_reserved = self._reserved is not None and not any(
      slot.is_reserved for slot in self._slots
    )
    options = {'scheduling_strategy': 'SPREAD', **self._size.options()}
    if is_reserved:
      options = dict(self._reserved or {})
    # Any: Ray's types know `remote` only of methods that are marked for it.
    actor: Any = (
      ray.remote(self._runner)
      .options(
        **actor_environment.without_inherited(options),
        max_restarts=0,
        # `progress` and `stop` are heard while `run` runs.
        max_concurrency=2,
      )
      .remote()
    )
    pending = actor.where.remote(self._code)
    return _Slot(actor, pending, is_reserved=is_reserved)

  def _look_for_room(self) -> None:
    """Asks for more slots; has slots give way where priors find no room."""
    now = time.monotonic()
    self._gives_way = not self._is_whole()
    if not self._gives_way:
      self._was_whole = now
    self._ask_for_slots()
    if not self._gives_way:
      return
    others = [slot for slot in self._slots if not slot.is_reserved]
    ending = [slot for slot in others if slot.job is None]
    if not ending and now - self._was_whole > _GIVE_WAY_AFTER_S:
      # One at a time, and then Ray has as long again to use its room.
      ending, self._was_whole = others[-1:], now
    for slot in ending:
      # A cell that ran there is heard of by `wait`, as of any lost process.
      ray.kill(slot.actor)
      if slot.job is None:
        self._slots.remove(slot)

  @property
  def num_slots(self) -> int:
    """How many are there, whether they run a cell or not."""
    return sum(bool(slot.node) for slot in self._slots)

  def free(self) -> int:
    # A cell that began now would wait for its prior.
    return sum(slot.is_free for slot in self._slots) * (not self._gives_way)

  def start(self, job: scheduling.Job) -> None:
    slot = next(slot for slot in self._slots if slot.is_free)
    slot.job = job
    slot.pending = slot.actor.run_on.remote(
      slot.index, self._size.cores, self._make_task(job)
    )

  def wait(
    self, seconds: float
  ) -> Sequence[tuple[scheduling.Job, cell_runner.Outcome]]:
    if time.monotonic() - self._looked > _LOOK_FOR_ROOM_EVERY_S:
      self._look_for_room()
    slots = {s.pending: s for s in self._slots if s.pending is not None}
    if not slots:
      time.sleep(seconds)
      return []
    # The first call waits for one answer, the second takes all that are there.
    ray.wait(list(slots), timeout=seconds)
    done, _ = ray.wait(list(slots), num_returns=len(slots), timeout=0)
    ended = [self._receive(slots[reference], reference) for reference in done]
    return [one for one in ended if one is not None]

  def _receive(
    self, slot: _Slot, reference: Any
  ) -> tuple[scheduling.Job, cell_runner.Outcome] | None:
    job = slot.job
    try:
      value = ray.get(reference)
    except ray.exceptions.RayError as error:
      cause = ray_errors.cause_of(error)
      if isinstance(cause, code_shipping.OtherCode):
        raise cause from error  # Another slot there would say the same.
      if job is None:
        self._check_starts(error)
      self._slots.remove(slot)
      self._ask_for_slots()
      if job is None:
        return None
      self._on_lost(job)
      lost = f'its process was lost ({type(error).__name__})'
      if isinstance(error, ray.exceptions.RayTaskError):
        lost = faults.describe(cause)  # It raised; nothing was lost.
      return job, cell_runner.Outcome('failed', lost, may_pass=True)
    slot.pending = None
    if job is None:  # It answers `where`.
      self._settle(slot, value)
      return None
    slot.job = None
    return job, value

  def _check_starts(self, error: ray.exceptions.RayError) -> None:
    """Raises ClusterUnavailable if no process for cells can start.

    Where, for example, a package is missing on every machine, processes would
    be started for ever. One bad machine among good ones is tolerated.
    """
    kinds = ray.exceptions
    if isinstance(error, kinds.RayActorError):
      cannot_start = error.actor_init_failed
    else:
      cannot_start = isinstance(error, kinds.RuntimeEnvSetupError)
    self._num_failed_starts += cannot_start
    # On average each slot was started twice by now.
    if self.num_slots or self._num_failed_starts < 2 * len(self._slots):
      return
    raise faults.ClusterUnavailable(
      f'{self._num_failed_starts} processes for cells could not start, the '
      f'last with: {ray_errors.last_line(error)}; install on the workers what '
      'is missing there, and give the same command again.'
    ) from error

  def _settle(self, slot: _Slot, node: str) -> None:
    """Gives a slot its share of its machine's cores."""
    taken = {other.index for other in self._slots if other.node == node}
    index = min(set(range(len(taken) + 1)) - taken)
    self._num_failed_starts = 0
    slot.node, slot.index = node, index

  def progress(self) -> dict[str, cell_runner.Progress]:
    """Returns the progress of each cell whose slot answers within a second."""
    asked = [s.actor.progress.remote() for s in self._slots if s.job]
    if not asked:
      return {}
    heard, _ = ray.wait(asked, num_returns=len(asked), timeout=1.0)
    found = {}
    for reference in heard:
      try:
        progress = ray.get(reference)
      except ray.exceptions.RayError:  # `wait` deals with it.
        continue
      found[progress.cell] = progress
    return found

  def stop(self) -> None:
    """Asks every cell to save and end after its step."""
    for slot in self._slots:
      slot.actor.stop.remote()

  def close(self) -> None:
    """Ends all processes."""
    for slot in self._slots:
      ray.kill(slot.actor)
    self._slots = []
