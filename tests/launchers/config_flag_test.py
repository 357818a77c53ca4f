import dataclasses
import textwrap

import pytest

from launchers import command_line
from launchers import config_flag
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import options as options_lib

EXPERIMENT = """
from mmdist.config import schema
from mmdist.core import names

def get_config(preset=''):
  if preset not in ('', 'mixed'):
    raise names.unknown_preset(preset, ('mixed',))
  config = schema.RunConfig(num_steps=50)
  if preset:
    config.concepts = [schema.ConceptConfig('joker'),
                       schema.ConceptConfig('green', -0.5)]
  return config
"""


@pytest.fixture
def experiment(tmp_path):
  path = tmp_path / 'generate.py'
  path.write_text(textwrap.dedent(EXPERIMENT))
  return str(path)


@dataclasses.dataclass(frozen=True)
class Options:
  workdir: str = options_lib.option('', 'Where.', is_path=True)


def parse(default, *words) -> tuple[schema.RunConfig, list[str]]:
  """Returns the configuration and what is left of a command line."""
  config, _, rest = command_line.parse(
    ['program', *words], Options, config_flag.Config(default), 'RUN'
  )
  return config, rest


def test_without_flags_the_default_experiment_is_run(experiment):
  config, rest = parse(experiment)
  assert config == schema.RunConfig(num_steps=50)
  assert rest == []


def test_fields_are_set_by_their_path(experiment):
  config, rest = parse(
    '',
    f'--config={experiment}:mixed',
    '--config.prompt=a portrait of a sad man, with = and "quotes"',
    '--config.priors.normal.weight=0.5',
    '--config.priors.normal.enabled=false',
    '--config.learner.learning_rate=2e-3',
    '--noconfig.learner.remat',
    '--config.views.background=(0.1, 0.2)',
    '--config.concepts[1].weight=-0.25',
    '--config.num_steps',
    '7',
    'RUN',
  )
  assert set(
    serialization.differences(schema.RunConfig(num_steps=50), config)
  ) >= {
    'priors.normal.weight: 1.0 -> 0.5',
    'priors.normal.enabled: True -> False',
    'learner.learning_rate: 0.003 -> 0.002',
    'learner.remat: True -> False',
    'views.background: (0.35, 1.0) -> (0.1, 0.2)',
    'concepts[1].weight: absent -> -0.25',
    'num_steps: 50 -> 7',
  }
  assert config.prompt == 'a portrait of a sad man, with = and "quotes"'
  assert rest == ['RUN']


def test_flags_come_in_any_order(experiment):
  words = [f'--config={experiment}', '--config.seed=3', '--workdir=runs/a']
  assert parse('', *words) == parse('', *words[::-1])
  assert parse('', '--config.seed=3', '--config', experiment)[0].seed == 3


def test_concepts_can_be_written_on_the_command_line(experiment):
  config, _ = parse(
    experiment,
    "--config.concepts=[('a joker', 1), ('green', -0.5, ('generic',)),"
    " ('blue', 0.1, 'normal')]",
  )
  assert config.concepts == [
    schema.ConceptConfig('a joker', 1.0),
    schema.ConceptConfig('green', -0.5, ('generic',)),
    schema.ConceptConfig('blue', 0.1, ('normal',)),
  ]


@pytest.mark.parametrize(
  'text',
  ["[('a.safetensors', 0.8), ('b', -1)]", '[(a.safetensors, 0.8), (b,-1)]'],
)
def test_loras_can_be_written_on_the_command_line(experiment, text):
  config, _ = parse(experiment, f'--config.priors.generic.loras={text}')
  assert config.priors['generic'].loras == (('a.safetensors', 0.8), ('b', -1.0))
  assert config.priors['normal'].loras == ()
  assert serialization.from_json(serialization.to_json(config)) == config


