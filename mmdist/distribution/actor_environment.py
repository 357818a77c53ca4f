"""The environment variables of actors, and how they come to have them.

Threads are read once, when the numeric libraries are first imported, so they
have to be in the environment of a process from its start. Ray can give each
actor variables of its own, and then starts every process twice. So a Ray that
is started here gets what all of its actors want.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import os
from typing import Any

from mmdist.distribution import gpu_plan
from mmdist.distribution import variables

_THREAD_VARIABLES = (
  'OMP_NUM_THREADS',
  'MKL_NUM_THREADS',
  'OPENBLAS_NUM_THREADS',
)
# An actor that reserves no GPU still sees those there are: small priors share
# the learner's device.
SHARE_GPUS = {'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0'}

# What the processes of the Ray that this process has started inherit.
_inherited: dict[str, str] = {}


def runtime_env(num_threads: int) -> dict[str, Any]:
  """Returns Ray's option for an actor of so many threads; 0 does not say."""
  threads = dict.fromkeys(_THREAD_VARIABLES, str(num_threads))
  return {'env_vars': SHARE_GPUS | (threads if num_threads else {})}


@contextlib.contextmanager
def inherited_by_ray(
  options: Mapping[Any, Mapping[str, Any]], gpus: Sequence[str] = ()
) -> Iterator[None]:
  """Has in the environment what all actors want, while a Ray is started.

  Args:
    options: actor -> Ray's options.
    gpus: names of those that Ray gives out; none leaves all of them to it.
  """
  _inherited.clear()
  wanted = [
    one.get('runtime_env', {}).get('env_vars', {}) for one in options.values()
  ]
  common = dict(SHARE_GPUS)
  for name, value in (wanted[0] if wanted else {}).items():
    if all(one.get(name) == value for one in wanted):
      common[name] = value
  # Ray names the GPUs of each actor after those that it sees itself.
  seen = {gpu_plan.VISIBLE: ','.join(gpus)} if gpus else {}
  with variables.restored(*common, *seen):
    os.environ.update(common | seen)
    yield
  _inherited.update(common)


def forget() -> None:
  """Is to be called when the Ray that was started here has ended."""
  _inherited.clear()


def without_inherited(options: Mapping[str, Any]) -> dict[str, Any]:
  """Returns an actor's options without the variables that it inherits.

  Args:
    options: Ray's.
  """
  runtime = dict(options.get('runtime_env', {}))
  wanted = {
    name: value
    for name, value in runtime.pop('env_vars', {}).items()
    if _inherited.get(name) != value
  }
  if wanted:
    runtime['env_vars'] = wanted
  left = {k: v for k, v in options.items() if k != 'runtime_env'}
  return left | ({'runtime_env': runtime} if runtime else {})
