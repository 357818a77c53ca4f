"""What every test shares: compiled JAX programs, for as long as it lasts."""

import os

import jax
import pytest

from mmdist.run import device_setup


@pytest.fixture(autouse=True, scope='session')
def compilation_cache(tmp_path_factory, worker_id):
  """Lets tests that build the same program anew compile it once.

  Runs that a test makes look for their cache where the user's caches are; that
  is the same folder, and never the user's own.
  """
  folder = tmp_path_factory.getbasetemp()
  if worker_id != 'master':  # Processes that share the tests share the cache.
    folder = folder.parent
  os.environ['XDG_CACHE_HOME'] = str(folder / 'cache')
  cache = device_setup.cache_directory() / 'jax'
  jax.config.update('jax_compilation_cache_dir', str(cache))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
