"""Whole runs on a GPU, with the priors in the same process."""

import statistics
import time
from typing import Any

from experiments import generate
from experiments import smoke
from experiments.benchmarks import gpu_job
from mmdist.api import opened_run
from mmdist.api import optimization
from mmdist.config import schema
from mmdist.run import callbacks

# One chunk for all rays of a step: on a GPU small ones are all waiting.
LARGE_CHUNK = 8192


def measure_demo(job: gpu_job.Job) -> None:
  """Fills the table of the smoke run and the demo."""
  config = on_device(job, smoke.get_config())
  if job.tiny:
    job.attempt('runs', {'run': 'smoke, inline'}, lambda: _run(job, config, 0))
    return
  whole = generate.get_config()
  whole.learner.chunk_size = LARGE_CHUNK
  job.attempt(
    'runs',
    {'run': 'demo', 'chunk': LARGE_CHUNK},
    lambda: _run(job, whole, 0),
    needs_s=20,
  )
  # And as the command has it, for a few steps.
  demo = generate.get_config()
  job.attempt(
    'runs',
    {'run': 'demo, its first steps', 'chunk': demo.learner.chunk_size},
    lambda: _run(job, demo, 8),
    needs_s=25,
  )
  job.attempt('runs', {'run': 'smoke, inline'}, lambda: _run(job, config, 0))


def on_device(job: gpu_job.Job, config: schema.RunConfig) -> schema.RunConfig:
  """Puts all priors on the job's device; returns the configuration."""
  for prior in config.priors.values():
    prior.device = job.device
  return config


def _run(
  job: gpu_job.Job, config: schema.RunConfig, stop_after: int
) -> dict[str, Any]:
  """Runs to the end, or as far as there is time; asks the judge."""

  def stop_early(step: callbacks.Step) -> None:
    # Results and the judge need their time, too.
    if step.number == stop_after or job.time_left() < 15:
      step.stop()

  folder = job.folder / f'run-{time.monotonic_ns()}'
  start = time.monotonic()
  run = optimization.optimize(
    None, folder, config=config, executor='inline', on_step=stop_early
  )
  found = numbers(run) | {'wall_s': time.monotonic() - start}
  if not job.tiny and not stop_after:
    found |= _judged(run)
  return found


def numbers(run: opened_run.Run) -> dict[str, Any]:
  """Returns steps, seconds of a step, and the results that were made."""
  rows = run.metrics
  # The first step compiles.
  seconds = [row['step_seconds'] for row in rows[1:]]
  return {
    'steps': f'{run.step} of {run.config.num_steps}',
    'step_s': statistics.median(seconds) if seconds else None,
    'results': ', '.join(sorted(run.results)) or 'none',
  }


def _judged(run: opened_run.Run) -> dict[str, Any]:
  """Returns how far the judge agrees with the result."""
  row = run.evaluate()
  return {
    name: value
    for name, value in row.items()
    if isinstance(value, float) and 'agreement' in name
  }
