"""Cores, threads and JAX's cache, set in code before JAX starts.

Bits depend on the number of threads, and processes that together have more
threads than the machine has cores slow each other down many times over.
"""

import dataclasses
import os
import pathlib

import jax


@dataclasses.dataclass(frozen=True)
class Threads:
  """How the cores of this machine are shared.

  Attributes:
    learner: CPU devices of JAX, one thread each.
    prior: torch threads of each prior.
  """

  learner: int
  prior: int


def share_cores(
  num_priors: int, in_actors: bool, num_cores: int | None = None
) -> Threads:
  """Splits the cores between the learner and the priors.

  Learner and priors take turns for most of a step, so in one process each may
  have all cores. As processes they overlap while the proxies fit, and half of
  the cores are the learner's.

  Args:
    num_priors: priors of the run.
    in_actors: whether each has a process of its own.
    num_cores: those this process may use, if None.
  """
  num_cores = num_cores or len(os.sched_getaffinity(0))
  if not in_actors:
    return Threads(num_cores, num_cores)
  learner = max(num_cores // 2, 1)
  return Threads(learner, max((num_cores - learner) // max(num_priors, 1), 1))


def set_up_jax(num_cpu_devices: int) -> None:
  """Configures JAX; must come before its first computation.

  On a CPU the learner's parallelism is a mesh of single-threaded devices, over
  which chunks of rays are dealt: one chunk is too small for two threads.
  """
  jax.config.update('jax_num_cpu_devices', num_cpu_devices)
  flags = os.environ.get('XLA_FLAGS', '')
  os.environ['XLA_FLAGS'] = (
    f'{flags} --xla_cpu_multi_thread_eigen=false'.strip()
  )
  cache = cache_directory() / 'jax'
  jax.config.update('jax_compilation_cache_dir', str(cache))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)


def cache_directory() -> pathlib.Path:
  """Returns the user's cache directory for mmdist; it may not exist."""
  root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(root) / 'mmdist'
