"""Flags from a web page, without a value, or given twice."""

import dataclasses
import importlib
import warnings

import pytest

from launchers import command_line
from launchers import console
from mmdist.core import options as options_lib

COMMANDS = {
  name: importlib.import_module(f'launchers.{name}').COMMAND
  for name in console.COMMANDS
}


def parse(name: str, *words: str):
  """Parses words behind a value for each flag that must be given and is not."""
  command = COMMANDS[name]
  required = []
  for field in dataclasses.fields(command.options):
    if field.default is options_lib.REQUIRED:
      choices = options_lib.describe(field).choices or ('x',)
      if f'--{field.name}=' not in words:
        required.append(f'--{field.name}={choices[0]}')
  return command_line.parse(
    [name, *required, *words], command.options, command.config, command.words
  )


def refusal(name: str, *words: str) -> str:
  with pytest.raises(ValueError) as error:
    parse(name, *words)
  line = str(error.value)
  assert '\n' not in line
  return line


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_says_what_it_does_not_take(name):
  assert 'nonsense' in refusal(name, '--nonsense=3')
  if name not in ('view', 'evaluate', 'evaluate_prior'):
    assert "'stray word' is left over" in refusal(name, 'stray', 'word')


@pytest.mark.parametrize('name', COMMANDS)
@pytest.mark.parametrize('dash', ['–', '—', '−', '–-', '\u00a0--', '\u200b--'])
def test_a_dash_that_is_no_hyphen_is_named(name, dash):
  line = refusal(name, f'{dash}debug')
  assert f"'{dash}debug'" in line and "type '--debug' anew" in line


@pytest.mark.parametrize(
  'words',
  [
    ['--prompt=“a', '[v]', 'man”'],
    ['--prompt=“man”'],
    ['--prompt', '‘man’'],
    ['--prompt=„ein', 'Mann“'],
    ['--prompt=«homme»'],
  ],
)
def test_quotes_that_no_shell_knows_are_named(words):
  line = refusal('personalize', *words)
  assert 'quotation mark' in line and 'type \' or "' in line


def test_quotes_inside_of_a_text_are_its_own():
  options = parse('personalize', '--prompt=“Ada”, a [v] man’s hat')[0]
  assert options.prompt == '“Ada”, a [v] man’s hat'


@pytest.mark.parametrize(
  'words',
  [
    ['--config.prompt', '--config.seed=1'],
    ['--executor', '--debug'],
    ['--workdir', '-config.seed=1'],
  ],
)
def test_a_flag_is_no_value_of_another(words):
  line = refusal('optimize', *words)
  assert f"{words[0]} has no value, since '{words[1]}' follows" in line


def test_a_negative_number_is_a_value():
  config = parse('optimize', '--config.priors.generic.weight', '-1')[0]
  assert config.priors['generic'].weight == -1


@pytest.mark.parametrize(
  'name, flag',
  [
    (name, field.name)
    for name, command in COMMANDS.items()
    for field in dataclasses.fields(command.options)
    if options_lib.describe(field).is_path
    and field.default is options_lib.REQUIRED
  ],
)
def test_an_empty_path_is_not_this_folder(name, flag):
  assert f'{flag} is empty' in refusal(name, f'--{flag}=')


def test_a_value_that_is_dropped_is_told(tmp_path):
  with pytest.warns(UserWarning, match="--config.seed is given twice, '1' and"):
    config = parse('optimize', '--config.seed=1', '--config.seed', '2')[0]
  assert config.seed == 2
  (tmp_path / 'flags').write_text('--config.seed=1\n')
  with warnings.catch_warnings():
    warnings.simplefilter('error')  # The same value, or that of a file.
    parse('optimize', '--config.seed=1', '--config.seed=1')
    file = f'--flagfile={tmp_path / "flags"}'
    assert parse('optimize', file, '--config.seed=2')[0].seed == 2
    parse('sweep', '--grid=seed=1,2', '--grid=num_steps=1,2')
