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
    (
      'prompt',
      'a \udcff',
      r"prompt has '\udcff' after 'a ', which",
    ),
    ('nerf.nerf_width', 0, 'nerf.nerf_width is 0; expected at least 1.'),
    ('nerf.proposal_width', 0, 'nerf.proposal_width is 0'),
    ('views.resolution', 0, 'views.resolution is 0; expected at least 1.'),
    ('views.micro_batches', 0, 'views.micro_batches is 0; expected at least 1'),
    (
      'views.micro_batches',
      3,
      'views.micro_batches is 3; expected 1 to views.num_views, which is 2, '
      'since each part of a step has a view.',
    ),
    (
      'learner',
      {'num_kept_chunks': 5, 'chunk_size': 2048, 'num_devices': 1},
      'learner.num_kept_chunks is 5; expected at most 4: each device has as '
      'many chunks of 2048 rays in a part of a step.',
    ),
    (
      'learner',
      {'num_kept_chunks': 3, 'chunk_size': 2048, 'num_devices': 2},
      'learner.num_kept_chunks is 3; expected at most 2',
    ),
    (
      'learner',
      {'num_kept_chunks': 1, 'remat': False},
      'learner.num_kept_chunks is 1; expected 0 where learner.remat is False',
    ),
    ('learner.num_kept_chunks', -1, 'num_kept_chunks is -1; expected at least'),
    ('views.micro_batches', 10**30, 'is a number of many digits; expected at'),
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


@pytest.mark.parametrize(
  'path, value, end',
  [
    ('num_steps', 10**26, 'at most 1000000000.'),
    ('num_steps', 10**400, 'at most 1000000000.'),
    ('num_steps', 10**9 + 1, 'at most 1000000000.'),
    ('nerf.nerf_width', 10**6, 'at most 16384.'),
    ('nerf.position_levels', 128, 'at most 32.'),
    ('views.resolution', 10**5, 'at most 8192.'),
    ('priors.normal.weight', 1e300, 'at most 1000000.'),
    ('priors.normal.weight', -1e300, 'at least -1000000.'),
    ('learner.chunk_size', 2**63, 'at most 1048576.'),
    ('faults.deadline_s', 1e30, 'at most 1000000000.'),
    ('results.mesh_resolution', 10**4, 'at most 2048.'),
  ],
)
def test_a_value_that_no_machine_could_run_is_one_line(path, value, end):
  line = (
    rf'^{re.escape(path)} is [^ ]+( number of many digits)?; expected {end}$'
  )
  with pytest.raises(ValueError, match=line) as error:
    validation.validate(changed(path, value))
  assert len(str(error.value)) < 100


@pytest.mark.parametrize('size', [1, 63, 8193, 100_000, -1])
def test_a_texture_that_no_mesh_can_have_is_one_line(size):
  line = (
    rf'^results.texture_size is {size}; expected 64 to 8192 texels a side, '
    'or 0 for colours at the vertices.$'
  )
  with pytest.raises(ValueError, match=line):
    validation.validate(changed('results.texture_size', size))


@pytest.mark.parametrize('size', [0, 64, 1024, 8192])
def test_a_texture_that_a_mesh_can_have_passes(size):
  validation.validate(changed('results.texture_size', size))


def test_the_largest_values_that_make_sense_pass():
  for path, value in {
    'num_steps': 10**9,
    'views.resolution': 8192,
    'nerf.nerf_width': 1536,  # The paper's.
    'priors.normal.weight': -1e6,
  }.items():
    validation.validate(changed(path, value))


def test_no_default_is_near_its_limit():
  config = schema.RunConfig()
  for path, value in serialization.flatten(config).items():
    limit = validation._limit_of(path)
    assert limit is None or value <= limit / 4, path


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
  config.concepts = [schema.ConceptConfig('a man')]
  paths = serialization.flatten(config)
  for pattern in (
    *validation.CHOICES,
    *validation.RANGES,
    *validation.LIMITS,
  ):
    assert any(re.fullmatch(pattern, path) for path in paths), pattern
