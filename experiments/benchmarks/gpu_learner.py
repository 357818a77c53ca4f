"""The learner's two passes on a GPU, in the product's own functions.

A NeRF of the paper's size, 128 x 128 pixels with normals; and the embedded one,
whose small chunks a GPU waits for. FLOPs are those of the matrix products, and
are compared with what the device's products of that shape reach.
"""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import gpu_flops
from experiments.benchmarks import gpu_job
from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.core import seeds
from mmdist.learner import distill
from mmdist.learner import passes
from mmdist.nerf import field
from mmdist.run import device_setup

TINY = schema.NerfConfig(
  code_size=4,
  nerf_depth=2,
  nerf_width=16,
  proposal_depth=1,
  proposal_width=8,
  num_proposal_samples=8,
  num_nerf_samples=8,
)


@dataclasses.dataclass(frozen=True)
class Setting:
  """One measurement of the two passes.

  Attributes:
    name: of the network.
    nerf: the network.
    resolution: pixels along an axis.
    num_views: rendered in one call.
    chunk_size: rays at a time.
    precision: of products of float32: JAX's 'default', which is TF32 on a GPU,
      or 'highest'.
    compute: `learner.compute`.
  """

  name: str
  nerf: schema.NerfConfig
  resolution: int
  num_views: int
  chunk_size: int
  precision: str = 'default'
  compute: str = 'float32'

  @property
  def label(self) -> dict[str, Any]:
    """The row's first columns."""
    return {
      'nerf': self.name,
      'pixels': f'{self.num_views} x {self.resolution}²',
      'chunk': self.chunk_size,
      'compute': self.compute,
      'precision': self.precision,
    }


def measure(job: gpu_job.Job) -> None:
  """Fills the tables of products, chunks, and times of whole runs."""
  if job.tiny:
    full, heads = ('tiny', TINY, 8), ('tiny', TINY, 8)
    chunks: tuple[int, ...] = (64,)
    chunks_of_heads: tuple[int, ...] = ()
  else:
    full = ('preface', field.PRESETS['preface'], 128)
    heads = ('heads', field.PRESETS['heads'], 64)
    chunks, chunks_of_heads = (2048, 4096, 1024), (8192,)
  device_setup.set_up_jax(1)
  rates = measure_products(job, full[1])
  bfloat16 = functools.partial(Setting, compute='bfloat16')
  measured: dict[int, float] = {}
  for chunk in chunks:
    found = _measure(job, bfloat16(*full, 1, chunk), rates)
    if found:
      measured[chunk] = found['render_s'] + found['vjp_s']
  if measured:
    best = min(measured, key=lambda chunk: measured[chunk])
    # Views are rendered one after the other.
    for num_views in (1, 2, 4):
      _extrapolate(job, num_views, best, num_views * measured[best])
    # Their activations take more than twice the memory.
    least = min(measured)
    _measure(job, Setting(*full, 1, least), rates)
    if not job.tiny:  # Compiling is all that takes time there.
      _measure(job, Setting(*full, 1, least, 'highest'), rates)
  for chunk in chunks_of_heads:
    _measure(job, bfloat16(*heads, 2, chunk), rates)


def measure_products(
  job: gpu_job.Job, nerf: schema.NerfConfig
) -> dict[str, float]:
  """Returns the FLOP/s of this device at the trunk's shapes, by precision."""
  width = nerf.nerf_width
  rows = (64 if job.tiny else 2048) * nerf.num_nerf_samples
  rates = {}
  for name, dtype, precision in (
    ('default', jnp.float32, 'default'),
    ('highest', jnp.float32, 'highest'),
    ('bfloat16', jnp.bfloat16, 'default'),
  ):
    label = {'product': f'[{rows}, {width}] x [{width}, {width}]'}
    label |= {'dtype': jnp.dtype(dtype).name, 'precision': precision}
    time_it = functools.partial(_time_product, rows, width, dtype, precision)
    found = job.attempt('learner: products', label, time_it)
    if found:
      rates[name] = found['tflop_per_s'] * 1e12
  return rates


def _time_product(
  rows: int, width: int, dtype: Any, precision: str
) -> dict[str, float]:
  chain = 10

  @jax.jit
  def run(x: jax.Array, weight: jax.Array) -> jax.Array:
    for _ in range(chain):
      x = jnp.dot(x, weight, precision=_precision(precision))
    return x

  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (rows, width), dtype)
  weight = jax.random.normal(keys[1], (width, width), dtype) / width**0.5
  seconds = gpu_job.median_s(lambda: run(x, weight).block_until_ready(), 5)
  return {'tflop_per_s': chain * 2.0 * rows * width**2 / seconds / 1e12}


