"""A run before it begins: checked, described, and its learner's hosts there."""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import functools
import pathlib
from typing import Any
import warnings

import jax

from mmdist.api import composing
from mmdist.api import executors
from mmdist.api import impossible_texts
from mmdist.api import joining
from mmdist.api import learner_hosts
from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.core import messages
from mmdist.core import representation as representation_lib
from mmdist.core import saying
from mmdist.distribution import gpu_plan
from mmdist.learner import hosts as hosts_lib
from mmdist.learner import learner_memory
from mmdist.learner import mirror
from mmdist.learner import start
from mmdist.objectives import binding
from mmdist.objectives import concept as concept_lib
from mmdist.run import device_setup
from mmdist.run import memory_estimate
from mmdist.run import opening
from mmdist.run import preflight as preflight_lib
from mmdist.run import recipes as recipes_lib
from mmdist.run import stopping
from mmdist.run import wandb_log
from mmdist.run import workdir as workdir_lib


@dataclasses.dataclass(frozen=True)
class Given:
  """What a person gave; see `optimize`."""

  what: str | concept_lib.ComposedObjective | None
  config: schema.RunConfig | None
  priors: Mapping[str, composing.PriorLike] | None
  representation: representation_lib.Representation | None
  params: representation_lib.Params | None
  executor: executors.ExecutorLike

  @functools.cached_property
  def composed(self) -> tuple[schema.RunConfig, Any]:
    """The checked configuration, and the objects that are its priors."""
    return composing.compose(
      self.what, self.config, self.priors, self.representation
    )


@dataclasses.dataclass(frozen=True)
class Task:
  """A run that was checked: its folder, and everything that it is made of."""

  config: schema.RunConfig
  workdir: pathlib.Path
  recipes: Sequence[messages.PriorRecipe]
  representation: representation_lib.Representation
  params: representation_lib.Params
  may_change: Sequence[str]
  gpus: gpu_plan.GpuPlan
  looks: memory_estimate.Looks
  hosts: hosts_lib.Hosts | None = None
  room: Any = None  # On a cluster, what hosts and priors have reserved.


def prepare(
  given: Given,
  workdir: pathlib.Path,
  may_change: Sequence[str],
  stop: stopping.Stopper,
  stack: contextlib.ExitStack,
) -> Task:
  """Checks everything that can be checked, and prints what will be done.

  The learner's other hosts have joined then; `stack` lets them go.
  """
  composing.check_executor(given.executor)
  config, objects = given.composed
  joining.check_for(given.executor, workdir, config.num_steps)
  workdir_lib.check(workdir, config, may_change)
  wandb_log.check(config)
  objective = binding.bind_config(config)
  preflight_lib.check_views(objective, config)
  threads = device_setup.share_cores(len(objective.priors))
  where = executors.describe(given.executor)
  is_here = where in (executors.IN_PROCESS, executors.HERE)
  recipes: list[messages.PriorRecipe] = []
  if executors.needs_recipes(given.executor):
    recipes = recipes_lib.make_recipes(
      config.priors, objective.priors, threads.prior, objects
    )
  gpus = executors.plan_gpus(given.executor, config, recipes)
  for line in binding.balance_warnings(objective):
    warnings.warn(line, stacklevel=3)
  if recipes:
    preflight_lib.check_priors(objective, config)
    if is_here:
      preflight_lib.check_devices(recipes)
  for line in impossible_texts.warnings_of(objective, config):
    warnings.warn(line, stacklevel=3)
  looks = memory_estimate.Looks(
    memory_estimate.count_views(objective, config.views),
    memory_estimate.count_texts(objective),
  )
  memory = memory_estimate.estimate_memory(
    recipes, looks.num_views, looks.num_texts
  )
  # Before JAX begins, which reads its share of a GPU then.
  device_setup.set_up_jax(
    threads.learner,
    None if gpus.is_shared else len(gpus.learner),
    memory.left_for_learner(gpus),
  )
  hosts, room = stack.enter_context(
    learner_hosts.joined(
      config,
      given.executor,
      recipes,
      given.representation,
      threads.learner,
      stop.check_stop,
    )
  )
  representation, params = load_start(
    config, given.representation, given.params
  )
  if hosts is not None:
    mirror.check_structure(representation, params)
    hosts.on_asked = stop.ask
  layout = device_mesh.learner_layout(
    config.learner.num_devices,
    config.learner.num_hosts,
    config.learner.num_shards,
  )
  memory = memory.with_learner(
    learner_memory.estimate(
      representation,
      params,
      config,
      layout.num_devices,
      with_normals='normal' in objective.channels,
    )
  )
  for line in preflight_lib.describe(
    objective, config, recipes, threads.learner, where
  ):
    saying.say(line)
  for line in memory.lines():
    saying.say(line)
  if gpus.describe():
    saying.say(f'gpus     {gpus.describe()}')
  if not is_here:
    memory = memory.without_priors()
  memory.check(gpus)
  return Task(
    config,
    workdir,
    recipes,
    representation,
    params,
    tuple(may_change),
    gpus,
    looks,
    hosts,
    room,
  )


def load_start(
  config: schema.RunConfig,
  representation: representation_lib.Representation | None,
  params: representation_lib.Params | None,
) -> tuple[representation_lib.Representation, representation_lib.Params]:
  """Returns what is optimised, and where it starts.

  Args:
    config: of the run.
    representation: see `optimize`.
    params: see `optimize`.

  Raises:
    FileNotFoundError, UserError: the pretrained weights are not there, or are
      of another network.
  """
  if representation is None:
    representation = opening.representation_of(config)
    if params is None:
      params = start.load_params(config)
  elif params is None:
    params = representation.init(jax.random.key(config.seed))
  return representation, params


def has_followed(given: Given) -> bool:
  """Returns True, after the run, where this process is not its first host."""
  config, _ = given.composed
  learner_hosts.check(config, given.executor)
  if not learner_hosts.follows(config):
    return False
  threads = device_setup.share_cores(1)
  learner_hosts.follow(config, given.representation, threads.learner)
  return True
