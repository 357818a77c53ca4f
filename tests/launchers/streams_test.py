"""What commands print where the terminal is not UTF-8, or not there at all."""

import os
import subprocess
import sys

import pytest

# Says, warns and fails as commands do, with a letter of three encodings.
PROGRAM = """
import warnings
from launchers import terminal
from mmdist.core import errors, progress, saying, tables

def main():
  print('printed \\u2603 \\U0001f642 \\xe9')
  saying.say('said \\u2603')
  saying.write('written \\u2603\\n')
  print(tables.Table(('text',), ({'text': '\\u2603'},)))
  with progress.Progress(1) as shown:
    shown.update('counted \\u2603')
  warnings.warn('warned \\u2603 \\udcff')
  raise errors.UserError('failed \\u2603')

terminal.Command(main).run(['x'])
"""
ASCII_SNOWMAN = r'\u2603'


def run(program: str = PROGRAM, redirection: str = '', **variables: str):
  script = f'exec "$0" -c "$1" {redirection}'
  return subprocess.run(
    ['sh', '-c', script, sys.executable, program],
    env=os.environ | variables,
    capture_output=True,
  )


@pytest.mark.parametrize(
  'variables, encoding',
  [
    ({'PYTHONIOENCODING': 'ascii'}, 'ascii'),
    ({'PYTHONIOENCODING': 'latin-1'}, 'latin-1'),
    ({'PYTHONIOENCODING': 'cp1252'}, 'cp1252'),
    ({'PYTHONIOENCODING': 'ascii:strict'}, 'ascii'),
    (
      {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'},
      'ascii',
    ),
  ],
)
def test_what_a_terminal_cannot_show_is_escaped(variables, encoding):
  done = run(**variables)
  assert done.returncode == 1
  said, complained = done.stdout.decode(encoding), done.stderr.decode(encoding)
  accent = 'é'.encode(encoding, 'backslashreplace').decode(encoding)
  assert said.splitlines() == [
    f'printed {ASCII_SNOWMAN} \\U0001f642 {accent}',
    f'said {ASCII_SNOWMAN}',
    f'written {ASCII_SNOWMAN}',
    'text',
    ASCII_SNOWMAN,
  ]
  lines = complained.splitlines()
  assert lines[0].endswith(f'counted {ASCII_SNOWMAN}')
  assert lines[1:] == [
    f'warning: warned {ASCII_SNOWMAN} \\udcff',
    f'error: failed {ASCII_SNOWMAN}',
  ]


def test_a_terminal_in_utf_8_shows_every_letter():
  done = run(PYTHONIOENCODING='utf-8')
  assert done.stdout.decode().startswith('printed ☃ 🙂 é\nsaid ☃\nwritten ☃\n')
  assert done.stderr.decode().endswith('error: failed ☃\n')


@pytest.mark.parametrize(
  'redirection', ['>&-', '2>&-', '<&-', '<&- >&- 2>&-', '>&- 2>&-']
)
def test_closed_streams_are_no_error_and_no_file_of_ours(redirection, tmp_path):
  # What a library prints must not end up in the next file that is opened.
  program = PROGRAM.replace(
    'def main():',
    f'def main():\n  import os, sys\n'
    f'  file = open({str(tmp_path / "a")!r}, "w")'
    '\n  assert file.fileno() > 2 and not sys.stdout.isatty()'
    '\n  os.write(1, b""); os.write(2, b"")',
  )
  done = run(program, redirection)
  assert done.returncode == 1
  assert b'Traceback' not in done.stderr
  if '2>' not in redirection:
    assert done.stderr.endswith(b'failed \xe2\x98\x83\n')
  assert not (tmp_path / 'a').read_bytes()


def test_the_library_prints_every_letter_without_a_launcher():
  program = (
    'import sys\n'
    'from mmdist.core import progress, saying\n'
    "saying.say('\\u2603')\n"
    'sys.stdout = sys.stderr = None\n'
    "saying.say('\\u2603'); saying.write('\\u2603')\n"
    "with progress.Progress(1) as shown: shown.update('\\u2603')\n"
  )
  done = run(program, PYTHONIOENCODING='ascii')
  assert (done.returncode, done.stdout) == (0, b'\\u2603\n')
