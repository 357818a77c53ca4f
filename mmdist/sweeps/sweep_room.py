"""What a sweep reserves: room for its frozen models, and for its cells.

The models of all cells and one slot are reserved at once and before anything is
loaded. So it is known early that the sweep can go on to its end: slots that
came first could otherwise take the room of the priors that they wait for.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import TYPE_CHECKING, Any

from mmdist.api import executors
from mmdist.core import errors
from mmdist.distribution import gpu_plan
from mmdist.distribution import ray_executor
from mmdist.sweeps import planning
from mmdist.sweeps import ray_slots

if TYPE_CHECKING:
  from mmdist.sweeps import sweep_run  # It imports this module.

SLOT = 'a cell'  # Its part of the reservation.


@dataclasses.dataclass(frozen=True)
class Needs:
  """What a sweep needs of Ray.

  Attributes:
    slot: what each cell takes.
    models: sharing key -> Ray's options of the actor with that frozen model.
    num_slots: cells that a Ray which starts here is to have room for.
    gpus: names of those that a Ray which starts here gives out; none leaves all
      of them to it.
  """

  slot: ray_slots.Size
  models: Mapping[tuple, Mapping[str, Any]]
  num_slots: int
  gpus: Sequence[str] = ()

  @property
  def at_least(self) -> dict[Any, Mapping[str, Any]]:
    """What is reserved: all models, and one slot."""
    return {**self.models, SLOT: self.slot.options()}

  @property
  def at_once(self) -> dict[Any, dict[str, Any]]:
    """What there has to be room for: a reservation, and all slots here."""
    others = {
      f'{SLOT} {number}': self.slot.options()
      for number in range(1, self.num_slots)
    }
    return {key: dict(one) for key, one in (self.at_least | others).items()}


def needs_of(plan: planning.Plan, settings: 'sweep_run.Settings') -> Needs:
  """Returns what a sweep needs of Ray.

  Args:
    plan: its cells, of which at least one is to be run.
    settings: `sweep_run.Settings`.

  Raises:
    UserError: more GPUs are reserved than there are, or cells and priors would
      take the same ones.
  """
  models = _model_options(plan) if settings.executor == 'ray' else {}
  size = ray_slots.Size(settings.cores, settings.num_gpus)
  if settings.executor == 'ray' and 0 < settings.num_gpus < 1:
    size = dataclasses.replace(size, memory_fraction=settings.num_gpus)
  if settings.address:
    # A cluster is only asked whether it has room for one cell.
    _check_apart(models, settings.num_gpus)
    return Needs(size, models, num_slots=1)
  num_slots = min(settings.most, len(plan.to_run))
  gpus = _plan_gpus(plan, models, settings.num_gpus, num_slots)
  planned: Mapping[Any, float] = gpus.num_gpus
  models = {
    key: {**one, 'num_gpus': planned.get(key, one['num_gpus'])}
    for key, one in models.items()
  }
  if gpus.priors and not settings.num_gpus:
    size = dataclasses.replace(size, visible_gpus=','.join(gpus.learner))
  if settings.memory and models and not settings.num_gpus:
    left = settings.memory.left_for_learner(gpus)
    size = dataclasses.replace(size, memory_fraction=left)
  return Needs(size, models, num_slots, gpus.priors)


def _model_options(plan: planning.Plan) -> dict[tuple, dict[str, Any]]:
  """Returns sharing key -> Ray's options, for the priors of all cells."""
  found: dict[tuple, list[dict[str, Any]]] = {}
  for cell in plan.to_run:
    reservations = executors.reservations_of(cell.config)
    for recipe in plan.recipes[cell.name]:
      key, spec = recipe.spec.sharing_key, recipe.spec
      if key is not None:
        options = ray_executor.actor_options(spec, reservations[spec.name])
        same = found.setdefault(key, [])
        if options not in same:
          same.append(options)
  return {key: ray_executor.most_of(same) for key, same in found.items()}


def _check_apart(models: Mapping[tuple, Mapping], num_gpus: float) -> None:
  """Refuses cells that would compute on the GPUs that priors have reserved.

  Ray keeps apart what is reserved. A cell that reserves nothing sees every GPU
  of its machine.
  """
  reserved = any(one['num_gpus'] for one in models.values())
  if reserved and not num_gpus and gpu_plan.learner_uses_gpus():
    raise errors.UserError(
      'the priors reserve GPUs and the cells none, so that both would use the '
      'same ones; give --gpus_per_cell=1, or a share of one, or num_gpus=0 to '
      'the priors, so that all share.'
    )


def _plan_gpus(
  plan: planning.Plan,
  models: Mapping[tuple, Mapping[str, Any]],
  num_gpus: float,
  num_slots: int,
) -> gpu_plan.GpuPlan:
  """Returns who has which GPU of this machine; see `gpu_plan`."""
  wanted: dict[Any, float] = {
    key: models[key]['num_gpus']
    for key, recipe in plan.models.items()
    if key in models and recipe.spec.options.device != 'cpu'
  }
  if num_gpus:
    # Ray gives each cell its own, as it does to the priors.
    cells = {f'{SLOT} {number}': num_gpus for number in range(num_slots)}
    return gpu_plan.plan(
      gpu_plan.visible(), wanted | cells, learner_has_gpus=False
    )
  return gpu_plan.plan(
    gpu_plan.visible(),
    wanted,
    learner_devices=max(c.config.learner.num_devices for c in plan.to_run),
    learner_has_gpus=gpu_plan.learner_uses_gpus(),
  )
