"""Runs in Ray's actors, which share the GPU with the learner; and a sweep."""

from collections.abc import Mapping
import contextlib
import functools
import io
import sys
import time
from typing import Any, TextIO

from experiments import mix
from experiments import smoke
from experiments.benchmarks import gpu_job
from experiments.benchmarks import gpu_runs
from mmdist.api import optimization


def measure(job: gpu_job.Job) -> None:
  """Fills the table of runs in Ray's actors, which share the GPU."""
  try:
    import ray  # noqa: F401
    import ray.actor  # noqa: F401
  except ImportError as error:
    job.add('ray', {'run': 'none', 'error': gpu_job.short(error)})
    return
  for share in (0.0, 0.5):
    job.attempt(
      'ray',
      {'run': 'smoke', 'num_gpus': share},
      functools.partial(_run_in_actors, job, share),
      needs_s=15,
    )
  job.attempt('ray', {'run': 'sweep of nine'}, lambda: _sweep(job), needs_s=20)


class _Twice:
  """A file that writes into two, so that a part that is killed has spoken."""

  def __init__(self, *files: TextIO):
    self._files = files

  def write(self, text: str) -> int:
    for file in self._files:
      file.write(text)
      file.flush()
    return len(text)

  def flush(self) -> None:
    """All is written at once."""


def _run_in_actors(job: gpu_job.Job, share: float) -> Mapping[str, Any]:
  config = gpu_runs.on_device(job, smoke.get_config())
  for prior in config.priors.values():
    prior.num_gpus = 0.0 if job.tiny else share
  said = io.StringIO()
  start = time.monotonic()
  with contextlib.redirect_stdout(_Twice(said, sys.stdout)):
    run = optimization.optimize(
      None, job.folder / f'ray-{share}', config=config, executor='ray'
    )
  plan = [
    line.removeprefix('gpus').strip()
    for line in said.getvalue().splitlines()
    if line.startswith('gpus')
  ]
  return gpu_runs.numbers(run) | {
    'wall_s': time.monotonic() - start,
    'plan': plan[0] if plan else 'no GPU',
  }


def _sweep(job: gpu_job.Job) -> Mapping[str, Any]:
  """Runs the README's grid, two steps a cell."""
  # Here, because it imports Ray.
  from mmdist.sweeps import sweep_command

  config = gpu_runs.on_device(job, mix.get_config('happy_sad'))
  small = smoke.get_config()
  config.num_steps, config.views = small.num_steps, small.views
  config.results, config.checkpoints = small.results, small.checkpoints
  config.results.judge = ''
  start = time.monotonic()
  made = sweep_command.run(
    config,
    sweep_command.Options(
      workdir=str(job.folder / 'sweep'),
      grid=('happy=0,0.5,1', 'sad=0,0.5,1'),
      max_running=2,
    ),
  )
  if made is None:
    raise RuntimeError('the sweep made nothing')
  return {
    'steps': small.num_steps,
    'wall_s': time.monotonic() - start,
    'results': str(made),
  }
