import re

import pytest

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.config import validation


def changed(path: str, value) -> schema.RunConfig:
  """Returns the default with one value replaced."""
  tree = serialization.to_dict(schema.RunConfig())
  *parents, last = path.split('.')
  node = tree
  for parent in parents:
    node = node[parent]
  node[last] = value
  return serialization.from_dict(tree)


def test_the_defaults_are_valid():
  validation.validate(schema.RunConfig())


@pytest.mark.parametrize(
  'path, value, message',
  [
    ('num_steps', -5, 'num_steps is -5; expected at least 1.'),
    ('nerf.nerf_width', 0, 'nerf.nerf_width is 0; expected at least 1.'),
    ('nerf.proposal_width', 0, 'nerf.proposal_width is 0'),
    ('views.resolution', 0, 'views.resolution is 0; expected at least 1.'),
    ('views.background', [0.9, 0.1], 'views.background is (0.9, 0.1)'),
    ('views.background', [0.9], 'views.background is (0.9,)'),
    ('noise.schedule', 'liner', "did you mean 'linear'?"),
    ('noise.minimum', 0.8, 'noise.minimum is 0.8; expected less than'),
    ('noise.maximum', 1.5, 'noise.maximum is 1.5; expected 0 to 1.'),
    ('mode', 'summ', "mode is 'summ'; did you mean 'sum'?"),
    ('priors.normal.objective', 'vds', "did you mean 'vsd'?"),
    ('priors.normal.weighting', 'sigma', "did you mean 'sigma2'?"),
    ('priors.normal.channel', 'normals', "did you mean 'normal'?"),
    ('priors.normal.dtype', 'float61', "did you mean 'float16'?"),
    ('priors.normal.guidance_scale', -1.0, 'expected at least 0.'),
    ('priors.normal.rank', 0, 'priors.normal.rank is 0'),
    ('learner.learning_rate', float('nan'), 'expected a finite number.'),
    ('learner.learning_rate', 0.0, 'learner.learning_rate is 0.0'),
    ('learner.trainable', 'none', "learner.trainable is 'none'"),
    ('learner.start_code', 'mena', "learner.start_code is 'mena'"),
    ('seed', -1, 'seed is -1'),
    ('priors', {'items': {}}, "a prior is called 'items'"),
    ('priors', {'my prior': {}}, "a prior is called 'my prior'"),
    ('priors', {'../up': {}}, "a prior is called '../up'; expected up to 64"),
    ('priors', {'größe': {}}, "a prior is called 'größe'"),
    ('priors', {'<b>': {}}, "a prior is called '<b>'"),
    ('priors', {'a' * 65: {}}, f"a prior is called '{'a' * 65}'"),
  ],
)
def test_a_value_that_cannot_be_run_is_one_line(path, value, message):
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    validation.validate(changed(path, value))
  assert '\n' not in str(error.value)


def test_a_weight_that_is_not_finite_is_told_by_the_name_of_its_concept():
  config = schema.RunConfig()
  config.concepts = [schema.ConceptConfig('a man', float('inf'), name='man')]
  with pytest.raises(ValueError, match="the weight of 'man' is inf; expected"):
    validation.validate(config)
  config.concepts[0].name = ''
  with pytest.raises(
    ValueError, match=r'concepts\[0\].weight is inf; expected'
  ):
    validation.validate(config)


def test_a_prior_may_have_a_name_of_64_characters():
  validation.validate(changed('priors', {'a' * 64: {}}))


def test_a_subject_may_be_the_start():
  validation.validate(changed('learner.start_code', '17'))


def test_every_rule_meets_a_field():
  config = schema.RunConfig()
  config.priors['generic'].resources = {'fast': 1.0}
  paths = serialization.flatten(config)
  for pattern in (*validation.CHOICES, *validation.RANGES):
    assert any(re.fullmatch(pattern, path) for path in paths), pattern
