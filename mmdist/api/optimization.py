"""`mmdist.optimize`: from a sentence to a finished run, in one call."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import os
import pathlib
import tempfile
import time
from typing import Any
import warnings

import jax

from mmdist import loop
from mmdist.api import composing
from mmdist.api import executors
from mmdist.api import judged
from mmdist.api import opened_run
from mmdist.api import preparing
from mmdist.config import schema
from mmdist.core import local_paths
from mmdist.core import representation as representation_lib
from mmdist.core import saying
from mmdist.learner import warming
from mmdist.objectives import concept as concept_lib
from mmdist.results import make
from mmdist.run import callbacks
from mmdist.run import metrics_file
from mmdist.run import opening
from mmdist.run import resuming
from mmdist.run import stopping
from mmdist.run import workdir as workdir_lib


def optimize(
  what: str | concept_lib.ComposedObjective | None,
  workdir: str | os.PathLike,
  *,
  config: schema.RunConfig | None = None,
  priors: Mapping[str, composing.PriorLike] | None = None,
  representation: representation_lib.Representation | None = None,
  params: representation_lib.Params | None = None,
  executor: executors.ExecutorLike = 'ray',
  on_step: Callable[[callbacks.Step], None] | None = None,
  may_change: Sequence[str] = (),
  grace_s: float = 60.0,
) -> opened_run.Run:
  """Makes a 3D head of a sentence or of concepts, or goes on making it.

  Called again with the same arguments it resumes from the last checkpoint, and
  opens the run if that is finished. SIGTERM and Ctrl-C save and return.

  Args:
    what: a sentence, a sum of `mmdist.avatar`s, or None where `config` says
      what is asked.
    workdir: folder of the run; a new one is made.
    config: every setting; None has the defaults.
    priors: name -> `mmdist.Prior`, a directory, an object with the methods of
      `mmdist.core.messages.Prior`, or a function of a `ScoreRequest` (see
      `mmdist.api.function_prior`). They take the place of the configuration's.
    representation: a `mmdist.Representation` in place of the conditional NeRF.
    params: what a new run starts from; None starts from the pretrained NeRF,
      or from `representation.init`.
    executor: 'ray' runs priors in actors, where priors of the same files share
      one; 'inline' runs them in this process. Or a `RayOptions`, an executor of
      one's own, or a function that makes one from recipes.
    on_step: called with a `mmdist.run.callbacks.Step` after every step; may
      stop the run. If it raises, the run is saved and the error goes on to the
      caller.
    may_change: names of fields that may differ from those that the run began
      with, and 'weights' for the files of the priors.
    grace_s: seconds that a step may still take after a signal. Then the step
      is given up, if the priors run in actors; with inline priors it is always
      waited for.

  Returns:
    The run, with its results made if it reached its last step. On the other
    hosts of a learner of several, the run as host 0 has left it.

  Raises:
    UserError, OSError: something that a person can mend, in one line. HostLost
      is one, after which what was done before is saved.
    DistributionError: a prior failed, or was lost too often; what was done
      before is saved.
    NotFinite: numbers that are not finite, more than `config.faults` allows.
  """
  given = preparing.Given(
    what, config, priors, representation, params, executor
  )
  workdir = local_paths.local(workdir)
  if preparing.has_followed(given):
    return opened_run.Run(workdir, representation)
  stop = stopping.Stopper(grace_s)
  with contextlib.ExitStack() as hosts:
    task = preparing.prepare(given, workdir, may_change, stop, hosts)
    with workdir_lib.locked(workdir):
      finished = _run(task, executor, stop, on_step)
      hosts.close()  # What is left to do is not theirs.
      if finished is not None:
        make.make_all(
          workdir,
          task.representation,
          finished,
          task.config,
          workdir / metrics_file.NAME,
          judged.judge(task.config, task.representation, finished),
        )
  return opened_run.Run(workdir, representation)


def preflight(
  what: str | concept_lib.ComposedObjective | None,
  workdir: str | os.PathLike,
  *,
  config: schema.RunConfig | None = None,
  priors: Mapping[str, composing.PriorLike] | None = None,
  representation: representation_lib.Representation | None = None,
  params: representation_lib.Params | None = None,
  executor: executors.ExecutorLike = 'ray',
  may_change: Sequence[str] = (),
) -> float:
  """Prints what a run would do, and takes one real step of it elsewhere.

  Every prior is loaded and asked, and its answer is taken back through the
  render. The step is taken in a temporary folder, of which nothing is kept.

  Args:
    what, workdir, config, priors, representation, params, executor,
      may_change: as `optimize` takes them. The folder is checked, and not
      written.

  Returns:
    Seconds from the start of loading to the end of the step; NaN if a signal
    ended it before.

  Raises:
    UserError, OSError, DistributionError, NotFinite: what `optimize` would.
  """
  given = preparing.Given(
    what, config, priors, representation, params, executor
  )
  if preparing.has_followed(given):
    return float('nan')
  with contextlib.ExitStack() as hosts:
    stop = stopping.Stopper()
    path = local_paths.local(workdir)
    task = preparing.prepare(given, path, may_change, stop, hosts)
    return _take_one_step(task, executor, stop)


def _take_one_step(
  task: preparing.Task, executor: executors.ExecutorLike, stop: stopping.Stopper
) -> float:
  """Takes a step in a temporary folder; see `preflight`."""
  begin = time.monotonic()
  took: list[float] = []

  def stop_here(step: callbacks.Step) -> None:
    took.append(time.monotonic() - begin)
    step.stop()

  with tempfile.TemporaryDirectory(prefix='mmdist-preflight-') as folder:
    elsewhere = dataclasses.replace(
      task,
      workdir=pathlib.Path(folder, 'run'),
      config=_without_wandb(task.config),  # A server keeps all.
      may_change=(),  # A new folder holds nothing that may change.
    )
    with workdir_lib.locked(elsewhere.workdir):
      _run(elsewhere, executor, stop, stop_here, quiet=True)
  if not took:  # A signal ended it.
    saying.say('preflight was stopped before it had taken its step')
    return float('nan')
  saying.say(
    f'preflight passed: loaded, and one step taken, in {took[-1]:.1f} s'
  )
  return took[-1]


def _without_wandb(config: schema.RunConfig) -> schema.RunConfig:
  results = dataclasses.replace(config.results, wandb='')
  return dataclasses.replace(config, results=results)


def _run(
  task: preparing.Task,
  executor: executors.ExecutorLike,
  stop: stopping.Stopper,
  on_step: Callable[[callbacks.Step], None] | None,
  quiet: bool = False,
) -> Any:
  """Runs or resumes a run in its locked folder, or opens a finished one.

  Args:
    task: what to run.
    executor: runs the priors.
    stop: hears signals.
    on_step: see `optimize`.
    quiet: do not say how it ended.

  Returns:
    The last parameters; None if something ended the run before its last step.
  """
  config, workdir, may_change = task.config, task.workdir, task.may_change
  # Again: another run may have begun here before the folder was locked.
  changes = workdir_lib.check(workdir, config, may_change)
  resuming.check_can_follow(workdir, config, changes)
  if is_finished(workdir, config, task.representation):
    resuming.check_unchanged(workdir, changes)
    workdir_lib.claim(workdir, config, may_change)
    saying.say(
      f'{workdir} is finished: {config.num_steps} of {config.num_steps} steps.'
    )
    return opening.open_run(workdir, task.representation).params
  # Before any prior is loaded; they are then read from the system's cache.
  weights = resuming.weight_digests(task.recipes)
  changes += workdir_lib.check_weights(workdir, weights, may_change)
  recipes = resuming.with_files(task.recipes, weights)
  # While Ray starts, and priors load.
  learner = warming.begin(
    loop.make_learner(config, task.representation, task.hosts), task.params
  )
  with contextlib.ExitStack() as stack:
    running = executors.start(
      executor,
      *(recipes, config, stop, stack, task.gpus, task.looks, task.room),
    )
    workdir_lib.claim(workdir, config, may_change, weights)
    for change in changes:
      warnings.warn(f'changed: {change}', stacklevel=3)
    for line in resuming.rescaled_schedules(workdir, config, changes):
      warnings.warn(line, stacklevel=3)
    try:
      with stop:
        state = loop.optimize(
          config,
          workdir,
          running,
          task.representation,
          task.params,
          stop=stop,
          weights=weights,
          learner=learner,
          on_step=on_step,
        )
    except stopping.Overdue:  # While the priors were loading.
      if not quiet:
        saying.say(
          'stopped while the priors were loading; the same command goes on.'
        )
      return None
  if int(state.step) < config.num_steps:
    if not quiet:
      saying.say(
        f'stopped and saved after step {int(state.step)} of '
        f'{config.num_steps}; the same command goes on.'
      )
    return None
  return jax.device_get(state.params)


def is_finished(
  workdir: pathlib.Path,
  config: schema.RunConfig,
  representation: representation_lib.Representation,
) -> bool:
  """Returns whether a folder holds a sound checkpoint of the last step."""
  last = workdir / 'checkpoints' / str(config.num_steps)
  if not last.is_dir():
    return False
  return opening.open_run(workdir, representation).step == config.num_steps
