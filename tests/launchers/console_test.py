"""The one command, and that every launcher is one of its subcommands."""

import importlib
import os
import pathlib
import subprocess
import sys

import pytest

from launchers import console
from launchers import terminal
import mmdist

FOLDER = pathlib.Path(console.__file__).parent


def call(capsys, *words):
  """Returns the exit code, what was printed and what was said on stderr."""
  with pytest.raises(SystemExit) as exit_:
    console.main(['mmdist', *words])
  said = capsys.readouterr()
  return exit_.value.code or 0, said.out, said.err


def test_every_launcher_is_a_subcommand():
  launchers = {
    path.stem
    for path in FOLDER.glob('*.py')
    if "if __name__ == '__main__':" in path.read_text()
  }
  assert launchers == set(console.COMMANDS)


def test_help_lists_every_command_with_a_line(capsys):
  code, out, _ = call(capsys, '--help')
  assert code == 0
  for name in console.COMMANDS:
    (line,) = [x for x in out.splitlines() if x.split()[:1] == [name]]
    assert len(line.split()) > 4
  assert call(capsys)[0] == 1  # The same, but nothing was asked for.


def test_the_version_is_the_packages(capsys):
  assert call(capsys, '--version')[:2] == (0, f'mmdist {mmdist.__version__}\n')


def test_an_unknown_command_names_the_nearest(capsys):
  code, _, err = call(capsys, 'optimise')
  assert code == 1
  assert err.startswith("error: unknown command 'optimise'; did you mean")
  assert "'optimize'?" in err and err.count('\n') == 1


@pytest.mark.parametrize('name', console.COMMANDS)
def test_every_command_has_help_of_its_own(name, capsys):
  code, out, _ = call(capsys, name, '--help')
  assert code == 0
  assert out.startswith(console.summary(name))
  assert 'Flags:' in out and f'mmdist {name}' in out


def test_a_dash_in_a_commands_name_is_as_good(capsys):
  code, out, _ = call(capsys, 'train-judge', '--help')
  assert code == 0 and out.startswith('Trains the judge')


def test_launchers_can_be_imported_together():
  for name in console.COMMANDS:
    module = importlib.import_module(f'launchers.{name}')
    assert isinstance(module.COMMAND, terminal.Command)


@pytest.mark.slow
def test_help_of_all_imports_neither_jax_nor_torch():
  program = (
    'import sys\n'
    'from launchers import console\n'
    'text = console.format_help()\n'
    "sys.exit(bool({'jax', 'torch', 'ray'} & set(sys.modules)))\n"
  )
  root = FOLDER.parent
  environment = os.environ | {'PYTHONPATH': str(root)}
  subprocess.run(
    [sys.executable, '-c', program], check=True, env=environment, cwd=root
  )
