"""Who has which GPU of one machine: the learner some, the priors the others.

JAX takes every GPU that it sees, and Ray gives out every GPU that it sees. So
each is shown its own, before either begins:

  no GPU      nothing is decided.
  one         learner and priors share it; JAX takes memory as it needs it, and
              leaves what the priors will need.
  several     the learner has those that the priors leave, at least one; each
              prior has one of its own, or priors share those that are left.
"""

from collections.abc import Collection, Mapping, Sequence
import dataclasses
import importlib.util
import math
import os
import pathlib
import subprocess

from mmdist.core import errors
from mmdist.core import platforms as platforms_lib

VISIBLE = 'CUDA_VISIBLE_DEVICES'
_DRIVER = pathlib.Path('/proc/driver/nvidia/gpus')


@dataclasses.dataclass(frozen=True)
class GpuPlan:
  """Which GPUs each has; with none for the priors, all of them are shared.

  Attributes:
    learner: names of those that JAX sees, as in CUDA_VISIBLE_DEVICES.
    priors: names of those that Ray gives out.
    num_gpus: actor -> how many it reserves, or which share of one.
  """

  learner: tuple[str, ...] = ()
  priors: tuple[str, ...] = ()
  num_gpus: Mapping[str, float] = dataclasses.field(default_factory=dict)

  @property
  def is_shared(self) -> bool:
    """Whether learner and priors see the same GPUs, or there are none."""
    return not self.priors

  def describe(self) -> str:
    """Returns the plan in words; '' if there is nothing to say."""
    if self.is_shared:
      return f'learner and priors share GPU {", ".join(self.learner)}' * bool(
        self.learner
      )
    own = ', '.join(f'{name} {n:g}' for name, n in self.num_gpus.items())
    learner = f'learner on GPU {", ".join(self.learner)}' * bool(self.learner)
    priors = f'priors on GPU {", ".join(self.priors)} ({own})'
    return '; '.join(part for part in (learner, priors) if part)


def visible(folder: pathlib.Path = _DRIVER) -> tuple[str, ...]:
  """Returns the names of the GPUs that programs started here would see.

  Args:
    folder: in which NVIDIA's driver has an entry for each.
  """
  chosen = os.environ.get('CUDA_VISIBLE_DEVICES')
  try:
    there = tuple(map(str, range(len(list(folder.iterdir())))))
  except OSError:
    return ()
  if chosen is None:
    return there
  # Whatever follows a -1 is not seen.
  names = [name.strip() for name in chosen.split(',')]
  names = names[: names.index('-1')] if '-1' in names else names
  return tuple(filter(None, names)) if there else ()


@dataclasses.dataclass(frozen=True)
class GpuMemory:
  """The memory of one GPU, bytes."""

  free: int
  total: int


def memory_of(gpus: Sequence[str]) -> list[GpuMemory]:
  """Returns the memory of GPUs, as NVIDIA's driver tells it; else nothing.

  Args:
    gpus: their names.
  """
  if not gpus:
    return []
  command = [
    'nvidia-smi',
    f'--id={",".join(gpus)}',
    '--query-gpu=memory.free,memory.total',
    '--format=csv,noheader,nounits',
  ]
  try:
    told = subprocess.run(
      command, capture_output=True, text=True, timeout=20, check=True
    )
    # One line for each, in MiB.
    return [
      GpuMemory(*(int(number) * 2**20 for number in line.split(',')))
      for line in told.stdout.splitlines()
    ]
  # The last where a GPU does not say, as one that is divided does not.
  except (OSError, subprocess.SubprocessError, ValueError, TypeError):
    return []


def learner_uses_gpus() -> bool:
  """Returns whether JAX would compute on a GPU, without starting it."""
  platforms = os.environ.get('JAX_PLATFORMS', '')
  if platforms and not {'cuda', 'gpu'} & set(platforms.split(',')):
    return False
  return any(
    importlib.util.find_spec(name) for name in platforms_lib.CUDA_PLUGINS
  )


def plan(
  gpus: Sequence[str],
  wanted: Mapping[str, float],
  *,
  learner_devices: int = 0,
  learner_has_gpus: bool = True,
) -> GpuPlan:
  """Deals out the GPUs of one machine.

  Args:
    gpus: their names.
    wanted: actor -> its `num_gpus`; 0 leaves it to the plan.
    learner_devices: how many the learner is to have; 0 leaves it to the plan.
    learner_has_gpus: whether the learner computes on any.

  Raises:
    UserError: more are asked for than there are.
  """
  num, asked = len(gpus), _count_needed(wanted.values())
  shown = tuple(gpus) if learner_has_gpus else ()
  if not num or not wanted:
    return GpuPlan(shown)
  least = max(learner_devices, 1) if learner_has_gpus else 0
  if num == 1 and asked <= 1 and least <= 1:
    return GpuPlan(shown, num_gpus=dict(wanted))
  if asked + least > num:
    raise errors.UserError(
      f'the priors reserve {asked} GPUs and the learner {least}, and this '
      f'machine has {num}; lower num_gpus of the priors (0 shares) or '
      'learner.num_devices.'
    )
  num_open = sum(not number for number in wanted.values())
  # Each prior that does not say takes one, as far as there are some.
  for_open = min(num_open, num - least - asked)
  share = _share(for_open, num_open)
  first = num - asked - for_open
  num_learner = (learner_devices or first) if learner_has_gpus else 0
  return GpuPlan(
    tuple(gpus[:num_learner]),
    tuple(gpus[first:]),
    {name: number or share for name, number in wanted.items()},
  )


def _count_needed(wanted: Collection[float]) -> int:
  """Returns on how many GPUs these reservations find room.

  Whole ones are added up. A share has to lie on one GPU; the largest are
  placed first, each where there is room.
  """
  free: list[float] = []
  for share in sorted((n for n in wanted if 0 < n < 1), reverse=True):
    for index, left in enumerate(free):
      if share <= left + 1e-9:
        free[index] -= share
        break
    else:
      free.append(1 - share)
  return len(free) + sum(math.ceil(n) for n in wanted if n >= 1)


def _share(num_gpus: int, num_priors: int) -> float:
  """Returns how much of a GPU each prior has, so that all find room."""
  if not num_gpus:
    return 0.0
  per_gpu = math.ceil(num_priors / num_gpus)
  # Rounded down: Ray counts in ten thousandths, and three thirds must fit.
  return math.floor(10000 / per_gpu) / 10000
