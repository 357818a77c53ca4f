import dataclasses

import pytest

from mmdist.config import changes as config_changes
from mmdist.config import schema
from mmdist.config import serialization


def changes_of(**fields) -> list[config_changes.Change]:
  after = dataclasses.replace(schema.RunConfig(), **fields)
  return config_changes.find_changes(schema.RunConfig(), after)


def test_changes_read_as_differences_do():
  before = schema.RunConfig()
  after = dataclasses.replace(
    before, seed=1, concepts=[schema.ConceptConfig('a joker')]
  )
  found = config_changes.find_changes(before, after)
  assert [str(c) for c in found] == serialization.differences(before, after)
  seed = next(c for c in found if c.field == 'seed')
  assert (seed.before, seed.after) == (0, 1)


@pytest.mark.parametrize(
  'field, names, is_below',
  [
    ('learner.learning_rate', ['learner'], True),
    ('learner.learning_rate', ['learner.learning_rate'], True),
    ('learner.learning_rate', ['seed', 'learner'], True),
    ('learner.learning_rate', ['learner.learning'], False),
    ('learner.learning_rate', ['learn'], False),
    ('learner.learning_rate', [], False),
    ('seed', [''], False),
    ('priors.generic.memory.batched', ['priors.generic'], True),
    ('priors.generic2.weight', ['priors.generic'], False),
    ('concepts[0].text', ['concepts'], True),
    ('concepts[0].text', ['concepts[0]'], True),
    ('concepts[10].text', ['concepts[1]'], False),
    ('weights.generic.unet/a.safetensors', ['weights.generic'], True),
  ],
)
def test_a_name_stands_for_all_below_it(field, names, is_below):
  assert config_changes.is_below(field, names) == is_below


@pytest.mark.parametrize(
  'field, is_free',
  [
    ('results.judge', True),
    ('faults.window_s', True),
    ('faults.on_nonfinite', False),
    ('priors.generic.num_gpus', True),
    ('priors.generic.colocate', True),
    ('priors.generic.resources.fast', True),
    ('priors.generic.node_labels', True),
    ('priors.generic.num_cpus', False),
    ('priors.generic.weight', False),
  ],
)
def test_what_decides_nothing_about_a_head_may_change(field, is_free):
  assert config_changes.is_free(field) == is_free


def test_known_names_are_accepted():
  run = schema.RunConfig(concepts=[schema.ConceptConfig('a joker')])
  names = ['learner', 'priors.generic.weight', 'concepts[0].text', 'concepts']
  config_changes.check_names([*names, 'weights', 'weights.normal'], run)


@pytest.mark.parametrize(
  'name, line',
  [
    ('lerner', "no field 'lerner'; did you mean 'learner'? Fields there: "),
    ('learner.learning_rat', "did you mean 'learning_rate'?"),
    ('priors.generc.weight', "did you mean 'generic'? Fields there: generic, "),
    ('weights.generc', "did you mean 'generic'? Fields there: generic, normal"),
    ('wieghts', "did you mean 'weights'?"),
    ('seed.x', 'Fields there: none.'),
    ('', "no field ''."),
  ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, line):
  with pytest.raises(ValueError) as caught:
    config_changes.check_names(['seed', name], schema.RunConfig())
  assert line in str(caught.value) and '\n' not in str(caught.value)
  assert str(caught.value).startswith('--resume_with_changes: no field')


def test_a_name_may_be_known_to_one_configuration_only():
  old = schema.RunConfig(priors={'old': schema.PriorConfig()})
  config_changes.check_names(['priors.old'], schema.RunConfig(), old)


@pytest.mark.parametrize(
  'field, reason',
  [
    ('nerf.nerf_width', 'what the arrays of a checkpoint mean'),
    ('nerf.activation', 'what the arrays of a checkpoint mean'),
    ('priors.generic.rank', 'what a saved proxy is'),
    ('priors.generic.objective', 'what a saved proxy is'),
    ('priors.generic.enabled', 'hold the same proxies'),
  ],
)
def test_what_decides_a_checkpoint_has_an_obstacle(field, reason):
  assert reason in config_changes.Change(field, 1, 2).obstacle


@pytest.mark.parametrize(
  'field', ['nerf_assets', 'prompt', 'learner.trainable', 'priors.a.dtype']
)
def test_what_checkpoints_do_not_hold_has_none(field):
  assert not config_changes.Change(field, 1, 2).obstacle


def test_what_an_actor_reserves_may_come_and_go():
  priors = schema.RunConfig().priors
  priors['generic'].resources = {'TPU': 4.0}
  priors['generic'].node_labels = {'zone': 'a'}
  changes = changes_of(priors=priors)
  assert len(changes) == 4  # Each mapping was empty and has an entry.
  assert not any(c.obstacle for c in changes)


def test_a_prior_that_comes_or_goes_is_an_obstacle():
  priors = schema.RunConfig().priors
  fewer = changes_of(priors={'generic': priors['generic']})
  more = changes_of(priors=priors | {'third': schema.PriorConfig()})
  mappings = ('.resources', '.node_labels')
  assert all(c.obstacle for c in fewer + more if not c.field.endswith(mappings))
