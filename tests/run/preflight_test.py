"""What is said of a run before anything is loaded."""

import dataclasses

import pytest

from experiments import mix
from mmdist.config import schema
from mmdist.distribution import gpu_plan
from mmdist.objectives import binding
from mmdist.priors import footprint
from mmdist.run import preflight
from mmdist.run import recipes as recipes_lib


@pytest.fixture
def config():
  return mix.get_config('joker_minus_green')


def make_recipes(config, num_threads=2):
  objective = binding.bind_config(config)
  return recipes_lib.make_recipes(config.priors, objective.priors, num_threads)


def test_all_that_will_be_sent_and_added_up_is_said(config):
  config.views.use_view_words = False
  config.concepts[0].schedule = 'linear(1, 0.5)'
  objective = binding.bind_config(config)
  recipes = make_recipes(config)
  lines = preflight.describe(objective, config, recipes, 4, 'on this machine')
  assert lines[0] == (
    'learner  on this machine, 4 cores; 2 views of 64 x 64 pixels a step, '
    '300 steps'
  )
  assert lines[1:4] == [
    'prior    generic: color, rgb, on this machine, 2 threads',
    "  reads  +1.5 'a portrait of a joker', linear(1, 0.5)",
    "  reads  -1.2 'a portrait of a man with green hair'",
  ]
  assert any(
    line.startswith("  reads  -1.2 'a [w] face map of ") for line in lines
  )
  assert 'balance  rgb S = -0.45, normal S = -0.45; composed by sum' in lines
  assert any(
    line.startswith('open     the paper leaves open') for line in lines
  )
  said = preflight.estimate_memory(recipes, config.views.num_views).lines()
  assert said[-1].startswith('memory of all priors: about ')


def test_view_words_are_counted(config):
  objective = binding.bind_config(config)
  lines = preflight.describe(objective, config, [], 1, 'elsewhere')
  assert lines[1] == 'prior    generic: color, rgb, elsewhere'
  assert lines[2].endswith("' and with each of 11 view words")


def test_views_that_cannot_be_drawn_or_dealt_are_refused(config):
  objective = binding.bind_config(config)
  preflight.check_views(objective, config)
  config.views.emphasis = {'mouht': 2.0}
  with pytest.raises(ValueError, match="'mouht'; did you mean 'mouth'"):
    preflight.check_views(objective, config)
  config.views.emphasis = {}
  config.views.deal, config.views.num_views = True, 1
  preflight.check_views(objective, config)  # One prior on each channel.
  config.priors['other'] = schema.PriorConfig()
  with pytest.raises(ValueError, match='shares 1 views among 2 priors'):
    preflight.check_views(binding.bind_config(config), config)


def test_priors_that_cannot_fit_are_refused_before_they_load(
  config, monkeypatch
):
  recipes = make_recipes(config)
  for recipe in recipes:
    recipe.spec.options.device = 'cpu'
  preflight.estimate_memory(recipes, 2).check()
  monkeypatch.setattr(preflight, 'available_memory', lambda: 2**20)
  with pytest.raises(
    ValueError, match='the priors generic, normal need about 0.1 GiB and this'
  ):
    preflight.estimate_memory(recipes, 2).check()
  for recipe in recipes:  # A GPU says itself what it has.
    recipe.spec.options.device = 'cuda'
  preflight.estimate_memory(recipes, 2).check()
  monkeypatch.setattr(preflight, 'available_memory', lambda: None)
  preflight.estimate_memory(recipes, 2).check()


def test_the_texts_of_a_prior_are_in_its_memory(config, monkeypatch):
  config.priors['generic'].proxy_per = 'concept'
  config.concepts += [schema.ConceptConfig('a portrait of a joker', 0.5)]
  num_texts = preflight.count_texts(binding.bind_config(config))
  assert num_texts == {'generic': 2, 'normal': 2}
  recipes = make_recipes(config)
  for recipe in recipes:
    recipe.spec.options.device = 'cpu'
  some = preflight.estimate_memory(recipes, 2, num_texts)
  many = preflight.estimate_memory(recipes, 2, num_texts | {'generic': 40})
  generic = [one.footprints['generic'] for one in (some, many)]
  assert generic[0].proxy * 121 == generic[1].proxy * 7
  assert generic[0].activations < generic[1].activations
  between = (generic[0].total + generic[1].total) // 2
  normal = some.footprints['normal'].total
  monkeypatch.setattr(preflight, 'available_memory', lambda: between + normal)
  some.check()
  with pytest.raises(ValueError, match='the priors generic, normal need'):
    many.check()


