"""Short runs of the loop with a tiny field and priors of a few lines."""

import contextlib

import jax
import numpy as np
import pytest

from mmdist import loop
from mmdist.config import schema
from mmdist.core import messages
from mmdist.distribution import executor as executor_lib
from mmdist.run import rejecting
from mmdist.run import stopping
from tests.distribution import fake_prior
from tests.learner import tiny_field


@contextlib.contextmanager
def compiled_once(folder):
  """Keeps what is compiled, since every run compiles the same functions."""
  names = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
  )
  before = {name: getattr(jax.config, name) for name in names}
  for name, value in zip(names, (str(folder), 0.1)):
    jax.config.update(name, value)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def make_run(num_steps: int, **priors) -> schema.RunConfig:
  run = schema.RunConfig(
    num_steps=num_steps,
    views=schema.ViewsConfig(num_views=2, resolution=8),
    learner=schema.LearnerConfig(
      learning_rate=0.05, opacity_weight=0.0, regularizer_weight=0.0
    ),
    checkpoints=schema.CheckpointConfig(every=2, keep=9),
    results=schema.ResultsConfig(preview_every=0),
  )
  run.priors['normal'].enabled = False
  for name, enabled in priors.items():
    run.priors[name].enabled = enabled
  return run


def run_loop(run, workdir, recipes, **options):
  params = tiny_field.init(jax.random.key(0))
  field = tiny_field.tiny_field()
  with executor_lib.InlineExecutor(recipes) as executor:
    state = loop.optimize(run, workdir, executor, field, params, **options)
    return state, executor.save_proxies()


def fakes() -> list[messages.PriorRecipe]:
  return [fake_prior.recipe(name) for name in ('generic', 'normal')]


def assert_same(one, two) -> None:
  (state, proxies), (other, others) = one, two
  jax.tree.map(np.testing.assert_array_equal, state, other)
  assert proxies.keys() == others.keys()
  for name, proxy in proxies.items():
    assert proxy.step == others[name].step
    np.testing.assert_array_equal(
      proxy.arrays['lora/target'], others[name].arrays['lora/target']
    )


def run_without(workdir, run, step):
  """Runs with one step skipped from the start."""

  class Skips(rejecting.Rejections):
    def has(self, number):
      return number == step

  workdir.mkdir()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(rejecting, 'Rejections', Skips)
    return run_loop(run, workdir, fakes())


class StopsAfter(stopping.Stopper):
  """Is asked to stop in a certain step."""

  def __init__(self, step, error=None):
    super().__init__()
    self._left, self._error = step, error
    self.number = 0

  @property
  def asked(self):
    self.number += 1
    if self.number > self._left and self._error:
      error, self._error = self._error, None
      raise error
    return self.number > self._left

  @asked.setter
  def asked(self, value):
    pass
