import pytest

from mmdist.config import fields
from mmdist.config import schema


@pytest.fixture
def config():
  run = schema.RunConfig()
  run.concepts = [
    schema.ConceptConfig('a happy man', 0.6, name='happy'),
    schema.ConceptConfig('a sad man', 0.4, name='sad'),
    schema.ConceptConfig('a hat', 0.1),
  ]
  return run


def test_the_name_of_a_concept_is_its_weight(config):
  changed = fields.set_fields(config, {'sad': 0.9})
  assert [c.weight for c in changed.concepts] == [0.6, 0.9, 0.1]
  assert config.concepts[1].weight == 0.4  # It stays as it is.


@pytest.mark.parametrize(
  'path, text, value',
  [
    ('num_steps', '7', 7),
    ('learner.learning_rate', '1e-3', 1e-3),
    ('learner.remat', 'False', False),
    ('mode', 'perp', 'perp'),
    ('prompt', ' a man, 3 hats ', 'a man, 3 hats'),
    ('views.background', '(0.1, 0.5)', (0.1, 0.5)),
    ('priors.generic.guidance_scale', '4', 4.0),
    ('concepts[1].text', 'a king', 'a king'),
    ('views.emphasis.mouth', '2', 2.0),
  ],
)
def test_a_field_of_any_type_is_read_and_set(path, text, value, config):
  read = fields.parse(config, path, text)
  assert read == value and type(read) is type(value)
  changed = fields.set_fields(config, {path: read})
  found = changed
  for part in path.replace('[1]', '').split('.'):
    found = found[part] if isinstance(found, dict) else getattr(found, part)
    found = found[1] if part == 'concepts' else found
  assert found == value


def test_loras_of_a_cell_are_read_as_on_the_command_line(config):
  name = 'priors.generic.loras'
  value = fields.parse(config, name, "[('a.safetensors', 0.8)]")
  changed = fields.set_fields(config, {name: value})
  assert changed.priors['generic'].all_loras == (('a.safetensors', 0.8),)
  with pytest.raises(ValueError, match=f'{name} has the weight'):
    fields.parse(config, name, '[(a, strong)]')


def test_several_fields_are_set_at_once(config):
  changed = fields.set_fields(config, {'happy': 1, 'seed': 3, 'mode': 'perp'})
  assert (changed.concepts[0].weight, changed.seed) == (1.0, 3)


@pytest.mark.parametrize(
  'name, text, line',
  [
    (
      'hapy',
      '1',
      "no field 'hapy'; did you mean 'happy'.*s: happy, sad;",
    ),
    ('learner.lr', '1', "no field 'learner.lr'"),
    ('learner', '1', "'learner' is not one value; expected one of: learner.l"),
    ('seed', 'one', "seed is 'one'; expected a number, such as 0"),
    ('seed', '1.5', "seed is '1.5'; expected a number"),
    ('happy', 'much', "happy is 'much'; expected a number, such as 0.6"),
    ('learner.remat', 'maybe', "learner.remat is 'maybe'; expected a bool"),
    ('views.background', '0.3', "views.background is '0.3'; expected a tuple"),
    ('views.background', '-' * 99999 + '1', 'expected a tuple'),
    ('', '1', "no field ''"),
  ],
)
def test_what_cannot_be_set_is_one_line(name, text, line, config):
  with pytest.raises(ValueError, match=line) as error:
    fields.parse(config, name, text)
  assert '\n' not in str(error.value) and len(str(error.value)) < 900 + len(
    text
  )


def test_a_value_of_another_type_is_refused(config):
  with pytest.raises(ValueError, match="seed is 'x'; expected int"):
    fields.set_fields(config, {'seed': 'x'})


@pytest.mark.parametrize('name', ['happy', 'concepts[0].weight'])
def test_a_wrong_weight_is_told_by_the_name_of_its_concept(name, config):
  with pytest.raises(ValueError, match="^the weight of 'happy' is 'x'; expect"):
    fields.set_fields(config, {name: 'x'})
  with pytest.raises(ValueError, match=r"^concepts\[2\].weight is 'x'; expect"):
    fields.set_fields(config, {'concepts[2].weight': 'x'})
