"""A small run in a process of its own, that ends itself where it is told to.

  python -m tests.chaos.victim WORKDIR [--executor=inline] [--die=POINT:STEP]
      [--address=HOST:PORT] [--steps=8] [--every=3] [--parts=1]
      [--pace=SECONDS]
  python -m tests.chaos.victim --die=POINT:STEP -- FLAGS OF launchers.optimize

The loop, the checkpoints and the executors are those of every run; the learner
is a ball of a few numbers and the priors are `tests.distribution.fake_prior`.
Prints the digest of its newest checkpoint at the end. With flags after `--` it
is the real launcher that dies.
"""

import argparse
import logging
import os
import pathlib
import signal
import sys
import time

import jax
from orbax.checkpoint._src.path import atomicity

from mmdist import loop
from mmdist.config import schema
from mmdist.distribution import executor as executor_lib
from mmdist.distribution import ray_executor
from mmdist.learner import distill
from mmdist.run import checkpointing
from mmdist.run import stopping
from tests.chaos import injection
from tests.distribution import fake_prior
from tests.learner import tiny_field

NAMES = ('generic', 'normal')
# When the learner's process dies: before it renders, asks, or moves; with a
# save under way; just before and after that save counts.
POINTS = ('render', 'score', 'update', 'save', 'commit', 'committed')


def make_run(num_steps: int, every: int) -> schema.RunConfig:
  return schema.RunConfig(
    num_steps=num_steps,
    views=schema.ViewsConfig(num_views=2, resolution=8),
    learner=schema.LearnerConfig(
      learning_rate=0.05, opacity_weight=0.0, regularizer_weight=0.0
    ),
    checkpoints=schema.CheckpointConfig(every=every, keep=3),
    results=schema.ResultsConfig(preview_every=0),
  )


def die() -> None:
  os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, step: int) -> None:
  """Puts SIGKILL where the run will pass."""
  if point in ('render', 'score', 'update'):
    _arm_step(point, step)
  elif point == 'save':
    _after(
      checkpointing.CheckpointStore, 'save', lambda s, snap: snap.step, step
    )
  else:
    _arm_commit(point, step)


def _arm_commit(point: str, step: int) -> None:
  """Dies just before, or just after, the rename that makes a save count."""
  original = atomicity.AtomicRenameTemporaryPath.finalize

  async def finalize(self):
    mine = self._final_path.name == str(step)
    if mine and point == 'commit':
      die()
    await original(self)
    if mine:
      die()

  atomicity.AtomicRenameTemporaryPath.finalize = finalize


def _arm_step(point: str, step: int) -> None:
  make = distill.make_learner
  name = {'render': 'render_views', 'update': 'update'}.get(point)

  def make_learner(*arguments, **options):
    learner = make(*arguments, **options)
    return learner.__class__(
      **{
        **vars(learner),
        name: _killing(getattr(learner, name), lambda s, *_: int(s.step), step),
      }
    )

  if name:
    distill.make_learner = make_learner
    return
  for kind in (executor_lib.InlineExecutor, ray_executor.RayExecutor):
    _before(kind, 'submit', lambda s, r: next(iter(r.values())).step, step)


def _killing(function, step_of, step, *, before=True):
  def wrapped(*arguments, **options):
    hit = step_of(*arguments) == step
    if hit and before:
      die()
    result = function(*arguments, **options)
    if hit and not before:
      die()
    return result

  return wrapped


def _before(kind, name, step_of, step) -> None:
  original = getattr(kind, name)

  def wrapped(*arguments, **options):
    if step_of(*arguments) == step:
      die()
    return original(*arguments, **options)

  setattr(kind, name, wrapped)


def _after(kind, name, step_of, step) -> None:
  setattr(
    kind, name, _killing(getattr(kind, name), step_of, step, before=False)
  )


def run_launcher(flags: list[str]) -> None:
  """Runs `launchers.optimize` as its command does."""
  from launchers import optimize as launcher

  launcher.COMMAND.run(['optimize', *flags])


def main() -> None:
  own, flags = sys.argv[1:], []
  if '--' in own:
    at = own.index('--')
    own, flags = own[:at], own[at + 1 :]
  parser = argparse.ArgumentParser()
  parser.add_argument('workdir', type=pathlib.Path, nargs='?')
  parser.add_argument('--executor', default='inline')
  parser.add_argument('--address', help='of a Ray that runs.')
  parser.add_argument('--die', default='')
  parser.add_argument('--steps', type=int, default=8)
  parser.add_argument('--every', type=int, default=3)
  parser.add_argument('--parts', type=int, default=1, help='Of a step.')
  parser.add_argument('--pace', type=float, default=0.0)
  parser.add_argument('--hang', default='', help='FOLDER of the mark.')
  options = parser.parse_args(own)
  logging.basicConfig()
  if options.die:
    point, step = options.die.split(':')
    arm(point, int(step))
  if flags:
    run_launcher(flags)
    return
  options.workdir.mkdir(parents=True, exist_ok=True)
  run = make_run(options.steps, options.every)
  run.views.micro_batches = options.parts
  recipes = [fake_prior.recipe(name) for name in NAMES]
  if options.hang:
    plan = [injection.Fault('normal', 4, 'score:before', 'stop')]
    recipes = [
      injection.with_faults(recipe, plan, pathlib.Path(options.hang))
      for recipe in recipes
    ]
  stop = stopping.Stopper(grace_s=3.0)
  if options.executor == 'ray':
    running = ray_executor.RayExecutor(
      recipes,
      address=options.address,
      ship_code=False,
      check_stop=stop.check_stop,
    )
  else:
    running = executor_lib.InlineExecutor(recipes)
  with running, stop:
    params = tiny_field.init(jax.random.key(0))
    field = tiny_field.tiny_field()
    state = loop.optimize(
      run,
      options.workdir,
      running,
      field,
      params,
      stop=stop,
      on_step=lambda _: time.sleep(options.pace),
    )
  with checkpointing.CheckpointStore(options.workdir, run) as store:
    print(int(state.step), *store.digest())


if __name__ == '__main__':
  main()
