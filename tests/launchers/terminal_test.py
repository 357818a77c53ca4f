import errno
import os
import pickle
import subprocess
import sys

import pytest

from launchers import terminal
from launchers import view
from mmdist.core import errors
from mmdist.distribution import faults
from mmdist.results import remake


def raising(error: BaseException):
  def main():
    raise error

  return main


@pytest.mark.parametrize(
  'error, line',
  [
    (errors.UserError('no\nway'), 'error: no way'),
    (FileNotFoundError('no such run'), 'error: no such run'),
    (faults.PriorLost('normal', 3, 'gone'), "error: prior 'normal' was lost"),
    (errors.UserError(), 'error: UserError'),
    (errors.NotFinite('step 3: NaN'), 'error: step 3: NaN'),
    (OSError(errno.ENAMETOOLONG, 'File name too long', 'x' * 300), 'error: '),
    (OSError(errno.ELOOP, 'Too many levels', 'a'), 'error: [Errno 40] Too'),
    (OSError(errno.EIO, 'Input/output error', 'a'), 'error: [Errno 5] Input'),
  ],
)
def test_what_a_person_can_mend_is_one_line(capsys, error, line):
  assert terminal.call(raising(error), []) == 1
  written = capsys.readouterr().err
  assert written.startswith(line) and written.count('\n') == 1


@pytest.mark.parametrize(
  'words, is_shown',
  [
    (['--debug'], True),
    (['-debug'], True),
    (['--debug=true'], True),
    (['--debug=1', '--config.prompt=a', '--unknown', 'left over'], True),
    (['--flagfile=FILE'], True),
    (['--flagfile=nowhere', '--debug'], True),
    (['--debug', '--nodebug'], False),
    (['--debug=false'], False),
    (['--debug=maybe'], False),
    (['--', 'optimize', '--debug'], False),  # It is the job's.
    ([], False),
  ],
)
def test_debug_shows_where_it_came_from(capsys, tmp_path, words, is_shown):
  (tmp_path / 'flags').write_text('--debug=true\n')
  words = [word.replace('FILE', str(tmp_path / 'flags')) for word in words]
  assert terminal.call(raising(errors.UserError('no')), ['x', *words]) == 1
  written = capsys.readouterr().err
  assert ('Traceback' in written) == is_shown
  assert written.endswith('error: no\n')


@pytest.mark.parametrize(
  'kind', [KeyError, ValueError, TypeError, FloatingPointError, RuntimeError]
)
def test_a_programming_error_keeps_its_traceback(kind):
  with pytest.raises(kind):
    terminal.call(raising(kind('x')), [])


def prior_failed(cause: BaseException) -> faults.PriorFailed:
  error = faults.PriorFailed('mine', 3, faults.describe(cause))
  error.__cause__ = cause
  return error


def test_a_programming_error_in_a_prior_keeps_its_traceback():
  with pytest.raises(faults.PriorFailed):
    terminal.call(raising(prior_failed(TypeError('no len'))), [])


@pytest.mark.parametrize(
  'cause',
  [
    errors.UserError('no such layer'),
    FileNotFoundError('a.json'),
    MemoryError('no room'),
  ],
)
def test_what_a_person_can_mend_in_a_prior_is_one_line(capsys, cause):
  assert terminal.call(raising(prior_failed(cause)), []) == 1
  assert capsys.readouterr().err.startswith("error: prior 'mine' failed at")


def write_to_full_disk():
  with open('/dev/full', 'w') as file:
    file.write('x')


def lose_a_prior_to_a_full_disk():
  try:
    write_to_full_disk()
  except OSError as error:
    raise faults.PriorFailed('normal', 3, 'see above') from error


def lose_a_prior_to_what_was_put_in_words():
  full = OSError(errno.ENOSPC, 'checkpoint 3 was not saved')
  raise faults.PriorFailed('normal', 3, 'see above') from full


def forget_a_key_on_a_full_disk():
  try:
    write_to_full_disk()
  finally:
    raise KeyError('x')


@pytest.mark.parametrize(
  'function',
  [
    write_to_full_disk,
    lose_a_prior_to_a_full_disk,
    lose_a_prior_to_what_was_put_in_words,
    forget_a_key_on_a_full_disk,
    raising(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), 'a.png')),
    # As TensorStore and safetensors put it.
    raising(RuntimeError('RESOURCE_EXHAUSTED:\nNo space left on device')),
  ],
)
def test_a_full_disk_is_one_line_with_what_to_do(capsys, function):
  assert terminal.call(function, []) == 1
  written = capsys.readouterr().err
  assert written.startswith('error: ') and written.count('\n') == 1
  assert 'the disk is full. What was saved before is sound' in written
  assert 'free some space and give the same command again' in written


@pytest.mark.parametrize(
  'error',
  [
    OSError(errno.ENOSPC, 'checkpoint 3 was not saved'),
    PermissionError('run cannot be written (No space left on device)'),
  ],
)
def test_a_full_disk_that_was_put_in_words_keeps_them(capsys, error):
  assert terminal.call(raising(error), []) == 1
  assert capsys.readouterr().err == f'error: {error}\n'


