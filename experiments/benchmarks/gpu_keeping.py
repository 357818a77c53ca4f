"""What a step of the learner gains by each chunk that is not rendered again.

Halves of a step as a run has them, of a NeRF of the paper's size and one view
of 128 x 128 pixels with normals, in bfloat16.
"""

import functools
import gc
import statistics
import time
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import gpu_job
from experiments.benchmarks import gpu_learner
from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.learner import distill
from mmdist.learner import learner_memory
from mmdist.nerf import field
from mmdist.run import device_setup

TABLE = 'learner: kept chunks'
# Nothing else is on the GPU, of which JAX takes three quarters otherwise.
_MEMORY_FRACTION = 0.92
# Rays of a chunk, and how many chunks are kept. Another number of the same
# chunks compiles nothing large, except for none, which is a run's default.
_CASES = ((4096, (0, 1, 2, 3, 4)), (2048, (1, 2, 3, 8, 0)))


def measure(job: gpu_job.Job) -> None:
  """Fills the table of kept chunks; a case that fails ends no other."""
  device_setup.set_up_jax(1, memory_fraction=_MEMORY_FRACTION)
  for chunk_size, numbers in ((16, (0, 1, 4)),) if job.tiny else _CASES:
    for num_kept in numbers:
      _attempt(job, chunk_size, num_kept)
  if not job.tiny:
    _attempt(job, 4096, None)


def _attempt(job: gpu_job.Job, chunk_size: int, num_kept: int | None) -> None:
  label = {
    'chunk': chunk_size,
    'kept': 'remat=False' if num_kept is None else num_kept,
  }
  time_it = functools.partial(time_step, job, chunk_size, num_kept)
  job.attempt(TABLE, label, time_it, needs_s=2 if job.tiny else 8)
  gc.collect()  # What a case that failed has left, before the next one.


def time_step(
  job: gpu_job.Job, chunk_size: int, num_kept: int | None
) -> dict[str, Any]:
  """Returns seconds and memory of both halves of a step.

  Args:
    job: says how large it all is.
    chunk_size: rays.
    num_kept: `learner.num_kept_chunks`; None: `learner.remat` is off.
  """
  run = schema.RunConfig()
  run.nerf = gpu_learner.TINY if job.tiny else field.PRESETS['preface']
  run.views.num_views = 1
  run.views.resolution = 8 if job.tiny else 128
  run.learner.compute = 'bfloat16'
  run.learner.chunk_size = chunk_size
  run.learner.remat = num_kept is not None
  run.learner.num_kept_chunks = num_kept or 0
  run.learner.empty_opacity = 0.0  # Without `remat` all rays are computed.
  representation = field.conditional_nerf(run.nerf)
  layout = device_mesh.local_layout(1)
  # Random: no time depends on them.
  params = layout.replicate(jax.jit(representation.init)(jax.random.key(0)))
  computing = distill.with_compute(representation, run.learner.compute)
  counted = learner_memory.estimate(computing, params, run, 1)
  halves = distill.make_halves(representation, run, True, layout)
  batch = distill.sample_batch(run.views, 0, 0)
  shape = (1, run.views.resolution, run.views.resolution, 3)
  rng = np.random.default_rng(0)
  cotangents = {
    channel: rng.normal(size=shape).astype(np.float32) / np.prod(shape)
    for channel in ('rgb', 'normal')
  }

  found: dict[str, Any] = {}

  def time_halves() -> tuple[float, float]:
    start = time.perf_counter()
    jax.block_until_ready(halves.render(params, batch))
    between = time.perf_counter()
    found.update(gpu_learner.memory('bytes_in_use', 'between_halves_gib'))
    jax.block_until_ready(halves.pull_back(params, batch, cotangents))
    return between - start, time.perf_counter() - between

  start = time.perf_counter()
  halves.compile(params, batch, cotangents)
  time_halves()
  found['compile_s'] = time.perf_counter() - start
  repeats = [time_halves() for _ in range(3)]
  renders, rests = zip(*repeats, strict=True)
  found['render_s'] = statistics.median(renders)
  found['vjp_s'] = statistics.median(rests)
  found['step_s'] = found['render_s'] + found['vjp_s']
  found['minutes_per_1000'] = 1000 * found['step_s'] / 60
  found['estimated_gib'] = counted.on_device / 2**30
  # Of all cases until here.
  return found | gpu_learner.peak_memory()
