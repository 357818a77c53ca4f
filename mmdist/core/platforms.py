"""On what JAX will compute, told without starting it.

JAX takes most of a GPU's memory when it starts, and a process that only plans
is not to take any.
"""

import importlib.util
import os

# Packages by which JAX computes on something else than a CPU.
CUDA_PLUGINS = ('jax_cuda12_plugin', 'jax_cuda13_plugin')
_OTHERS = (*CUDA_PLUGINS, 'jax_rocm7_plugin', 'libtpu')


def is_cpu() -> bool:
  """Returns whether JAX has nothing but the CPU to compute on.

  Where a package for a GPU is installed and there is none, it says False.
  """
  platforms = os.environ.get('JAX_PLATFORMS', '')
  if platforms:
    return platforms.split(',')[0] == 'cpu'
  return not any(importlib.util.find_spec(name) for name in _OTHERS)
