"""Cores, threads and JAX's cache, set in code before JAX starts.

Results depend, in their last bits, on the number of threads, so it is never
left to a library.
"""

import dataclasses
import os
import pathlib
import warnings

import jax

from mmdist.core import cores
from mmdist.core import user_cache

# Each with the value that it has unless the user has set it.
_FLAGS = {
  '--xla_cpu_multi_thread_eigen': 'false',
  # Else a GPU's kernels are chosen by measuring them, anew in each process, and
  # sums are made by atomic additions: a resumed run would differ in its last
  # bits. Measuring them takes two thirds of the time of compiling, too.
  '--xla_gpu_deterministic_ops': 'true',
}

MEMORY_FRACTION = 'XLA_PYTHON_CLIENT_MEM_FRACTION'
_COUNT_FLAG = '--xla_force_host_platform_device_count'


@dataclasses.dataclass(frozen=True)
class Threads:
  """How the cores of this machine are shared.

  Attributes:
    learner: CPU devices of JAX, one thread each.
    prior: torch threads of each prior.
  """

  learner: int
  prior: int


def share_cores(num_priors: int, num_cores: int | None = None) -> Threads:
  """Returns how many threads the learner and each prior have.

  The priors answer side by side, so they share the cores. The learner has all
  of them: while it works, the priors wait, except for the moment in which
  their proxies fit. Neither depends on where the priors run, so that a run
  has the same bits in actors as inline.

  Args:
    num_priors: priors of the run.
    num_cores: to be shared; None takes those that this process may use.
  """
  num_cores = num_cores or cores.count()
  return Threads(num_cores, max(num_cores // max(num_priors, 1), 1))


def set_up_jax(
  num_cpu_devices: int,
  num_gpus: int | None = None,
  memory_fraction: float | None = None,
) -> None:
  """Configures JAX; should come before its first computation.

  On a CPU the learner's parallelism is a mesh of single-threaded devices, over
  which chunks of rays are dealt: one chunk is too small for two threads. Once
  JAX has computed something, as it may have in a notebook, the number of its
  devices is fixed: the learner then takes those that there are, and a warning
  says so.

  Args:
    num_cpu_devices: where there is no GPU, unless the environment names
      another number, in XLA_FLAGS or JAX_NUM_CPU_DEVICES.
    num_gpus: the first so many are JAX's alone, the others somebody else's;
      None has JAX share all that there are.
    memory_fraction: the most of a shared GPU's memory that JAX may take; None
      leaves that to JAX.
  """
  if num_gpus is not None:
    ordinals = ','.join(map(str, range(num_gpus)))
    jax.config.update('jax_cuda_visible_devices', ordinals)
  given = os.environ.get('XLA_FLAGS', '')
  ours = [f'{name}={value}' for name, value in _FLAGS.items()]
  names = {flag.split('=')[0] for flag in given.split()}
  flags = [flag for flag in ours if flag.split('=')[0] not in names]
  os.environ['XLA_FLAGS'] = ' '.join([given, *flags]).strip()
  try:
    if not _names_cpu_devices():
      jax.config.update('jax_num_cpu_devices', num_cpu_devices)
  except RuntimeError:  # JAX has started.
    found = jax.local_devices()
    if found[0].platform == 'cpu' and len(found) != num_cpu_devices:
      warnings.warn(
        f'JAX had started before with {len(found)} CPU device(s), so the '
        f'learner takes these and not {num_cpu_devices}; for all cores call '
        'mmdist before anything else computes with JAX.',
        stacklevel=3,
      )
  if num_gpus is None:
    # Priors may share the learner's GPU, most of which JAX would take at once.
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  if memory_fraction is not None:
    limit = memory_limit(memory_fraction)
    os.environ['XLA_PYTHON_CLIENT_MEM_FRACTION'] = limit
  cache = cache_directory()
  if cache is not None:
    jax.config.update('jax_compilation_cache_dir', str(cache / 'jax'))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def memory_limit(fraction: float) -> str:
  """Returns what JAX is to read in `MEMORY_FRACTION`.

  Args:
    fraction: of a GPU's memory; the user's own variable has precedence.
  """
  chosen = os.environ.get('XLA_PYTHON_CLIENT_MEM_FRACTION')
  return chosen or f'{fraction:.3f}'


def _names_cpu_devices() -> bool:
  """Returns whether the user's environment says how many devices a CPU is."""
  flags = os.environ.get('XLA_FLAGS', '').split()
  names = [flag.split('=')[0] for flag in flags]
  return _COUNT_FLAG in names or bool(os.environ.get('JAX_NUM_CPU_DEVICES'))


def cache_directory() -> pathlib.Path | None:
  """Returns the user's cache directory for mmdist; see `user_cache`."""
  return user_cache.directory()
