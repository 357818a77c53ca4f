import contextlib
import dataclasses
import types

import pytest

import mmdist
from mmdist.api import executors
from mmdist.core import messages
from mmdist.distribution import gpu_plan
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


@pytest.mark.parametrize('files', ['same', ''])
def test_priors_of_the_same_files_have_one_gpu_together(monkeypatch, files):
  monkeypatch.setattr(gpu_plan, 'visible', lambda: tuple('01234567'))
  monkeypatch.setattr(gpu_plan, 'learner_uses_gpus', lambda: True)
  config = mmdist.RunConfig()
  options = messages.PriorOptions()
  recipes = [
    messages.PriorRecipe(messages.PriorSpec(name, options, files=files), None)
    for name in ('generic', 'normal')
  ]
  plan = executors.plan_gpus('ray', config, recipes)
  assert plan.num_gpus == {'generic': 1.0, 'normal': 1.0}
  assert plan.priors == (('7',) if files else ('6', '7'))
  assert len(plan.learner) == (7 if files else 6)
