"""Priors of known sizes on a GPU: alone, and several beside the learner.

Their weights are random (`experiments.benchmarks.gpu_models`). Everything else
is a run's own path: a directory on disk, opened, scored, fitted.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import gc
import pathlib
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import profiler

from experiments.benchmarks import gpu_job
from experiments.benchmarks import gpu_models
from mmdist.api import optimization
from mmdist.config import schema
from mmdist.core import asset_paths
from mmdist.core import messages
from mmdist.nerf import field
from mmdist.priors import footprint
from mmdist.priors import prior as priors_lib
from mmdist.run import callbacks

TEXT = 'a portrait of a happy man'


def measure(job: gpu_job.Job) -> None:
  """Fills the table of priors alone: family, views, batched or not."""
  if not job.tiny:
    job.attempt(
      'priors: profiled',
      {'prior': 'color'},
      lambda: profile(job, asset_paths.resolve('color'), 64),
    )
  # Batched takes more memory, and is measured last of each.
  for kind in ('tiny',) if job.tiny else ('sd15', 'sdxl'):
    found = job.attempt(
      'priors: written', {'prior': kind}, functools.partial(_write, job, kind)
    )
    if found is None:
      continue
    if kind == 'sd15':
      job.attempt(
        'priors: profiled',
        {'prior': kind},
        functools.partial(profile, job, str(job.folder / kind), 128),
      )
    for num_views in (1, 4):
      for passes in _passes(job):
        job.attempt(
          'priors: alone',
          {'prior': kind, 'views': num_views, 'passes': passes or 'separate'},
          functools.partial(time_prior, job, kind, num_views, passes),
          needs_s=1 if job.tiny else 8,
        )
        _free()


def _passes(job: gpu_job.Job) -> Sequence[str]:
  """Returns fields of `MemoryOptions` that are tried; '' tries none."""
  return ('', 'batched') if job.tiny else ('', 'cuda_graphs', 'batched')


def _write(job: gpu_job.Job, kind: str) -> dict[str, float]:
  start = time.monotonic()
  directory = gpu_models.write(kind, job.folder / kind, job.device)
  _free()
  size = sum(p.stat().st_size for p in directory.rglob('*') if p.is_file())
  return {'write_s': time.monotonic() - start, 'gib': size / 2**30}


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


def _free() -> None:
  gc.collect()
  if torch.cuda.is_available():
    torch.cuda.empty_cache()


def measure_sharing(job: gpu_job.Job) -> None:
  """Fills the table of several priors and the learner on one GPU."""
  kind = 'tiny' if job.tiny else 'sd15'
  directory = gpu_models.write(kind, job.folder / kind, job.device)
  _free()
  for count in (2,) if job.tiny else (2, 4, 8):
    job.attempt(
      'sharing',
      {'prior': kind, 'priors': count},
      functools.partial(time_steps, job, directory, count),
      needs_s=1 if job.tiny else 12,
    )
    _free()


def time_steps(
  job: gpu_job.Job, directory: pathlib.Path, count: int
) -> dict[str, Any]:
  """Returns seconds of a step of a run with so many priors, all inline.

  Half of them look at normals. They are of the same files, so they have one
  set of frozen weights and a proxy each.
  """
  config = _config_of_sharing(job)
  priors = {
    f'prior{number}': schema.PriorConfig(
      directory=str(directory),
      device=job.device,
      channel=messages.CHANNELS[number % 2],
      memory=messages.MemoryOptions(cuda_graphs=not job.tiny),
    )
    for number in range(count)
  }
  representation = field.conditional_nerf(config.nerf)
  repeats = 2 if job.tiny else 6

  def stop_early(step: callbacks.Step) -> None:
    if step.number >= repeats or job.time_left() < 6:
      step.stop()

  if not job.tiny:
    torch.cuda.reset_peak_memory_stats()
  start = time.monotonic()
  run = optimization.optimize(
    TEXT,
    job.folder / f'sharing-{count}',
    config=config,
    priors=priors,
    representation=representation,
    executor='inline',
    on_step=stop_early,
  )
  # The first step compiles, and chooses kernels.
  rows = run.metrics[1:] or run.metrics
  found: dict[str, Any] = {
    'steps': len(run.metrics),
    'step_s': statistics.median(row['step_seconds'] for row in rows),
    'scores_s': _sum_of(rows[-1], 'seconds/'),
    'fits_s': _sum_of(rows[-1], 'proxy_seconds/'),
    'wall_s': time.monotonic() - start,
  }
  if not job.tiny:
    found['torch_peak_gib'] = torch.cuda.max_memory_allocated() / 2**30
  # Here, because the learner imports JAX.
  from experiments.benchmarks import gpu_learner

  return found | gpu_learner.peak_memory()


def _config_of_sharing(job: gpu_job.Job) -> schema.RunConfig:
  """Returns the paper's sizes, with one view of 128 x 128 a step."""
  from experiments.benchmarks import gpu_learner

  config = schema.RunConfig(num_steps=1000)
  config.nerf = gpu_learner.TINY if job.tiny else field.PRESETS['preface']
  config.views.resolution = 8 if job.tiny else 128
  config.learner.chunk_size = 64 if job.tiny else 2048
  config.learner.compute = 'bfloat16'
  config.views.num_views = 2 if job.tiny else 1
  config.results.preview_every = 0
  return config


def _sum_of(row: Mapping[str, float], prefix: str) -> float:
  """Returns the sum of one number over all priors."""
  return sum(value for name, value in row.items() if name.startswith(prefix))