def test_a_disk_that_became_read_only_is_one_line(capsys):
  error = OSError(errno.EROFS, os.strerror(errno.EROFS), 'runs/a/preview.png')
  assert terminal.call(raising(error), []) == 1
  written = capsys.readouterr().err
  assert 'Read-only file system' in written and written.count('\n') == 1
  assert 'runs/a/preview.png' in written and 'another folder' in written


@pytest.mark.parametrize(
  'number, remedy',
  [
    (errno.ENAMETOOLONG, 'a name has at most 255 bytes: give a shorter one.'),
    (errno.EACCES, 'have it made readable and writable for you'),
    (errno.ENOTDIR, 'give another path.'),
  ],
)
def test_an_error_of_the_system_says_what_to_do(capsys, number, remedy):
  assert terminal.call(raising(OSError(number, os.strerror(number), 'a')), [])
  assert remedy in capsys.readouterr().err
  ours = OSError(number, 'in our own words')
  assert terminal.call(raising(ours), [])
  assert capsys.readouterr().err == f'error: {ours}\n'


def test_any_other_error_of_the_system_is_one_line(capsys):
  for error in (OSError('x'), OSError(errno.EBADF, os.strerror(errno.EBADF))):
    assert terminal.call(raising(error), []) == 1
    assert capsys.readouterr().err == f'error: {error}\n'


def test_interruption_and_exit_have_their_codes(capsys):
  assert terminal.call(raising(KeyboardInterrupt()), []) == 130
  assert terminal.call(raising(SystemExit(3)), []) == 3
  assert terminal.call(raising(SystemExit(1)), ['x', '--help']) == 0
  assert terminal.call(lambda: None, []) == 0


def test_a_launcher_ends_with_its_exit_code(tmp_path):
  launcher = tmp_path / 'launch.py'
  launcher.write_text(
    'from launchers import config_flag, terminal\n'
    "config = config_flag.Config('experiment.py')\n"
    'main = lambda config: print(config.seed)\n'
    'terminal.Command(main, config=config).run()\n'
  )
  (tmp_path / 'experiment.py').write_text(
    'from mmdist.config import schema\nget_config = schema.RunConfig\n'
  )

  def launch(*words):
    return subprocess.run(
      [sys.executable, str(launcher), *words],
      cwd=tmp_path,
      env={'PYTHONPATH': ':'.join(sys.path)},
      capture_output=True,
      text=True,
    )

  good, bad = launch('--config.seed=7'), launch('--config.sed=7')
  assert (good.returncode, good.stdout) == (0, '7\n')
  assert bad.returncode == 1
  assert bad.stderr.startswith("error: no field 'sed'; did you mean 'seed'?")
  assert bad.stderr.count('\n') == 1


def test_a_warning_is_a_line_and_not_one_about_our_code():
  program = (
    'import warnings\n'
    'from launchers import terminal\n'
    "main = lambda: warnings.warn('mind\\nthe gap')\n"
    "terminal.Command(main).run(['x'])\n"
  )
  result = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True
  )
  assert result.stderr.splitlines()[-1] == 'warning: mind the gap'
  assert 'UserWarning' not in result.stderr


def test_help_is_the_docstring_and_the_flags_and_no_failure(capsys):
  command = terminal.Command(view.main, remake.Options, words='RUN')
  for words in (['--help'], ['mesh', 'runs/a', '-help'], ['--helpfull']):
    with pytest.raises(SystemExit) as exit_:
      command.run(['view', *words])
    assert not exit_.value.code
    said = capsys.readouterr().out
    assert said.startswith("Makes a run's pictures, mesh or splats")
    assert '--resolution' in said and '--[no]debug' in said


@pytest.mark.parametrize('words', [['--help'], ['optimize', '--help']])
def test_a_reader_that_goes_away_early_is_no_error(words):
  program = 'from launchers import console; console.main()'
  command = [sys.executable, '-c', program, *words]
  reader, writer = os.pipe()
  os.close(reader)  # As `| head -0` does.
  with open(writer, 'w') as stdout:
    result = subprocess.run(
      command, stdout=stdout, stderr=subprocess.PIPE, text=True
    )
  assert result.returncode == 141
  assert not result.stderr


def test_main_gets_plain_values():
  called = []

  def main(options, words):
    called.append((options, words))

  command = terminal.Command(main, remake.Options, words='RUN')
  with pytest.raises(SystemExit) as exit_:
    command.run(['view', 'mesh', '--resolution=16', 'runs/a', '--quality'])
  assert not exit_.value.code
  expected = remake.Options(resolution=16, quality=True)
  assert called == [(expected, ['mesh', 'runs/a'])]


def test_what_prints_a_line_can_be_sent_to_another_process(capsys):
  pickle.loads(pickle.dumps(terminal.say))('step 3')
  assert capsys.readouterr().out == 'step 3\n'
