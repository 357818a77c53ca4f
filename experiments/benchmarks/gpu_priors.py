"""Priors of known sizes on a GPU, each alone.

Their weights are random (`experiments.benchmarks.gpu_models`). Everything else
is a run's own path: a directory on disk, opened, scored, fitted.
"""

from collections.abc import Callable, Sequence
import functools
import gc
import pathlib
import statistics
import time

import numpy as np
import torch
from torch import profiler

from experiments.benchmarks import gpu_job
from experiments.benchmarks import gpu_models
from mmdist.core import asset_paths
from mmdist.core import messages
from mmdist.priors import footprint
from mmdist.priors import prior as priors_lib

TEXT = 'a portrait of a happy man'


def measure(job: gpu_job.Job) -> None:
  """Fills the table of priors alone: views, batched or recorded or not."""
  _measure_alone(job, 'tiny' if job.tiny else 'sd15', (1, 4))


def measure_large(job: gpu_job.Job) -> None:
  """Fills the same table for the largest family, with one view."""
  _measure_alone(job, 'tiny' if job.tiny else 'sdxl', (1,))


def _measure_alone(
  job: gpu_job.Job, kind: str, nums_views: Sequence[int]
) -> None:
  if write(job, kind) is None:
    return
  for num_views in nums_views:
    # Batched takes more memory, and is measured last.
    for passes in _passes(job):
      job.attempt(
        'priors: alone',
        {'prior': kind, 'views': num_views, 'passes': passes or 'separate'},
        functools.partial(time_prior, job, kind, num_views, passes),
        needs_s=1 if job.tiny else 8,
      )
      free()


def measure_profiles(job: gpu_job.Job) -> None:
  """Fills the table of operations that take the most time."""
  color = asset_paths.resolve('color')
  found = None if job.tiny else write(job, 'sd15')
  for directory, pixels in ((color, 64), (found, 128)):
    if directory is not None:
      job.attempt(
        'priors: profiled',
        {'prior': pathlib.Path(directory).name},
        functools.partial(profile, job, str(directory), pixels),
      )
      free()


def _passes(job: gpu_job.Job) -> Sequence[str]:
  """Returns fields of `MemoryOptions` that are tried; '' tries none."""
  return ('', 'batched') if job.tiny else ('', 'cuda_graphs', 'batched')


def write(job: gpu_job.Job, kind: str) -> pathlib.Path | None:
  """Writes a random directory unless it is there; None where that failed."""

  def write_it() -> dict[str, float]:
    start = time.monotonic()
    gpu_models.write(kind, directory, job.device)
    free()
    size = sum(p.stat().st_size for p in directory.rglob('*') if p.is_file())
    return {'write_s': time.monotonic() - start, 'gib': size / 2**30}

  directory = job.folder / kind
  found = job.attempt('priors: written', {'prior': kind}, write_it)
  return None if found is None else directory


def time_prior(
  job: gpu_job.Job, kind: str, num_views: int, passes: str
) -> dict[str, float]:
  """Returns seconds and memory of one prior, beside what was estimated."""
  options = messages.PriorOptions(
    directory=str(job.folder / kind),
    dtype='bfloat16',
    device=job.device,
    memory=messages.MemoryOptions(
      batched=passes == 'batched', cuda_graphs=passes == 'cuda_graphs'
    ),
  )
  spec = messages.PriorSpec(kind, options, num_threads=0)
  found: dict[str, float] = {}
  if not job.tiny:
    torch.cuda.reset_peak_memory_stats()
  start = time.monotonic()
  prior = priors_lib.build(spec)
  found['open_s'] = time.monotonic() - start
  scores, fits = [], []
  repeats = 2 if job.tiny else 5
  for step in range(repeats):
    answer = prior.score(_request(step, num_views, 16 if job.tiny else 128))
    fitted = prior.fit()
    scores.append(answer.metrics['seconds'])
    fits.append(fitted['proxy_seconds'])
  # The first chooses its kernels.
  found['first_score_s'] = scores[0]
  found['score_s'] = statistics.median(scores[1:])
  found['fit_s'] = statistics.median(fits[1:])
  estimated = footprint.estimate(spec, num_views)
  found['estimated_gib'] = estimated.total / 2**30
  if not job.tiny:
    found['peak_gib'] = torch.cuda.max_memory_allocated() / 2**30
    found['reserved_gib'] = torch.cuda.max_memory_reserved() / 2**30
  return found


def profile(job: gpu_job.Job, directory: str, pixels: int) -> dict[str, float]:
  """Notes where the time of a score and of its fit goes, by operation."""
  options = messages.PriorOptions(directory=directory, device=job.device)
  prior = priors_lib.build(messages.PriorSpec('profiled', options, 0))
  for step in range(2):  # Kernels are chosen.
    prior.score(_request(step, 1, pixels))
    prior.fit()
  prior.score(_request(2, 1, pixels))
  walls = {}
  calls: dict[str, Callable[[], object]] = {
    'fit': prior.fit,
    'score': lambda: prior.score(_request(3, 1, pixels)),
  }
  for name, call in calls.items():
    activities = [profiler.ProfilerActivity.CPU]
    if not job.tiny:
      activities.append(profiler.ProfilerActivity.CUDA)
    start = time.monotonic()
    with profiler.profile(activities=activities) as profiled:
      call()
      if not job.tiny:
        torch.cuda.synchronize()
    walls[f'{name}_s'] = time.monotonic() - start
    events = profiled.key_averages()
    for by in ('self_cpu_time_total', 'self_device_time_total'):
      for event in sorted(events, key=lambda e: -getattr(e, by))[:8]:
        row: gpu_job.Row = {'prior': pathlib.Path(directory).name}
        row |= {'call': name, 'by': by, 'operation': event.key[:60]}
        row |= {'calls': event.count, 'ms': getattr(event, by) / 1e3}
        job.add('priors: where the time goes', row)
  return walls


def _request(
  step: int, num_views: int, resolution: int
) -> messages.ScoreRequest:
  rng = np.random.default_rng(step)
  shape = (num_views, resolution, resolution, 3)
  return messages.ScoreRequest(
    step=step,
    images=rng.random(shape, dtype=np.float32),
    terms=(messages.Term((TEXT,) * num_views, TEXT, 1.0, 7.5),),
    noise_levels=rng.uniform(0.02, 0.8, num_views).astype(np.float32),
    seed=step,
    proxy_step=step,
    proxy_learning_rate=1e-4,
  )


def free() -> None:
  """Gives the memory of priors that are gone back to the GPU."""
  gc.collect()
  if torch.cuda.is_available():
    torch.cuda.empty_cache()
