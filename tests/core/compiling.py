"""Functions for tests, compiled as wholes and in a hurry.

Op by op, one small render is hundreds of programs to compile; as a whole it is
one. Most of the time that this one takes goes into making it fast, and a test
calls it once or twice.
"""

import contextlib
import functools
from unittest import mock

import jax

# Of XLA: no optimisation by LLVM.
IN_A_HURRY: dict[str, int | bool] = {'xla_backend_optimization_level': 0}
if jax.__version_info__ < (0, 11):
  # Loops written straight in LLVM's language. Later versions have one way
  # only, and a process ends that is given a flag which is not known.
  IN_A_HURRY['xla_cpu_use_fusion_emitters'] = False


def compiled(function, **options):
  """Returns `function` under `jax.jit`, its results as arrays of numpy.

  It cannot be called inside another compiled function.

  Args:
    function: as for `jax.jit`.
    **options: of `jax.jit`.
  """
  jitted = jax.jit(function, compiler_options=IN_A_HURRY, **options)

  @functools.wraps(function)
  def call(*args, **kwargs):
    return jax.device_get(jitted(*args, **kwargs))

  return call


@contextlib.contextmanager
def in_a_hurry():
  """Makes `jax.jit` compile in a hurry whatever is given to it meanwhile.

  For code that makes compiled functions itself. What it gave to `jax.jit`
  before, at its import for one, is compiled as ever.
  """
  jit = functools.partial(jax.jit, compiler_options=IN_A_HURRY)
  with mock.patch.object(jax, 'jit', jit):
    yield
