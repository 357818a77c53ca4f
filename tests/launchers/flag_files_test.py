"""What is said of a file of flags that cannot be read, by every command."""

import pytest

from launchers import command_line
from launchers import flag_files
from launchers import submit
from mmdist.core import errors
from mmdist.results import remake

LATIN = 'a man of K\u00f6ln'.encode('latin-1')


def error_of(*words: str) -> str:
  """Returns the one line that is said of words."""
  with pytest.raises(errors.UserError) as error:
    flag_files.read(words)
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  'word', ['--flagfile={}', '-flagfile={}', '--flagfile']
)
def test_a_file_of_flags_that_is_no_text_is_named(tmp_path, word):
  good, bad = tmp_path / 'good', tmp_path / 'bad'
  good.write_text('--port=1')
  bad.write_bytes(b'--config.prompt=' + LATIN)
  words = [word.format(bad)] + [str(bad)] * ('{}' not in word)
  line = error_of(f'--flagfile={good}', *words)
  assert line.startswith(f'--flagfile is {bad}, which is not in utf-8 (')
  assert line.endswith('expected a text file with one flag in each line.')


def test_a_file_of_flags_that_another_one_names_may_be_no_text(tmp_path):
  outer, inner = tmp_path / 'outer', tmp_path / 'inner'
  inner.write_bytes(LATIN)
  outer.write_text(f'--flagfile={inner}')
  line = error_of(f'--flagfile={outer}')
  assert line.startswith('a file that is named in that of --flagfile is not in')


def test_a_file_of_flags_that_is_not_there_says_what_was_expected(tmp_path):
  line = error_of(f'--flagfile={tmp_path}/nowhere')
  assert line == (
    f'--flagfile is {tmp_path}/nowhere, which cannot be read (No such file or '
    'directory); expected a text file with one flag in each line.'
  )
  assert 'Is a directory' in error_of(f'--flagfile={tmp_path}')


@pytest.mark.parametrize('word', ['--flagfile={}', '--debug=no --flagfile={}'])
def test_no_command_shows_a_traceback_of_a_file_that_is_no_text(
  tmp_path, word, capsys
):
  bad = tmp_path / 'bad'
  bad.write_bytes(LATIN)
  words = word.format(bad).split()
  with pytest.raises(errors.UserError):
    command_line.parse(['view', *words], remake.Options, None, 'RUN')
  required = ['submit', '--ray_address=head:8265', '--job=a']
  for line in ([*required, *words], [*required, '--', 'optimize', *words]):
    with pytest.raises(SystemExit) as exit_:
      submit.COMMAND.run(line)
    said = capsys.readouterr().err
    assert exit_.value.code == 1 and said.count('\n') == 1
    assert said.startswith(f'error: --flagfile is {bad}, which is not in utf-8')


def test_a_file_of_flags_may_have_the_mark_of_windows(tmp_path):
  (tmp_path / 'flags').write_text('--port=7\r\n--host=a\r\n', 'utf-8-sig')
  words = [f'--flagfile={tmp_path / "flags"}']
  (options,) = command_line.parse(['view', *words], remake.Options)
  assert (options.port, options.host) == (7, 'a')
