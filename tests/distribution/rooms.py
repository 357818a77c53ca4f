"""Room in Ray that the fake priors of many tests share."""

from mmdist.distribution import ray_executor
from tests.distribution import fake_prior


def many() -> dict[str, dict]:
  """Returns the options of which a Ray is started that has room for many."""
  options = ray_executor.actor_options(fake_prior.recipe('generic').spec)
  return {'all': options | {'num_cpus': 64, 'num_gpus': 0}}