@pytest.mark.parametrize(
  'word, message',
  [
    ('--config.priors.generic.loras=[(a, strong)]', "weight 'strong' for 'a'"),
    ('--config.priors.generic.loras=[(a, 1), (./a, 1)]', 'twice; give it once'),
    ('--config.priors.generic.loras=[(a, 1e9)]', 'weight 1e.09'),
    ('--config.priors.generic.loras=[(gs://b/a, 1)]', 'in remote storage'),
    ('--config.learner.learning_rat=1', "did you mean 'learning_rate'?"),
    ('--config.priors.norml.weight=1', "no field 'priors.norml'; did you mean"),
    ('--config.concepts[7].text=a', "no field 'concepts.7'. Fields there: "),
    ('--config.seed.x=1', "no field 'seed.x'. Fields there: none."),
    ('--config.se%ed=1', "'--config.se%ed' is no path to a field."),
    ('--config.learner=1', "'learner' is not one value; expected"),
    ('--config.num_steps=five', 'flag --config.num_steps=five'),
    ('--config.num_steps=-5', 'num_steps is -5; expected at least 1.'),
    ('--config.concepts=[3]', r"concepts are '\[3\]'; expected"),
    ('--config.concepts=[(3, 4)]', r"concepts are '\[\(3, 4\)\]'; expected"),
    ("--config.concepts=[{'txt': 'a man'}]", "did you mean 'text'"),
    ('--wokdir=a', 'Did you mean: workdir'),
    ('--config=', '--config is empty'),
  ],
)
def test_a_mistyped_flag_is_one_line(experiment, word, message):
  with pytest.raises(ValueError, match=message) as error:
    parse(experiment, word)
  assert '\n' not in str(error.value)


def test_an_unknown_preset_or_experiment_names_the_nearest(experiment):
  with pytest.raises(ValueError, match="'mixd'; did you mean 'mixed'?"):
    parse(f'{experiment}:mixd')
  with pytest.raises(FileNotFoundError, match="did you mean '.*generate.py'?"):
    parse(experiment.replace('generate', 'genrate'))


@pytest.mark.parametrize(
  'text, message',
  [
    ('x = 1', r'defines no get_config\(preset\)'),
    ('get_config = dict', 'returned dict; expected RunConfig'),
  ],
)
def test_a_file_that_is_no_experiment_is_one_line(tmp_path, text, message):
  path = tmp_path / 'odd.py'
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    parse(str(path))


def test_help_lists_every_field():
  text = command_line.format_help('What it does.', None, config_flag.Config())
  for path in serialization.flatten(schema.RunConfig()):
    assert f'--config.{path}=' in text
  assert command_line.asks_for_help(['program', '--help'])


def test_help_lists_the_experiments():
  text = command_line.format_help('What it does.', None, config_flag.Config())
  assert '(default generate)' in text
  assert '  smoke           Every part once' in text


FILE = """
# A run of mine.
--config=EXPERIMENT
--config.prompt=a portrait of a happy man, with spaces
--workdir=runs/a
"""


@pytest.mark.parametrize('split', ['=', ' '])
def test_a_file_of_flags_may_set_fields(experiment, tmp_path, split):
  path = tmp_path / 'flags'
  path.write_text(FILE.replace('EXPERIMENT', f'{experiment}:mixed'))
  config, options, rest = command_line.parse(
    [
      'program',
      '--config.seed=3',
      *f'--flagfile{split}{path}'.split(' '),
      '--noconfig.learner.remat',
      'RUN',
    ],
    Options,
    config_flag.Config(''),
    'RUN',
  )
  assert config.prompt == 'a portrait of a happy man, with spaces'
  assert (config.seed, config.num_steps) == (3, 50)
  assert len(config.concepts) == 2 and not config.learner.remat
  assert options.workdir == 'runs/a' and rest == ['RUN']


def test_what_comes_last_counts_in_a_file_of_flags_or_beside_it(
  experiment, tmp_path
):
  path = tmp_path / 'flags'
  path.write_text(FILE.replace('EXPERIMENT', experiment))
  beside = '--config.prompt=a portrait of a sad man'
  after, _ = parse('', f'--flagfile={path}', beside)
  before, _ = parse('', beside, f'--flagfile={path}')
  assert after.prompt == 'a portrait of a sad man'
  assert before.prompt == 'a portrait of a happy man, with spaces'


def test_a_file_of_flags_that_is_not_there_is_one_line(experiment, tmp_path):
  with pytest.raises(ValueError, match='nowhere') as error:
    parse(experiment, f'--flagfile={tmp_path / "nowhere"}')
  assert '\n' not in str(error.value)


def test_each_parsing_has_an_experiment_of_its_own(experiment):
  assert parse(experiment, '--config.seed=3')[0].seed == 3
  assert parse(experiment)[0].seed == 0
