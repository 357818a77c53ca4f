"""A sentence becomes a 3D head.

  python -m launchers.optimize --config=experiments/generate.py \\
    --config.prompt='a portrait of a happy man with green skin and a red hat' \\
    --workdir=runs/green

The same command resumes a run; --resume_with_changes=FIELD,... lets it go on
with another configuration. Everything that can be wrong with it is checked
before anything slow begins, and nothing is written before that.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import sys

from absl import flags
import jax

from launchers import config_flag
from launchers import terminal
from mmdist import loop
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import asset_paths
from mmdist.core import messages
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import ray_executor
from mmdist.distribution import supervisor
from mmdist.learner import start
from mmdist.nerf import field
from mmdist.objectives import concept
from mmdist.objectives import texts
from mmdist.results import make
from mmdist.run import device_setup
from mmdist.run import opening
from mmdist.run import reporting
from mmdist.run import resuming
from mmdist.run import stopping
from mmdist.run import workdir as workdir_lib

_CONFIG = config_flag.define_config()
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run; a new one is made.', required=True
)
_EXECUTOR = flags.DEFINE_enum(
  'executor',
  'ray',
  ['inline', 'ray'],
  'Where the priors run: in this process, or in one Ray actor each.',
)
_RAY_ADDRESS = flags.DEFINE_string(
  'ray_address', None, 'A running Ray cluster; else Ray starts here.'
)
_RAY_DASHBOARD = flags.DEFINE_bool(
  'ray_dashboard',
  False,
  "Whether a Ray that starts here serves its dashboard, to this machine's "
  "browsers only; needs pip install 'ray[default]'.",
)
_GRACE_S = flags.DEFINE_float(
  'grace_s',
  60.0,
  'After SIGTERM or Ctrl-C, how long the running step may take.',
  0.1,
)
_RESUME_WITH_CHANGES = flags.DEFINE_list(
  'resume_with_changes',
  [],
  'Fields that may differ from those that a run began with, such as '
  "num_steps,learner; 'weights' for the files of the priors.",
)


def main(_: Sequence[str]) -> None:
  run = config_flag.load(_CONFIG)
  workdir = pathlib.Path(_WORKDIR.value)
  may_change = tuple(_RESUME_WITH_CHANGES.value)
  workdir_lib.check(workdir, run, may_change)
  objective = concept.objective_from_config(run)
  threads = device_setup.share_cores(len(objective.priors))
  device_setup.set_up_jax(threads.learner)
  for line in concept.balance_warnings(objective):
    print(f'warning: {line}', file=sys.stderr)
  representation, params = load_start(run)
  check_priors(objective, run)
  print(serialization.format_config(run))
  recipes = make_recipes(run, objective, threads.prior)
  for line in preflight(recipes, run.views.num_views):
    print(line)
  with workdir_lib.locked(workdir):
    params = make_avatar(
      workdir, run, recipes, representation, params, may_change
    )
    if params is not None:
      make_results(workdir, run, representation, params)


def make_avatar(
  workdir: pathlib.Path,
  run: schema.RunConfig,
  recipes: Sequence[messages.PriorRecipe],
  representation: field.Representation,
  params: dict,
  may_change: Sequence[str],
) -> dict | None:
  """Runs or resumes a run, or opens a finished one; returns its parameters.

  None if a signal ended it before its last step.

  Args:
    workdir: its folder, locked.
    run: the checked configuration.
    recipes: of the priors that it asks.
    representation, params: what it starts from.
    may_change: see `mmdist.run.workdir`.

  Raises:
    ValueError: in one line; it cannot go on with what has changed.
  """
  # Again: another run may have begun here before the folder was locked.
  changes = workdir_lib.check(workdir, run, may_change)
  resuming.check_can_follow(workdir, run, changes)
  if is_finished(workdir, run):
    resuming.check_unchanged(workdir, changes)
    workdir_lib.claim(workdir, run, may_change)
    print(f'{workdir} is finished: {run.num_steps} of {run.num_steps} steps.')
    return opening.open_run(workdir).params
  # Before any prior is loaded; they are then read from the system's cache.
  weights = resuming.weight_digests(recipes)
  changes += workdir_lib.check_weights(workdir, weights, may_change)
  stop = stopping.Stopper(_GRACE_S.value)
  in_actors = _EXECUTOR.value == 'ray'
  with make_executor(recipes, run, in_actors, stop) as executor:
    workdir_lib.claim(workdir, run, may_change, weights)
    for change in changes:
      print(f'changed: {change}', file=sys.stderr)
    with stop:
      state = loop.optimize(
        run,
        workdir,
        executor,
        representation,
        params,
        stop=stop,
        weights=weights,
      )
  if int(state.step) < run.num_steps:
    print(
      f'stopped and saved after step {int(state.step)} of {run.num_steps}; the '
      'same command goes on.'
    )
    return None
  return jax.device_get(state.params)


def is_finished(workdir: pathlib.Path, run: schema.RunConfig) -> bool:
  """Returns whether a folder holds a sound checkpoint of the last step."""
  last = workdir / 'checkpoints' / str(run.num_steps)
  return last.is_dir() and opening.open_run(workdir).step == run.num_steps


def check_priors(
  objective: concept.ComposedObjective, run: schema.RunConfig
) -> None:
  """Checks the priors' files, and that each knows the words it will read.

  Raises:
    FileNotFoundError, ValueError: in one line.
  """
  # Here, because it imports torch: mistakes above are answered at once.
  from mmdist.priors import checks
  from mmdist.priors import locate

  for name, sent in texts.texts_of(objective, run.views).items():
    prior = run.priors[name]
    checks.check_prior(locate.locate(prior.directory), sorted(sent), prior.lora)


def preflight(
  recipes: Sequence[messages.PriorRecipe], num_views: int
) -> list[str]:
  """Returns what each prior will need in memory, nothing of it loaded yet."""
  from mmdist.priors import footprint

  return footprint.format_lines(
    {
      recipe.spec.name: footprint.estimate(recipe.spec, num_views)
      for recipe in recipes
    }
  )


def load_start(run: schema.RunConfig) -> tuple[field.Representation, dict]:
  """Opens the pretrained representation and joins the start code (N9).

  Raises:
    FileNotFoundError, ValueError: no such assets, or of another shape.
  """
  params = start.load_params(run)
  return field.conditional_nerf(run.nerf), params


def make_recipes(
  run: schema.RunConfig,
  objective: concept.ComposedObjective,
  num_threads: int,
) -> list[messages.PriorRecipe]:
  """Returns the recipe of each prior that the objective asks."""
  return [
    messages.PriorRecipe(
      make_spec(name, run.priors[name], num_threads), build_prior
    )
    for name in objective.priors
  ]


def make_spec(
  name: str, prior: schema.PriorConfig, num_threads: int
) -> messages.PriorSpec:
  """Returns a prior's spec, as an actor on any machine can open it."""
  return messages.PriorSpec(
    name=name,
    channel=prior.channel,
    directory=make_absolute(prior.directory),
    lora=prior.lora and str(pathlib.Path(prior.lora).absolute()),
    lora_scale=prior.lora_scale,
    dtype=prior.dtype,
    rank=prior.rank,
    proxy_guidance_scale=prior.proxy_guidance_scale,
    objective=prior.objective,
    weighting=prior.weighting,
    proxy_noise=prior.proxy_noise,
    device=prior.device,
    num_threads=num_threads,
    memory=messages.MemoryOptions(**dataclasses.asdict(prior.memory)),
  )


