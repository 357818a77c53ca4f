"""What a run is expected to need in memory, and what does not fit."""

import dataclasses
import socket

import pytest

from experiments import mix
from mmdist.config import schema
from mmdist.distribution import gpu_plan
from mmdist.learner import learner_memory
from mmdist.objectives import binding
from mmdist.priors import footprint
from mmdist.run import memory_estimate
from tests.run.mix_recipes import make_recipes


@pytest.fixture
def config():
  return mix.get_config('joker_minus_green')


def test_the_lines_name_the_learner_each_prior_and_their_sum(config):
  estimate = memory_estimate.estimate_memory(make_recipes(config), 2)
  learner = learner_memory.LearnerMemory(2**20, 3 * 2**30, 2**20, 4)
  lines = estimate.with_learner(learner).lines()
  assert lines[0] == (
    'memory of the learner: about 3.0 GiB on each of 4 devices (parameters 1 '
    'MiB, activations 3.0 GiB)'
  )
  assert lines[1].startswith("memory of prior 'generic': about ")
  assert lines[-1].startswith('memory of all priors: about ')
  assert estimate.with_learner(learner).without_priors().lines() == lines[:1]


@pytest.fixture
def learner():
  return learner_memory.LearnerMemory(2**20, 80 * 2**20, 2**20, 2)


def test_learners_that_cannot_fit_are_refused(config, learner, monkeypatch):
  recipes = make_recipes(config)
  for recipe in recipes:
    recipe.spec.options.device = 'cpu'
  priors = memory_estimate.estimate_memory(recipes, 2)
  needed = 2 * learner.on_device + 3 * 2**20
  assert learner.on_device == 89 * 2**20 and learner.on_machine == needed
  alone = priors.with_learner(learner).without_priors()
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: needed)
  alone.check()
  with pytest.raises(ValueError) as told:
    priors.with_learner(learner).check()
  assert str(told.value) == (
    'the learner and the priors generic, normal need about 0.2 GiB and this '
    'machine has 0.2 GiB free; take a smaller learner.chunk_size, a smaller '
    'dtype or memory.text_dtype, fewer priors or concepts, or more machines '
    '(--ray_address).'
  )
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: needed - 1)
  with pytest.raises(
    ValueError,
    match='^the learner needs .* take a smaller learner.chunk_size.$',
  ):
    alone.check()
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: 3 * needed)
  alone.with_learner(learner, 3).check()
  with pytest.raises(ValueError, match='^4 learners .* fewer cells at a time'):
    alone.with_learner(learner, 4).check()


@pytest.mark.parametrize(
  'missing, num_learners, said',
  [
    (1, 1, 'take learner.num_kept_chunks=2, or a smaller learner.chunk_size.'),
    (41 * 2**20, 1, 'take learner.num_kept_chunks=0, or a smaller'),
    (41 * 2**20, 2, 'take learner.num_kept_chunks=1, a smaller'),
    # Without any of them it would not fit either.
    (61 * 2**20, 1, 'take a smaller learner.chunk_size.'),
  ],
)
def test_the_most_chunks_that_can_be_kept_are_told(
  learner, missing, num_learners, said, monkeypatch
):
  # On two devices, so that each chunk takes 20 MiB.
  kept = dataclasses.replace(learner, num_kept_chunks=3, kept_chunk=10 * 2**20)
  estimate = memory_estimate.MemoryEstimate({}, {}, []).with_learner(
    kept, num_learners
  )
  needed = num_learners * kept.on_machine
  monkeypatch.setattr(
    memory_estimate, 'available_memory', lambda: needed - missing
  )
  with pytest.raises(ValueError, match=said):
    estimate.check()


def test_a_learner_on_a_gpu_has_to_fit_there(
  config, learner, monkeypatch, nvidia_smi
):
  monkeypatch.setattr(gpu_plan, 'visible', lambda: ('0', '1'))
  monkeypatch.setattr(gpu_plan, 'learner_uses_gpus', lambda: True)
  # Its devices are GPUs, so that the machine needs nothing of this.
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: 2**20)
  estimate = on_gpu(config).with_learner(learner)
  shared = gpu_plan.GpuPlan(('0',))
  # Free and in all, MiB; the priors need 63 and the learner 89.
  nvidia_smi('80, 100')
  with pytest.raises(
    ValueError, match='^the learner and the priors .* GPU has 0.1 GiB in all;'
  ):
    estimate.check(shared)
  # Of what is not free, most may be JAX's own.
  estimate.without_priors().check(shared)
  nvidia_smi('70, 160')
  estimate.check(shared)
  nvidia_smi('50, 160')
  with pytest.raises(ValueError, match='^the priors .* GPU has 0.0 GiB free;'):
    estimate.check(shared)
  apart = gpu_plan.GpuPlan(('0',), ('1',))
  nvidia_smi('80, 88')
  with pytest.raises(ValueError, match='^the learner needs about 0.1 GiB'):
    estimate.check(apart)
  nvidia_smi('80, 90')
  estimate.check(apart)


def test_priors_that_cannot_fit_are_refused_before_they_load(
  config, monkeypatch
):
  recipes = make_recipes(config)
  for recipe in recipes:
    recipe.spec.options.device = 'cpu'
  memory_estimate.estimate_memory(recipes, 2).check()
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: 2**20)
  with pytest.raises(
    ValueError, match='the priors generic, normal need about 0.1 GiB and this'
  ):
    memory_estimate.estimate_memory(recipes, 2).check()
  for recipe in recipes:  # A GPU says itself what it has.
    recipe.spec.options.device = 'cuda'
  memory_estimate.estimate_memory(recipes, 2).check()
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: None)
  memory_estimate.estimate_memory(recipes, 2).check()


