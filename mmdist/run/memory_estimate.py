"""How much memory a run will need, and whether it is there."""

from collections.abc import Hashable, Mapping, Sequence
import dataclasses
import functools
import math
import pathlib
import re
import socket
from typing import TYPE_CHECKING

from mmdist.config import schema
from mmdist.core import errors
from mmdist.core import messages
from mmdist.core import progress
from mmdist.distribution import gpu_plan
from mmdist.distribution import memory_shares
from mmdist.objectives import binding
from mmdist.objectives import score_requests
from mmdist.run import recipes as recipes_lib

if TYPE_CHECKING:
  from mmdist.learner import learner_memory
  from mmdist.priors import memory_needs

# Of a shared GPU's memory, so that a learner whose priors were estimated too
# high begins all the same.
_LEAST_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
  """The memory that learner and priors will need.

  Attributes:
    footprints: of each prior that has files, by its name.
    models: which frozen model each of them will have; equal where they share.
    on_cpu: the names of those that are on the CPU.
    learner: what one learner needs; None is not counted.
    num_learners: how many there are at a time, with the same priors.
  """

  footprints: Mapping[str, 'memory_needs.Footprint']
  models: Mapping[str, Hashable]
  on_cpu: Sequence[str]
  learner: 'learner_memory.LearnerMemory | None' = None
  num_learners: int = 1

  def with_learner(
    self, learner: 'learner_memory.LearnerMemory', num_learners: int = 1
  ) -> 'MemoryEstimate':
    """Returns the estimate of these priors and of so many learners."""
    return dataclasses.replace(self, learner=learner, num_learners=num_learners)

  def without_priors(self) -> 'MemoryEstimate':
    """Returns the estimate of the learners alone: the priors are elsewhere."""
    return dataclasses.replace(self, footprints={}, models={}, on_cpu=[])

  def lines(self) -> list[str]:
    """Returns lines about the memory of the learner and of each prior."""
    lines = []
    if one := self.learner:
      each = f' on each of {one.num_devices} devices' * (one.num_devices > 1)
      lines.append(
        f'memory of the learner: about {progress.format_bytes(one.on_device)}'
        f'{each} (parameters {progress.format_bytes(one.parameters)}, '
        f'activations {progress.format_bytes(one.activations)})'
      )
    if self.footprints:
      from mmdist.priors import memory_needs

      lines += memory_needs.format_lines(self.footprints, self.models)
    return lines

  @property
  def on_gpu(self) -> list[str]:
    """The names of the other priors."""
    return [name for name in self.footprints if name not in self.on_cpu]

  def needed(self, names: Sequence[str]) -> int:
    """Returns the bytes that some of the priors need together."""
    if not names:
      return 0
    from mmdist.priors import memory_needs

    return memory_needs.sum_of(
      {name: self.footprints[name] for name in names}, self.models
    )[0]

  def check(
    self, gpus: gpu_plan.GpuPlan | None = None, copies: int = 1
  ) -> None:
    """Checks that learner and priors fit into the memory of this machine.

    Args:
      gpus: who has which; None does not look at GPUs.
      copies: processes that each hold all of the priors on the CPU.

    Raises:
      UserError: in one line.
    """
    on_gpu = bool(gpus and gpus.learner and gpu_plan.learner_uses_gpus())
    num = self.num_learners if self.learner is not None else 0
    num_here, num_on_gpu = (0, num) if on_gpu else (num, 0)
    there = available_memory()
    if there is not None:
      needed = copies * self.needed(self.on_cpu)
      needed += num_here * self.learner.on_machine if self.learner else 0
      kept = self.learner.kept_on_machine if self.learner else None
      _check_fits(num_here, self.on_cpu, needed, there, 'machine', kept=kept)
    if gpus is None:
      return
    learners = num_on_gpu * self.learner.on_device if self.learner else 0
    kept = self.learner.kept_on_device if self.learner else None
    if gpus.is_shared:
      # Torch takes the first one that it sees, for all of them.
      for memory in gpu_plan.memory_of(gpu_plan.visible()[:1]):
        needed = self.needed(self.on_gpu)
        _check_fits(0, self.on_gpu, needed, memory.free, 'GPU')
        needed += learners
        _check_in_all(num_on_gpu, self.on_gpu, needed, memory.total, kept)
      return
    for memory in gpu_plan.memory_of(gpus.learner) if learners else []:
      _check_in_all(num_on_gpu, [], learners, memory.total, kept)
    free = [memory.free for memory in gpu_plan.memory_of(gpus.priors)]
    for name in self.on_gpu if free else []:
      _check_fits(0, [name], self.needed([name]), max(free), 'GPU')

  def left_for_learner(self, gpus: gpu_plan.GpuPlan) -> float | None:
    """Returns the share of a GPU's memory that is left for each learner.

    Args:
      gpus: who has which.

    Returns:
      In (0, 1); None where a learner has its GPUs for itself, has none, or
      their memory is not known.
    """
    priors = self.on_gpu if gpus.is_shared else []
    if not gpus.learner or not (priors or self.num_learners > 1):
      return None
    for memory in gpu_plan.memory_of(gpus.learner[:1]):
      left = (memory.free - self.needed(priors)) / memory.total
      return max(left, _LEAST_SHARE) / self.num_learners
    return None


