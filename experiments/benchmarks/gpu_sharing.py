"""Several priors and the learner on one GPU: steps of a run, inline.

Each prior has random weights of Stable Diffusion 1.5's size, and half of them
look at normals. JAX takes what the priors are not expected to need, as in any
run (`mmdist.run.memory_estimate`).
"""

from collections.abc import Mapping
import functools
import pathlib
import statistics
import time
from typing import Any

import torch

from experiments.benchmarks import gpu_job
from experiments.benchmarks import gpu_priors
from mmdist.api import optimization
from mmdist.config import schema
from mmdist.core import messages
from mmdist.nerf import field
from mmdist.run import callbacks

_STEPS = 6


def measure_steps(job: gpu_job.Job) -> None:
  """Fills the table of steps with two priors: a run's default, and the fastest.

  What is kept of three chunks takes 26 GiB.
  """
  _measure(job, 'steps', ((2, 64, 0),) if job.tiny else _OF_TWO)


_OF_TWO = ((2, 2048, 0), (2, 4096, 3))


def measure(job: gpu_job.Job) -> None:
  """Fills the table of several priors and the learner on one GPU."""
  counts = (2,) if job.tiny else (1, 2, 4, 8)
  size = 64 if job.tiny else 2048
  _measure(job, 'sharing', tuple((count, size, 0) for count in counts))


def _measure(
  job: gpu_job.Job, table: str, cases: tuple[tuple[int, int, int], ...]
) -> None:
  kind = 'tiny' if job.tiny else 'sd15'
  directory = gpu_priors.write(job, kind)
  for number, (count, chunk_size, num_kept) in enumerate(cases):
    if directory is None:
      return
    config = _config_of(job, chunk_size, num_kept)
    folder = job.folder / f'{table}-{number}'
    label = {'prior': kind, 'priors': count, 'chunk': chunk_size}
    job.attempt(
      table,
      label | {'kept': num_kept},
      functools.partial(time_steps, job, config, directory, folder, count),
      needs_s=1 if job.tiny else 20,
    )
    gpu_priors.free()


def time_steps(
  job: gpu_job.Job,
  config: schema.RunConfig,
  directory: pathlib.Path,
  folder: pathlib.Path,
  count: int,
) -> dict[str, Any]:
  """Returns seconds of a step of a run with so many priors, all inline.

  They are of the same files, so they have one set of frozen weights and a proxy
  each.

  Args:
    job: says on which device, and when to stop.
    config: of the learner.
    directory: of the priors' weights.
    folder: of the run.
    count: of priors.
  """
  priors = {
    f'prior{number}': schema.PriorConfig(
      directory=str(directory),
      device=job.device,
      channel=messages.CHANNELS[number % 2],
      memory=messages.MemoryOptions(cuda_graphs=not job.tiny),
    )
    for number in range(count)
  }
  began = []

  def stop_early(step: callbacks.Step) -> None:
    began.append(time.monotonic())
    if step.number > (2 if job.tiny else _STEPS) or job.time_left() < 6:
      step.stop()

  if not job.tiny:
    torch.cuda.reset_peak_memory_stats()
  start = time.monotonic()
  run = optimization.optimize(
    gpu_priors.TEXT,
    folder,
    config=config,
    priors=priors,
    representation=field.conditional_nerf(config.nerf),
    executor='inline',
    on_step=stop_early,
  )
  # The first step chooses kernels, and records.
  rows = run.metrics[1:] or run.metrics
  step_s = statistics.median(row['step_seconds'] for row in rows)
  found: dict[str, Any] = {
    'steps': len(rows),
    'step_s': step_s,
    'minutes_per_1000': 1000 * step_s / 60,
    'scores_s': _sum_of(rows[-1], 'seconds/'),
    'fits_s': _sum_of(rows[-1], 'proxy_seconds/'),
    'until_first_step_s': began[0] - start,
    'wall_s': time.monotonic() - start,
  }
  if not job.tiny:
    found['torch_peak_gib'] = torch.cuda.max_memory_allocated() / 2**30
  # Here, because the learner imports JAX.
  from experiments.benchmarks import gpu_learner

  return found | gpu_learner.peak_memory()


def _config_of(
  job: gpu_job.Job, chunk_size: int, num_kept: int
) -> schema.RunConfig:
  """Returns the paper's sizes, with one view of 128 x 128 a step."""
  from experiments.benchmarks import gpu_learner

  config = schema.RunConfig(num_steps=1000)
  config.nerf = gpu_learner.TINY if job.tiny else field.PRESETS['preface']
  config.views.resolution = 8 if job.tiny else 128
  config.views.num_views = 2 if job.tiny else 1
  config.learner.chunk_size = chunk_size
  config.learner.num_kept_chunks = num_kept
  config.learner.compute = 'bfloat16'
  config.results.preview_every = 0
  return config


def _sum_of(row: Mapping[str, float], prefix: str) -> float:
  """Returns the sum of one number over all priors."""
  return sum(value for name, value in row.items() if name.startswith(prefix))
