"""What every test shares: compiled JAX programs, and a second world."""

import dataclasses
import gc
import os
from unittest import mock

import jax
import pytest

from mmdist.heads import worlds
from mmdist.run import device_setup
from tests.core import compiling

# Most of the time of a test that computes goes into compiling programs that
# run once. So here they are not optimised. Processes that tests start compile
# as ever, and so do the programs whose bits are compared between devices.
IN_A_HURRY = ' '.join(
  f'--{name}={str(value).lower()}'
  for name, value in compiling.IN_A_HURRY.items()
)


def pytest_configure(config):
  if config.option.markexpr == 'gpu':
    device_setup.set_up_jax(1)  # These are about what a run computes.
    return
  flags = f'{os.environ.get("XLA_FLAGS", "")} {IN_A_HURRY}'.strip()
  with mock.patch.dict(os.environ, XLA_FLAGS=flags):
    jax.devices()  # Reads the flags, once.


@pytest.fixture(autouse=True, scope='session')
def compilation_cache(request, tmp_path_factory):
  """Lets tests that build the same program anew compile it once.

  Runs that a test makes look for their cache where the user's caches are; that
  is the same folder, and never the user's own.
  """
  folder = tmp_path_factory.getbasetemp()
  # Processes that share the tests share the cache. Asked for without a fixture
  # of pytest-xdist, which need not be installed.
  if hasattr(request.config, 'workerinput'):
    folder = folder.parent
  os.environ['XDG_CACHE_HOME'] = str(folder / 'cache')
  cache = device_setup.cache_directory()
  jax.config.update('jax_compilation_cache_dir', f'{cache}/jax')
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)


@pytest.fixture(name='mars')
def fixture_mars(monkeypatch):
  """A world besides that of people, for one test: only its name is another.

  Files may name it as well. Flags that list the worlds do not know it.
  """
  world = dataclasses.replace(worlds.get('people'), name='mars')
  monkeypatch.setitem(worlds._WORLDS, world.name, world)
  return world


def pytest_collection_modifyitems(items):
  """Puts files with slow tests first.

  Processes that share the tests take file by file. A long one that is left for
  the end is waited for by all the others.
  """
  slow = {item.path for item in items if item.get_closest_marker('slow')}
  items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
  """Has the garbage collector pass over the libraries, and come less often.

  There are half a million objects in them, which stay. Looking at all of them
  again and again took 8 of the 105 seconds of some tests.
  """
  gc.collect()
  gc.freeze()
  gc.set_threshold(20_000, 20, 50)
