"""Every path that somebody may give, wherever: `~` and remote storage.

What a door does with a path is `mmdist.core.local_paths`'; here all doors are
found, so that none is forgotten.
"""

import dataclasses
import importlib
import pathlib

import pytest

from launchers import command_line
from launchers import console
import mmdist
from mmdist.config import experiments
from mmdist.config import serialization
from mmdist.config import validation
from mmdist.core import asset_paths
from mmdist.core import options as options_lib
from mmdist.run import recipes
from mmdist.run import workdir as workdir_lib

COMMANDS = {
  name: importlib.import_module(f'launchers.{name}').COMMAND
  for name in console.COMMANDS
}
PATHS = [
  (name, field.name)
  for name, command in COMMANDS.items()
  for field in dataclasses.fields(command.options)
  if options_lib.describe(field).is_path
]
# Texts that are no paths. A new option is either here or says `is_path`.
NO_PATHS = {
  'channel',
  'device',
  'dtype',
  'executor',
  'host',
  'job',
  'kind',
  'optimizer',
  'prediction',
  'prompt',
  'python',  # Of another machine.
  'ray_address',
  'shards',
  'siblings',
  'study',
  'subject',  # Of `evaluate`: FAMILY:INDEX. Of `personalize` it is a path.
  'truth',
  'world',
}
REMOTE = 'gs://bucket/x'
CONFIG_PATHS = (
  'nerf_assets',
  'priors.generic.directory',
  'priors.generic.lora',
  'priors.generic.base',
  'results.judge',
)


