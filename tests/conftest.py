"""What every test shares: compiled JAX programs, for as long as it lasts."""

import jax
import pytest


@pytest.fixture(autouse=True, scope='session')
def compilation_cache(tmp_path_factory, worker_id):
  """Lets tests that build the same program anew compile it once."""
  folder = tmp_path_factory.getbasetemp()
  if worker_id != 'master':  # Processes that share the tests share the cache.
    folder = folder.parent
  folder = folder / 'jax'
  jax.config.update('jax_compilation_cache_dir', str(folder))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
