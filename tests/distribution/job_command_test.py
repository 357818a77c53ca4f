import shlex

import pytest

from mmdist.core import errors
from mmdist.distribution import job_command


def test_a_job_runs_the_command_in_its_own_cluster_with_the_code_it_brought():
  command = job_command.prepare(
    ['optimize', '--config=generate', '--workdir=/shared/run']
  )
  assert command.words == (
    'optimize',
    '--config=generate',
    '--workdir=/shared/run',
    '--ray_address=auto',
    '--noship_code',
  )
  assert command.log_of('a-attempt-1') == '/shared/run.a-attempt-1.log'


@pytest.mark.parametrize(
  'command, joins',
  [('optimize', False), ('trajectory', False), ('sweep', True)],
)
def test_a_job_with_its_priors_in_one_process_joins_no_cluster_for_them(
  command, joins
):
  words = [command, '--executor=inline', '--workdir=/shared/run']
  added = job_command.prepare(words).words[3:]
  assert ('--ray_address=auto' in added) is joins
  assert '--noship_code' in added


def test_paths_of_here_are_absolute_there_and_names_stay(tmp_path):
  (tmp_path / 'mine').mkdir()
  command = job_command.prepare(
    [
      'sweep',
      '--workdir=runs/a/',
      '--cells=mine/../mine',
      '--config.priors.generic.directory=color',
      '--config.priors.normal.directory=OWNER/NAME@0123',
      '--config=experiments/smoke.py:tiny',
      '--config.prompt=green and/or red',
    ],
    str(tmp_path),
  )
  assert command.workdir == f'{tmp_path}/runs/a'
  assert command.words[1:7] == (
    f'--workdir={tmp_path}/runs/a',
    f'--cells={tmp_path}/mine',
    '--config.priors.generic.directory=color',
    '--config.priors.normal.directory=OWNER/NAME@0123',
    '--config=experiments/smoke.py:tiny',
    '--config.prompt=green and/or red',
  )


def test_paths_of_a_folder_that_is_sent_stay_relative(tmp_path):
  (tmp_path / 'mine').mkdir()
  words = ['sweep', '--workdir=runs/a', '--cells=./mine']
  command = job_command.prepare(words, str(tmp_path), is_sent=True)
  assert command.words[1:3] == (
    f'--workdir={tmp_path}/runs/a',
    '--cells=./mine',
  )


def test_words_reach_the_program_as_they_were_typed():
  prompt = '--config.prompt=it\'s a $HOME; rm -rf `x` "y"'
  command = job_command.prepare(['optimize', '--workdir=/a b', prompt])
  line = command.entrypoint('j-attempt-1', 'python3')
  first, *words = shlex.split(line)
  assert first == 'exec'
  assert words[:3] == ['python3', '-m', 'mmdist.distribution.job_entry']
  assert words[3] == '/a b.j-attempt-1.log'
  assert words[4:7] == ['optimize', '--workdir=/a b', prompt]


@pytest.mark.parametrize(
  'words, line',
  [
    ([], "expected a command after '--'"),
    (['optimise', '--workdir=a'], "did you mean 'optimize'"),
    (
      ['evaluate', '--workdir=a'],
      'Expected one of: optimize, sweep, trajectory',
    ),
    (['optimize'], 'optimize has no --workdir'),
    (['optimize', '--workdir='], 'optimize has no --workdir'),
    (['optimize', '--workdir', 'a'], 'optimize has no --workdir'),
    (['sweep', '--workdir=a', '--ray_address=b'], 'leave it out there'),
    (['optimize', '--workdir=/'], 'expected a folder below it'),
    (['optimize', '--workdir=//'], 'expected a folder below it'),
  ],
)
def test_what_cannot_be_a_job_is_one_line(words, line):
  with pytest.raises(errors.UserError) as refused:
    job_command.prepare(words)
  assert line in str(refused.value) and '\n' not in str(refused.value)


@pytest.mark.parametrize('is_sent', [False, True])
@pytest.mark.parametrize(
  'flag',
  ['workdir', 'cells', 'judge', 'config', 'config.nerf_assets']
  + ['config.priors.generic.lora', 'config.base.priors.normal.directory']
  + ['config.results.judge'],
)
@pytest.mark.parametrize(
  'path', ['gs://b/x', 's3:b', 'memory://x', 'file:///x']
)
def test_no_job_is_given_a_path_in_remote_storage(flag, path, is_sent):
  words = ['sweep', '--workdir=/shared/run', f'--{flag}={path}']
  with pytest.raises(errors.UserError) as refused:
    job_command.prepare(words, '/here', is_sent)
  line = str(refused.value)
  assert line.startswith(f"--{flag} '{path}' is ") and '\n' not in line


def test_the_files_of_loras_are_made_absolute(tmp_path):
  (tmp_path / 'hat.safetensors').touch()
  flag = '--config.priors.generic.loras'
  words = [
    'optimize',
    '--workdir=/shared/run',
    f'{flag}=[(hat.safetensors, 2)]',
  ]
  command = job_command.prepare(words, str(tmp_path))
  assert f"{flag}=[('{tmp_path}/hat.safetensors', 2.0)]" in command.words
  sent = job_command.prepare(words, str(tmp_path), is_sent=True)
  assert words[-1] in sent.words
  with pytest.raises(errors.UserError, match='remote storage'):
    job_command.prepare([*words[:2], f'{flag}=[(gs://b/hat, 1)]'])


def test_the_home_of_nobody_is_no_work_folder_of_a_job():
  with pytest.raises(errors.UserError, match='home of a user'):
    job_command.prepare(['optimize', '--workdir=~nobody_here/runs'])