@pytest.fixture(name='home', autouse=True)
def fixture_home(tmp_path, monkeypatch):
  """An empty folder that is home and the working folder."""
  monkeypatch.setenv('HOME', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  return tmp_path


def parse(name: str, **values: str):
  """Returns the options of a command line; what is required is 'x'."""
  command = COMMANDS[name]
  for field in dataclasses.fields(command.options):
    if field.default is options_lib.REQUIRED:
      choices = options_lib.describe(field).choices
      values.setdefault(field.name, choices[0] if choices else 'x')
  words = [f'--{key}={value}' for key, value in values.items()]
  parsed = command_line.parse(
    [name, *words], command.options, command.config, command.words
  )
  (options,) = [p for p in parsed if isinstance(p, command.options)]
  return options


def test_every_text_is_known_to_be_a_path_or_none():
  unknown = {
    field.name
    for command in COMMANDS.values()
    for field in dataclasses.fields(command.options)
    if field.type in (str, str | None)
    and not options_lib.describe(field).is_path
  }
  assert unknown == NO_PATHS


@pytest.mark.parametrize('command, flag', PATHS)
def test_a_flag_finds_the_home_folder(command, flag, home):
  options = parse(command, **{flag: '~/some/where'})
  assert getattr(options, flag) == str(home / 'some/where')


@pytest.mark.parametrize('command, flag', PATHS)
def test_a_flag_in_remote_storage_is_one_line(command, flag):
  with pytest.raises(mmdist.errors.UserError) as error:
    parse(command, **{flag: REMOTE})
  assert str(error.value).startswith(f"{flag} '{REMOTE}' is in remote storage")
  assert '\n' not in str(error.value)


# What is no name in any file system. A prompt soon is none.
NO_NAMES = {
  'a long name': ('runs/' + 'a portrait of a happy man ' * 12, '312 bytes'),
  'a long name of few letters': ('\u2603' * 90, '270 bytes'),
  'a long path': ('directory/' * 420 + 'x', '4201 bytes'),
  'a null byte': ('runs/a\0b', 'a null byte'),
}


@pytest.mark.parametrize('text, line', NO_NAMES.values(), ids=NO_NAMES)
@pytest.mark.parametrize('command, flag', PATHS)
def test_a_flag_that_no_file_can_be_called_is_one_line(
  command, flag, text, line
):
  with pytest.raises(mmdist.errors.UserError) as error:
    parse(command, **{flag: text})
  told = str(error.value)
  assert told.startswith(f"{flag} '") and line in told
  assert told.isprintable() and len(told) < 250


def small() -> mmdist.RunConfig:
  return experiments.load('smoke')


def personalize(**paths):
  from mmdist.training import personalization

  given = {'kind': 'photos', 'out': 'out', 'prompt': 'a [v] man'} | paths
  return personalization.train(personalization.Options(**given))


def train(module: str, function: str, *before, **paths):
  module = importlib.import_module(module)
  options = module.Options(**({'out': 'out'} | paths))
  return getattr(module, function)(*before, options)


def evaluate(runs, **paths):
  from mmdist.evaluation import run_evaluation

  return run_evaluation.evaluate(runs, run_evaluation.Options(**paths))


def evaluate_prior(prior, **paths):
  from mmdist.evaluation import prior_evaluation

  options = prior_evaluation.Options(num=1, **paths)
  return prior_evaluation.evaluate_prior(prior, options)


def view(run):
  from mmdist.results import remake

  return remake.remake('sheet', run)


def live(run):
  from mmdist.results import live_server

  return live_server.FollowedRun(run)


def film_codes(nerf='nerf', out='out'):
  return mmdist.film_codes(nerf, out, num_subjects=2, frames=2, resolution=8)


def digest(run):
  from mmdist.run import opening

  return opening.digest(run)


def pretrain(**paths):
  from mmdist.learner import pretrain as pretrain_lib

  config = pretrain_lib.PretrainConfig(num_steps=1)
  return train('mmdist.training.pretraining', 'pretrain', config, **paths)


TRAIN_PRIOR = ('mmdist.training.prior_training', 'train_in_processes')
DOORS = {
  'optimize': lambda p: mmdist.optimize('a man', p, config=small()),
  'open_run': mmdist.open_run,
  'sweep': lambda p: mmdist.sweep(mmdist.grid(small(), {'seed': [0, 1]}), p),
  'trajectory': lambda p: mmdist.trajectory(['a man'], p, config=small()),
  'personalize out': lambda p: mmdist.personalize(
    'photos', prompt='a [v] man', out=p
  ),
  'personalize photos': lambda p: mmdist.personalize(
    p, prompt='a [v] man', out='out'
  ),
  'personalize subject': lambda p: mmdist.personalize(
    subject=p, prompt='a [v] man', out='out'
  ),
  'personalize prior': lambda p: mmdist.personalize(
    'photos', prompt='a [v] man', out='out', prior=p
  ),
  'personalize boxes': lambda p: personalize(images='photos', boxes=str(p)),
  'evaluate': lambda p: evaluate([p]),
  'evaluate judge': lambda p: evaluate([], judge=str(p)),
  'evaluate clip': lambda p: evaluate([], clip=str(p)),
  'evaluate digest': digest,
  'evaluate_prior': lambda p: evaluate_prior(str(p)),
  'evaluate_prior sheet': lambda p: evaluate_prior('color', sheet=str(p)),
  'view': view,
  'view live': live,
  'film_codes nerf': film_codes,
  'film_codes out': lambda p: film_codes(out=p),
  'heads': lambda p: train('mmdist.heads.folders', 'write', out=str(p)),
  'pretrain out': lambda p: pretrain(out=str(p)),
  'pretrain data': lambda p: pretrain(data=str(p)),
  'train_prior out': lambda p: train(*TRAIN_PRIOR, out=str(p), data='x'),
  'train_prior data': lambda p: train(*TRAIN_PRIOR, data=str(p)),
  'train_judge': lambda p: train(
    'mmdist.training.judge_training', 'train', out=str(p), data='x'
  ),
  'claim': lambda p: workdir_lib.claim(p, small()),
  'an experiment': lambda p: experiments.load(str(p)),
  'a prior': lambda p: mmdist.optimize('a man', 'out', priors={'a': p}),
}


@pytest.mark.parametrize('kind', [str, pathlib.Path])
@pytest.mark.parametrize('door', DOORS)
def test_from_python_remote_storage_is_refused_and_nothing_written(
  door, kind, home
):
  with pytest.raises(mmdist.errors.UserError) as error:
    DOORS[door](kind(REMOTE))
  assert f'{REMOTE}' in str(error.value)
  assert 'is in remote storage' in str(error.value)
  assert '\n' not in str(error.value)
  assert not list(home.iterdir())


@pytest.mark.parametrize('kind', [str, pathlib.Path])
@pytest.mark.parametrize('door', DOORS)
def test_from_python_a_name_that_is_none_is_refused(door, kind, home):
  with pytest.raises(mmdist.errors.UserError, match='312 bytes') as error:
    DOORS[door](kind('a portrait of a happy man ' * 12))
  assert '\n' not in str(error.value)
  assert not list(home.iterdir())


@pytest.mark.parametrize('field', CONFIG_PATHS)
def test_a_field_that_no_file_can_be_called_is_refused(field, home):
  config = small()
  *above, name = field.split('.')
  owners = {'priors': config.priors['generic'], 'results': config.results}
  setattr(owners[above[0]] if above else config, name, 'a/' + 'b' * 256)
  line = f"{field} 'a/b.* 256 bytes"
  with pytest.raises(mmdist.errors.UserError, match=line):
    mmdist.optimize('a man', 'out', config=config)
  assert not list(home.iterdir())


@pytest.mark.parametrize('field', CONFIG_PATHS)
def test_a_field_in_remote_storage_is_refused(field, home):
  config = small()
  *above, name = field.split('.')
  owners = {'priors': config.priors['generic'], 'results': config.results}
  owner = owners[above[0]] if above else config
  setattr(owner, name, REMOTE)
  with pytest.raises(
    mmdist.errors.UserError, match=f"{field} '{REMOTE}' is in remote storage"
  ):
    mmdist.optimize('a man', 'out', config=config)
  assert not list(home.iterdir())


def test_the_fields_that_are_paths_are_known():
  told = {
    path
    for path in serialization.flatten(small())
    for words in [path.rpartition('.')[2]]
    if words in ('directory', 'lora', 'base', 'nerf_assets', 'judge')
  }
  checked = {p for p in told if validation.is_path(p)}
  assert checked == told


def test_fields_are_opened_at_home(home):
  from mmdist.priors import digest
  from mmdist.priors import locate
  from mmdist.priors import lora_files

  folder, lora = home / 'prior', home / 'mine.safetensors'
  folder.mkdir()
  lora.touch()
  prior = mmdist.Prior(
    '~/prior',
    lora='~/mine.safetensors',
    loras=[('~/mine.safetensors', 0.5)],
    base='~/prior',
  )
  spec = recipes.make_spec('generic', prior, 1)
  assert spec.options.directory == str(folder)
  assert spec.options.lora == str(lora)
  assert spec.options.loras == ((str(lora), 0.5),)
  assert spec.options.base == str(folder)
  assert locate.locate('~/prior') == asset_paths.resolve('~/prior')
  assert asset_paths.resolve('~/prior') == str(folder.resolve())
  with pytest.raises(ValueError, match=f'{lora} is corrupt'):
    lora_files.check_lora('~/mine.safetensors')
  assert digest.weight_digests('color', '~/mine.safetensors')['lora']


def test_a_run_is_opened_at_home(home):
  run = home / 'run'
  workdir_lib.claim('~/run', small())
  assert mmdist.open_run('~/run').workdir == run
  with workdir_lib.locked('~/run'):
    assert (run / '.lock').exists()
  assert [path.name for path in home.iterdir()] == ['run']


def test_a_personal_prior_is_found_again():
  from mmdist.api import personalizing

  made = personalizing.prior_of('~/me', 'a [v] portrait of a man')
  assert made.directory == str(pathlib.Path.home() / 'me')