def _precision(name: str) -> str | None:
  return None if name == 'default' else name


def _measure(
  job: gpu_job.Job, setting: Setting, rates: Mapping[str, float]
) -> gpu_job.Row | None:
  return job.attempt(
    'learner: passes',
    setting.label,
    lambda: time_passes(setting, rates, job.time_left),
    needs_s=2 if job.tiny else 15,
  )


def time_passes(
  setting: Setting,
  rates: Mapping[str, float],
  time_left: Callable[[], float],
) -> dict[str, float]:
  """Returns seconds, FLOPs and memory of both passes.

  Args:
    setting: what is rendered.
    rates: FLOP/s of products, by precision.
    time_left: a call that takes long is made only twice, and not at all again
      where there would be no time.
  """
  make, arguments, cotangents = _inputs(setting)
  found: dict[str, float] = {}
  flops = 0.0
  with _default_precision(setting.precision):
    for name, pass_, given in (
      ('render', make[0], arguments),
      ('vjp', make[1], (*arguments, cotangents)),
    ):

      def call(pass_: Any = pass_, given: tuple = given) -> None:
        jax.block_until_ready(pass_(*given))

      start = time.perf_counter()
      call()
      found[f'{name}_first_s'] = time.perf_counter() - start
      start = time.perf_counter()
      call()
      once = time.perf_counter() - start
      is_quick = once < 2 and 4 * once < time_left()
      found[f'{name}_s'] = gpu_job.median_s(call, 3) if is_quick else once
      flops += gpu_flops.count(pass_, *given)
  seconds = found['render_s'] + found['vjp_s']
  found['tflop'] = flops / 1e12
  found['tflop_per_s'] = flops / seconds / 1e12
  # The rate of this precision, and what bfloat16 would allow.
  is_bfloat16 = setting.compute == 'bfloat16'
  own = [] if is_bfloat16 else [setting.precision]
  for name in (*own, 'bfloat16'):
    if name in rates:
      found[f'share_of_{name}'] = flops / seconds / rates[name]
  found |= peak_memory()
  return found


def _default_precision(name: str) -> contextlib.AbstractContextManager:
  if name == 'default':
    return contextlib.nullcontext()
  return jax.default_matmul_precision(name)


def _inputs(setting: Setting) -> tuple[tuple, tuple, dict[str, np.ndarray]]:
  """Returns the two passes, what both are given, and the second's cotangents.

  The parameters are random: no time depends on them.
  """
  run = schema.RunConfig()
  run.nerf = setting.nerf
  run.views.resolution = setting.resolution
  run.views.num_views = setting.num_views
  run.learner.chunk_size = setting.chunk_size
  representation = distill.with_compute(
    field.conditional_nerf(run.nerf), setting.compute
  )
  layout = device_mesh.local_layout(1)
  render_chunk = functools.partial(representation.render, with_normals=True)
  draw = getattr(representation, 'draw', None)
  common = (render_chunk, run.learner, setting.resolution, layout, draw)
  params = layout.replicate(jax.jit(representation.init)(jax.random.key(0)))
  batch = distill.sample_batch(run.views, 0, 0)
  key = seeds.jax_key(0, 0, 'jitter')
  shape = (setting.num_views, setting.resolution, setting.resolution, 3)
  rng = np.random.default_rng(0)
  cotangents = {
    channel: rng.normal(size=shape).astype(np.float32) / np.prod(shape)
    for channel in ('rgb', 'normal')
  }
  return (
    (passes.make_render(*common), passes.make_vjp(*common)),
    (params, batch.views.cameras(), batch.backgrounds, key),
    cotangents,
  )


def peak_memory() -> dict[str, float]:
  """Returns JAX's peak so far in GiB; nothing where the device does not say."""
  return memory('peak_bytes_in_use', 'peak_so_far_gib')


def memory(what: str, name: str) -> dict[str, float]:
  """Returns one of JAX's numbers of bytes in GiB; see `peak_memory`.

  Args:
    what: the device's name of it.
    name: of the column.
  """
  stats = jax.local_devices()[0].memory_stats() or {}
  return {name: stats[what] / 2**30} if what in stats else {}


def _extrapolate(
  job: gpu_job.Job, num_views: int, chunk: int, seconds: float
) -> None:
  job.add(
    'learner: 1,000 steps',
    {
      'views': num_views,
      'chunk': chunk,
      'step_s': seconds,
      'view_s': seconds / num_views,
      'minutes': 1000 * seconds / 60,
    },
  )