def test_frozen_weights_that_priors_share_are_counted_once(config, monkeypatch):
  recipe = make_recipes(config)[0]
  recipe.spec.options.device = 'cpu'
  one = footprint.estimate(recipe.spec, 2).total
  monkeypatch.setattr(preflight, 'available_memory', lambda: 2 * one - 1)

  def with_twin(**changes):
    spec = dataclasses.replace(recipe.spec, name='twin', **changes)
    return [recipe, dataclasses.replace(recipe, spec=spec)]

  estimate = preflight.estimate_memory(with_twin(), 2)
  estimate.check()
  said = estimate.lines()[-1]
  assert said.endswith('; the frozen weights of generic, twin count once')
  estimate = preflight.estimate_memory(with_twin(num_threads=7), 2)
  said = estimate.lines()[-1]
  assert said.startswith('memory of all') and 'once' not in said
  with pytest.raises(ValueError, match='the priors generic, twin need about'):
    estimate.check()


@pytest.fixture
def nvidia_smi(monkeypatch, tmp_path):
  """Sets what the driver's program says of the GPUs that are asked for."""
  program = tmp_path / 'nvidia-smi'
  monkeypatch.setenv('PATH', str(tmp_path))

  def says(*lines, status=0):
    echoes = ''.join(f'echo "{line}"\n' for line in lines)
    program.write_text(f'#!/bin/sh\n{echoes}exit {status}\n')
    program.chmod(0o755)

  return says


def on_gpu(config) -> preflight.MemoryEstimate:
  recipes = make_recipes(config)
  for recipe in recipes:
    recipe.spec.options.device = 'cuda'
  return preflight.estimate_memory(recipes, 2)


def test_priors_have_to_fit_on_the_gpus_that_they_are_given(
  config, monkeypatch, nvidia_smi
):
  monkeypatch.setattr(gpu_plan, 'visible', lambda: ('0', '1', '2'))
  estimate = on_gpu(config)
  shared = gpu_plan.GpuPlan(('0',))
  nvidia_smi('60, 80000')  # MiB; each needs 32 of them.
  with pytest.raises(
    ValueError, match='generic, normal need .* this GPU has 0.1 GiB free;'
  ):
    estimate.check(shared)
  # One prior for each: the larger GPU has room.
  apart = gpu_plan.GpuPlan(('0',), ('1', '2'))
  nvidia_smi('20, 80000', '60, 80000')
  estimate.check(apart)
  nvidia_smi('20, 80000', '20, 80000')
  with pytest.raises(ValueError, match='the priors generic need about'):
    estimate.check(apart)
  for status, line in ((1, 'No devices were found'), (0, '[N/A], [N/A]')):
    nvidia_smi(line, status=status)
    estimate.check(shared)  # Not known.


def test_the_learner_leaves_its_priors_their_part_of_a_shared_gpu(
  config, monkeypatch, nvidia_smi
):
  estimate, shared = on_gpu(config), gpu_plan.GpuPlan(('0',))
  monkeypatch.setattr(estimate.__class__, '_needed', lambda *_: 300 * 2**20)
  nvidia_smi('900, 1000')
  assert estimate.left_for_learner(shared) == pytest.approx(0.6)
  nvidia_smi('310, 1000')
  assert estimate.left_for_learner(shared) == 0.1
  assert estimate.left_for_learner(gpu_plan.GpuPlan()) is None
  apart = gpu_plan.GpuPlan(('0',), ('1',))
  assert estimate.left_for_learner(apart) is None
  nvidia_smi(status=1)
  assert estimate.left_for_learner(shared) is None


def test_the_memory_of_this_machine_is_read():
  assert 2**20 < preflight.available_memory() < 2**50


def test_cpus_of_a_prior_are_its_threads(config):
  config.priors['normal'].num_cpus = 3
  threads = {
    recipe.spec.name: recipe.spec.num_threads
    for recipe in make_recipes(config, num_threads=1)
  }
  assert threads == {'generic': 1, 'normal': 3}