def make_absolute(directory: str) -> str:
  """Returns a path as an actor can open it; other names as they are."""
  # A hub id or an embedded name stands for a folder of the actor's machine.
  path = pathlib.Path(directory)
  if directory in asset_paths.EMBEDDED or not path.is_dir():
    return directory
  return str(path.absolute())


def build_prior(spec: messages.PriorSpec) -> messages.Prior:
  """Builds a prior, in the process that hosts it: torch is imported there."""
  from mmdist.priors import prior

  return prior.build(spec)


def make_executor(
  recipes: Sequence[messages.PriorRecipe],
  run: schema.RunConfig,
  in_actors: bool,
  stop: stopping.Stopper,
) -> executor_lib.Executor:
  """Returns the executor; with actors, their priors load meanwhile."""
  if not in_actors:
    return executor_lib.InlineExecutor(recipes)
  return ray_executor.RayExecutor(
    recipes,
    address=_RAY_ADDRESS.value,
    dashboard=_RAY_DASHBOARD.value,
    num_gpus={name: prior.num_gpus for name, prior in run.priors.items()},
    limits=supervisor.Limits(
      deadline_s=run.faults.deadline_s,
      max_losses=run.faults.max_losses,
      window_s=run.faults.window_s,
    ),
    check_stop=stop.check_stop,
  )


def make_results(workdir: pathlib.Path, run, representation, params) -> None:
  """Makes the results and prints where they are."""
  metrics = workdir / reporting.METRICS_NAME
  paths = make.make_all(workdir, representation, params, run, metrics)
  for name, path in paths.items():
    print(f'{name:10} {path}')


if __name__ == '__main__':
  terminal.run(main)
