import contextlib
import dataclasses
import types

import mmdist
from mmdist.api import executors
from mmdist.distribution import limits
from mmdist.distribution import ray_executor
from mmdist.run import stopping


def test_every_limit_is_a_setting(monkeypatch):
  config = mmdist.RunConfig()
  fields = [field.name for field in dataclasses.fields(limits.Limits)]
  for number, field in enumerate(fields):
    setattr(config.faults, field, 7 + number)
  given = {}

  def start(recipes, **options):
    del recipes
    given.update(options)
    return types.SimpleNamespace(close=lambda: None)

  monkeypatch.setattr(ray_executor, 'RayExecutor', start)
  with contextlib.ExitStack() as stack:
    executors.start('ray', [], config, stopping.Stopper(), stack)
  assert dataclasses.astuple(given['limits']) == tuple(
    7 + number for number in range(len(fields))
  )
