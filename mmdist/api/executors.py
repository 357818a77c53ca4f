"""Where the priors of `mmdist.optimize` run, by name or by value."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, TypeGuard

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import source_hash
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import gpu_plan
from mmdist.run import stopping


@dataclasses.dataclass(frozen=True)
class RayOptions:
  """Which Ray the priors' actors run in.

  Attributes:
    address: of a running cluster; None starts Ray on this machine.
    dashboard: whether a Ray that starts here serves its dashboard, to this
      machine's browsers only; needs pip install 'ray[default]'.
    ship_code: whether the workers of a cluster get the mmdist of this process;
      else each needs the same one, which is checked.
  """

  address: str | None = None
  dashboard: bool = False
  ship_code: bool = True


@dataclasses.dataclass(frozen=True)
class SharedActors:
  """Actors in which several learners have priors; a sweep starts them.

  Attributes:
    actors: `PriorSpec.sharing_key` -> Ray's handle.
    learner: what the actors call this learner; a name that was never used
      before.
    code: name of this learner's code, which the actors compare with theirs; ''
      compares nothing.
  """

  actors: Mapping[tuple, Any]
  learner: str
  code: str = ''


if TYPE_CHECKING:  # Not at run time, because it imports Ray.
  from mmdist.distribution.placement import Reservation
  from mmdist.distribution.placement import Room
  from mmdist.run import memory_estimate

Factory = Callable[[Sequence[messages.PriorRecipe]], executor_lib.Executor]
ExecutorLike = str | RayOptions | SharedActors | executor_lib.Executor | Factory


# What `describe` returns where priors and learner share one machine's memory.
IN_PROCESS = 'in this process'
HERE = 'on this machine'


def describe(executor: ExecutorLike) -> str:
  """Returns where priors will run, for a person."""
  if executor == 'inline':
    return IN_PROCESS
  if isinstance(executor, RayOptions) and executor.address:
    return f'in the Ray cluster at {executor.address}'
  if executor == 'ray' or isinstance(executor, RayOptions):
    return HERE
  if isinstance(executor, SharedActors):
    return 'in actors that other cells use, too'
  return 'where the given executor has them'


def needs_recipes(executor: ExecutorLike) -> bool:
  """Returns whether the executor is yet to be made, from recipes of priors."""
  return not _is_running(executor)


def _is_running(
  executor: ExecutorLike,
) -> TypeGuard[executor_lib.Executor]:
  return hasattr(executor, 'submit') and not isinstance(executor, type)


def start(
  executor: ExecutorLike,
  recipes: Sequence[messages.PriorRecipe],
  config: schema.RunConfig,
  stop: stopping.Stopper,
  stack: contextlib.ExitStack,
  gpus: gpu_plan.GpuPlan | None = None,
  looks: 'memory_estimate.Looks | None' = None,
  room: 'Room | None' = None,
) -> executor_lib.Executor:
  """Returns a running executor. Actors may still be loading their priors.

  Args:
    executor: see `mmdist.optimize`.
    recipes: of the priors.
    config: of the run.
    stop: heard while an answer is waited for.
    stack: closes what is started here. An executor that was running before is
      left to its owner.
    gpus: who has which, see `plan_gpus`; None decides nothing.
    looks: what actors on other machines look for before they load.
    room: on a cluster, that was reserved for the actors; None reserves it here.

  Raises:
    UserError: Ray is not installed, or another machine lacks the memory.
    DistributionError: Ray cannot be had, or a prior cannot be built.
    TypeError: `executor` is none of `ExecutorLike`.
  """
  if _is_running(executor):
    return executor
  running: executor_lib.Executor
  if executor == 'inline':
    running = executor_lib.InlineExecutor(recipes)
  elif executor == 'ray':
    running = _start_ray(RayOptions(), recipes, config, stop, gpus=gpus)
  elif isinstance(executor, RayOptions):
    running = _start_ray(
      executor, recipes, config, stop, gpus=gpus, looks=looks, room=room
    )
  elif isinstance(executor, SharedActors):
    running = _start_ray(RayOptions(), recipes, config, stop, executor)
  elif callable(executor):
    running = executor(recipes)
  else:
    raise TypeError(
      f"executor is {executor!r}; expected 'inline', 'ray', RayOptions, an "
      'executor, or a function that takes recipes and returns one.'
    )
  stack.callback(running.close)
  return running


def reservations_of(config: schema.RunConfig) -> dict[str, 'Reservation']:
  """Returns what the actor of each prior reserves of its machine."""
  # Here, because importing Ray takes a second.
  from mmdist.distribution import placement

  return {
    name: placement.Reservation(
      prior.num_cpus,
      prior.num_gpus,
      prior.resources,
      prior.node_labels,
      prior.colocate,
    )
    for name, prior in config.priors.items()
  }


def plan_gpus(
  executor: ExecutorLike,
  config: schema.RunConfig,
  recipes: Sequence[messages.PriorRecipe],
) -> gpu_plan.GpuPlan:
  """Returns who has which GPU of this machine, if Ray is to be started here.

  Everywhere else it is decided by others: inline priors share the learner's,
  and on a cluster Ray gives out what its machines were started with.

  Args:
    executor: see `mmdist.optimize`.
    config: of the run.
    recipes: of the priors that run; those of the same files share an actor.

  Raises:
    UserError: more are reserved than there are.
  """
  starts = executor == 'ray' or (
    isinstance(executor, RayOptions) and not executor.address
  )
  if not starts:
    return gpu_plan.GpuPlan()
  groups = messages.group_by_files({r.spec.name: r for r in recipes}).values()
  plan = gpu_plan.plan(
    gpu_plan.visible(),
    # One actor at a time works for all of its priors.
    {
      names[0]: max(config.priors[name].num_gpus for name in names)
      for names in groups
      if any(config.priors[name].device != 'cpu' for name in names)
    },
    learner_devices=config.learner.num_devices,
    learner_has_gpus=gpu_plan.learner_uses_gpus(),
  )
  shares = {
    name: plan.num_gpus[names[0]]
    for names in groups
    for name in names
    if names[0] in plan.num_gpus
  }
  return dataclasses.replace(plan, num_gpus=shares)


def learner_gpus(config: schema.RunConfig) -> tuple[str, ...]:
  """Returns the names of the GPUs that the learner computes on."""
  if not gpu_plan.learner_uses_gpus():
    return ()
  return gpu_plan.visible()[: config.learner.num_devices or None]


def _with_gpus(
  reservations: Mapping[str, 'Reservation'], gpus: gpu_plan.GpuPlan | None
) -> dict[str, 'Reservation']:
  planned = gpus.num_gpus if gpus else {}
  return {
    name: dataclasses.replace(one, num_gpus=planned.get(name, one.num_gpus))
    for name, one in reservations.items()
  }


def _start_ray(
  options: RayOptions,
  recipes: Sequence[messages.PriorRecipe],
  config: schema.RunConfig,
  stop: stopping.Stopper,
  shared: SharedActors | None = None,
  gpus: gpu_plan.GpuPlan | None = None,
  looks: 'memory_estimate.Looks | None' = None,
  room: 'Room | None' = None,
) -> executor_lib.Executor:
  try:
    # Here, because importing Ray takes a second.
    from mmdist.distribution import limits
    from mmdist.distribution import ray_executor
  except ModuleNotFoundError as error:
    if error.name != 'ray':
      raise
    raise errors.UserError(
      "executor='ray' needs Ray, which is not installed; pip install ray, or "
      "take executor='inline', which runs the priors in this process."
    ) from error

  code = shared.code if shared else ''
  # On one machine a checkout that is edited in the course of a run must not
  # keep a lost prior from coming back.
  if options.address:
    code = source_hash.name_code()
  return ray_executor.RayExecutor(
    recipes,
    address=options.address,
    dashboard=options.dashboard,
    ship_code=options.ship_code,
    reservations=_with_gpus(reservations_of(config), gpus),
    gpus=gpus.priors if gpus else (),
    learner_gpus=learner_gpus(config) if options.address else (),
    limits=limits.Limits(
      deadline_s=config.faults.deadline_s,
      deadline_factor=config.faults.deadline_factor,
      deadline_floor_s=config.faults.deadline_floor_s,
      build_deadline_s=config.faults.build_deadline_s,
      max_losses=config.faults.max_losses,
      window_s=config.faults.window_s,
    ),
    check_stop=stop.check_stop,
    shared=shared.actors if shared else None,
    learner=shared.learner if shared else '',
    code=code,
    # The memory of this machine was checked before.
    look=looks.of if looks and options.address else None,
    room=room,
  )
