import dataclasses
import importlib

import pytest

from launchers import command_line
from launchers import flag_files
from launchers import submit
from mmdist.config import schema
from mmdist.config import serialization
from mmdist.config import validation
from mmdist.core import errors
from mmdist.core import options as options_lib
from mmdist.distribution import job_command
from mmdist.distribution import job_submission


def test_the_words_of_the_job_stand_after_two_dashes():
  options, words = command_line.parse(
    ['submit', '--ray_address=http://head:8265', '--job=green', '--num_gpus=1']
    + ['--', 'optimize', '--config.prompt=a b', '--workdir=w', '--job=x'],
    job_submission.Options,
    None,
    submit.COMMAND.words,
  )
  assert options.job == 'green' and options.num_gpus == 1.0
  assert words == ['optimize', '--config.prompt=a b', '--workdir=w', '--job=x']


def test_a_file_of_flags_is_read_here_since_the_job_may_not_see_it(tmp_path):
  path = tmp_path / 'flags'
  path.write_text("# ours\n--config.prompt=it's a man\n--config.seed=3\n")
  words = flag_files.read(['optimize', f'--flagfile={path}', '--workdir=w'])
  assert words == [
    'optimize',
    "--config.prompt=it's a man",
    '--config.seed=3',
    '--workdir=w',
  ]
  with pytest.raises(errors.UserError, match='nowhere') as error:
    flag_files.read(['optimize', '--flagfile=nowhere'])
  assert '\n' not in str(error.value)


def test_a_mistake_is_one_line_before_any_server_is_asked(capsys):
  with pytest.raises(SystemExit) as exit_:
    submit.COMMAND.run(
      ['submit', '--ray_address=head:8265', '--job=a', '--', 'view']
    )
  said = capsys.readouterr()
  assert exit_.value.code == 1 and said.err.count('\n') == 1
  assert 'Expected one of: optimize, sweep, trajectory' in said.err


@pytest.mark.parametrize('name', job_command.COMMANDS)
def test_a_command_that_may_be_a_job_has_the_flags_that_a_job_adds(name):
  command = importlib.import_module(f'launchers.{name}').COMMAND
  job = job_command.prepare([name, '--workdir=/shared/run'])
  _, options, *_ = command_line.parse(
    [*job.words], command.options, command.config, command.words
  )
  assert options.ray_address == 'auto' and options.ship_code is False
  assert options.preflight_only is False


@pytest.mark.parametrize('name', job_command.COMMANDS)
def test_every_path_that_a_job_may_be_given_is_known_as_one(name):
  command = importlib.import_module(f'launchers.{name}').COMMAND
  known = {
    field.name: options_lib.describe(field).is_path
    for field in dataclasses.fields(command.options)
  }
  for field in serialization.flatten(schema.RunConfig()):
    known[f'config.{field}'] = validation.is_path(field)
  assert sum(known.values()) >= 7
  for flag, is_path in known.items():
    assert bool(job_command.PATHS.fullmatch(flag)) is is_path, flag