def test_the_texts_of_a_prior_are_in_its_memory(config, monkeypatch):
  config.priors['generic'].proxy_per = 'concept'
  config.concepts += [schema.ConceptConfig('a portrait of a joker', 0.5)]
  num_texts = memory_estimate.count_texts(binding.bind_config(config))
  assert num_texts == {'generic': 2, 'normal': 2}
  recipes = make_recipes(config)
  for recipe in recipes:
    recipe.spec.options.device = 'cpu'
  some = memory_estimate.estimate_memory(recipes, 2, num_texts)
  many = memory_estimate.estimate_memory(
    recipes, 2, num_texts | {'generic': 40}
  )
  generic = [one.footprints['generic'] for one in (some, many)]
  assert generic[0].proxy * 121 == generic[1].proxy * 7
  assert generic[0].activations < generic[1].activations
  between = (generic[0].total + generic[1].total) // 2
  normal = some.footprints['normal'].total
  monkeypatch.setattr(
    memory_estimate, 'available_memory', lambda: between + normal
  )
  some.check()
  with pytest.raises(ValueError, match='the priors generic, normal need'):
    many.check()


def test_priors_that_share_out_the_views_need_less(config):
  config.priors['other'] = schema.PriorConfig()
  objective = binding.bind_config(config)
  config.views.num_views = 5
  views = memory_estimate.count_views(objective, config.views)
  assert views == {'generic': 5, 'normal': 5, 'other': 5}
  config.views.deal = True
  views = memory_estimate.count_views(objective, config.views)
  assert views == {'generic': 3, 'normal': 5, 'other': 3}
  recipes = make_recipes(config)
  dealt = memory_estimate.estimate_memory(recipes, views).footprints
  seen = memory_estimate.estimate_memory(recipes, 5).footprints
  assert dealt['generic'].activations < seen['generic'].activations
  assert dealt['normal'] == seen['normal']


def test_frozen_weights_that_priors_share_are_counted_once(config, monkeypatch):
  recipe = make_recipes(config)[0]
  recipe.spec.options.device = 'cpu'
  one = footprint.estimate(recipe.spec, 2).total
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: 2 * one - 1)

  def with_twin(**changes):
    spec = dataclasses.replace(recipe.spec, name='twin', **changes)
    return [recipe, dataclasses.replace(recipe, spec=spec)]

  estimate = memory_estimate.estimate_memory(with_twin(), 2)
  estimate.check()
  said = estimate.lines()[-1]
  assert said.endswith('; the frozen weights of generic, twin count once')
  estimate = memory_estimate.estimate_memory(with_twin(num_threads=7), 2)
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


def on_gpu(config) -> memory_estimate.MemoryEstimate:
  recipes = make_recipes(config)
  for recipe in recipes:
    recipe.spec.options.device = 'cuda'
  return memory_estimate.estimate_memory(recipes, 2)


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
  monkeypatch.setattr(
    estimate.__class__, 'needed', lambda _, names: 300 * 2**20 * bool(names)
  )
  nvidia_smi('900, 1000')
  assert estimate.left_for_learner(shared) == pytest.approx(0.6)
  nvidia_smi('310, 1000')
  assert estimate.left_for_learner(shared) == 0.1
  assert estimate.left_for_learner(gpu_plan.GpuPlan()) is None
  apart = gpu_plan.GpuPlan(('0',), ('1',))
  assert estimate.left_for_learner(apart) is None
  several = dataclasses.replace(estimate, num_learners=2)
  nvidia_smi('900, 1000')
  assert several.left_for_learner(shared) == pytest.approx(0.3)
  assert several.left_for_learner(apart) == pytest.approx(0.45)
  nvidia_smi(status=1)
  assert estimate.left_for_learner(shared) is None


def test_an_actor_tells_what_it_will_need_and_what_is_free(
  config, monkeypatch, nvidia_smi
):
  recipes = make_recipes(config)
  views, texts = {'generic': 2, 'normal': 2}, {'generic': 3, 'normal': 1}
  looks = memory_estimate.Looks(views, texts)
  recipes[0].spec.options.device = 'cpu'
  recipes[1].spec.options.device = 'cuda'
  monkeypatch.setattr(gpu_plan, 'visible', lambda: ('5',))
  monkeypatch.setattr(memory_estimate, 'available_memory', lambda: 77)
  nvidia_smi('60, 80000')
  here, gpu = looks.of(recipes)()
  estimate = memory_estimate.estimate_memory(recipes, views, texts)
  names = [recipe.spec.name for recipe in recipes]
  assert (here.device, here.priors, here.free) == ('machine', names[:1], 77)
  assert (gpu.device, gpu.priors, gpu.free) == ('GPU 5', names[1:], 60 * 2**20)
  assert here.machine == gpu.machine == socket.gethostname()
  assert here.needed == estimate.footprints[names[0]].total
  assert gpu.needed == estimate.footprints[names[1]].total
  nvidia_smi(status=1)
  assert looks.of(recipes)() == [here]
  recipes[0].spec.options.directory = '/not/on/this/machine'
  assert looks.of(recipes)() == []


def test_the_memory_of_this_machine_is_read():
  assert 2**20 < memory_estimate.available_memory() < 2**50