def _check_in_all(
  num_learners: int,
  priors: Sequence[str],
  needed: int,
  total: int,
  kept: tuple[int, int] | None,
) -> None:
  """Checks a GPU of a learner.

  What is free there is not known: JAX in this process may have taken most of
  it, and the learner is given its memory from that.
  """
  _check_fits(num_learners, priors, needed, total, 'GPU', ' in all', kept)


def _check_fits(
  num_learners: int,
  priors: Sequence[str],
  needed: int,
  there: int,
  where: str,
  what: str = ' free',
  kept: tuple[int, int] | None = None,
) -> None:
  """Checks one place; the line names who is in it, and what would help.

  Args:
    num_learners, priors: who is there.
    needed: bytes, by all of them.
    there: bytes.
    where, what: how the line calls the place and `there`.
    kept: `learner.num_kept_chunks` and the bytes of each, in one learner.
  """
  if needed <= there:
    return
  who, remedies = [], []
  if num_learners:
    many = f'{num_learners} learners'
    who.append('the learner' if num_learners == 1 else many)
    remedies += _keep_fewer(needed - there, num_learners, kept or (0, 0))
    remedies.append('a smaller learner.chunk_size')
  if num_learners > 1:
    remedies.append('fewer cells at a time (--max_running)')
  if priors:
    shown = ', '.join(priors[:4]) + ' and others' * (len(priors) > 4)
    who.append(f'the priors {shown}')
    remedies.append('a smaller dtype or memory.text_dtype')
    remedies.append('fewer priors or concepts')
    more = {'machine': 'machines (--ray_address)', 'GPU': 'GPUs'}
    remedies.append(f'more {more[where]}')
  need = 'needs' if num_learners == 1 and not priors else 'need'
  last = remedies.pop()
  take = f'{", ".join(remedies)}, or {last}' if remedies else last
  raise errors.UserError(
    f'{" and ".join(who)} {need} about {needed / 2**30:.1f} GiB and '
    f'this {where} has {there / 2**30:.1f} GiB{what}; take {take}.'
  )


def _keep_fewer(
  missing: int, num_learners: int, kept: tuple[int, int]
) -> list[str]:
  """Returns how many chunks may be kept where so many bytes are missing."""
  num_kept, each = kept
  if not num_kept:
    return []
  fitting = num_kept - math.ceil(missing / (num_learners * each))
  return [f'learner.num_kept_chunks={fitting}'] if fitting >= 0 else []


def estimate_memory(
  recipes: Sequence[messages.PriorRecipe],
  num_views: int | Mapping[str, int],
  num_texts: Mapping[str, int] | None = None,
) -> MemoryEstimate:
  """Estimates what priors will need, and loads none of them.

  Args:
    recipes: of the priors; those that have no files are left out.
    num_views: that each looks at in a step, or by prior, as `count_views`
      returns it.
    num_texts: by prior, how many different texts it is asked for, as
      `count_texts` returns it; one for a prior that is not in it.

  Raises:
    FileNotFoundError, UserError: in one line, what is wrong with the files.
  """
  with_files = [r for r in recipes if recipes_lib.has_files(r)]
  if not with_files:
    return MemoryEstimate({}, {}, [])
  from mmdist.priors import memory_needs

  asked = num_texts or {}
  names = [recipe.spec.name for recipe in recipes]
  views = (
    dict.fromkeys(names, num_views) if isinstance(num_views, int) else num_views
  )
  needs = {
    r.spec.name: memory_needs.of_prior(
      r.spec, views[r.spec.name], asked.get(r.spec.name, 1)
    )
    for r in with_files
  }
  return MemoryEstimate(
    {name: need.footprint for name, need in needs.items()},
    {r.spec.name: _model_of(r) for r in with_files},
    [name for name, need in needs.items() if need.on_cpu],
  )


@dataclasses.dataclass(frozen=True)
class Looks:
  """What the actors of a cluster are to look for; see `memory_shares`.

  Attributes:
    num_views: by prior, see `estimate_memory`.
    num_texts: by prior, see `estimate_memory`.
  """

  num_views: Mapping[str, int]
  num_texts: Mapping[str, int]

  def of(self, recipes: Sequence[messages.PriorRecipe]) -> memory_shares.Look:
    """Returns what the actor of these priors is to call."""
    return functools.partial(
      look_around, recipes, self.num_views, self.num_texts
    )


def look_around(
  recipes: Sequence[messages.PriorRecipe],
  num_views: Mapping[str, int],
  num_texts: Mapping[str, int],
) -> list[memory_shares.Share]:
  """Returns what priors will need here, and what is free; loads nothing.

  Called in the process that will host them. What cannot be known, because the
  driver does not tell it or a file is not there, is left out.

  Args:
    recipes, num_views, num_texts: see `estimate_memory`.
  """
  try:
    estimate = estimate_memory(recipes, num_views, num_texts)
  except (OSError, errors.UserError):
    return []  # Said when the files are opened.
  found = []

  def add(device: str, names: Sequence[str], free: int) -> None:
    if names:
      needed = estimate.needed(names)
      machine = socket.gethostname()
      found.append(memory_shares.Share(machine, device, names, needed, free))

  there = available_memory()
  if there is not None:
    add('machine', list(estimate.on_cpu), there)
  first = gpu_plan.visible()[:1]  # Torch takes it for all of them.
  for name, memory in zip(first, gpu_plan.memory_of(first), strict=False):
    add(f'GPU {name}', estimate.on_gpu, memory.free)
  return found


def count_views(
  objective: binding.BoundObjective, views: schema.ViewsConfig
) -> dict[str, int]:
  """Returns the most views that each prior looks at in a step."""
  if not views.deal:
    return dict.fromkeys(objective.priors, views.num_views)
  most = dict.fromkeys(objective.priors, 0)
  # Which prior has the larger part changes from step to step.
  for step in range(len(most)):
    dealt = score_requests.deal_views(objective, views.num_views, step)
    most |= {name: max(most[name], len(part)) for name, part in dealt.items()}
  return most


def count_texts(objective: binding.BoundObjective) -> dict[str, int]:
  """Returns how many different texts each prior is asked for, at most."""
  counts = {}
  for name in objective.priors:
    terms = objective.of_prior(name)
    negatives = {term.negative_prompt for term in terms} - {''}
    counts[name] = len({term.prompt for term in terms}) + len(negatives)
  return counts


def _model_of(recipe: messages.PriorRecipe) -> tuple | None:
  """Returns what priors agree in that will share a frozen model.

  The files are told by their paths here: reading them takes too long.
  """
  options = recipe.spec.options
  loras = [file for file, _ in options.all_loras]
  files = f'{options.directory} {options.base} {loras}'
  return dataclasses.replace(recipe.spec, files=files).sharing_key


def available_memory() -> int | None:
  """Returns the bytes that programs can still have; None if not known."""
  try:
    text = pathlib.Path('/proc/meminfo').read_text(encoding='ascii')
  except OSError:  # Another system.
    return None
  found = re.search(r'^MemAvailable:\s+(\d+) kB', text, re.MULTILINE)
  return int(found[1]) * 1024 if found else None
