"""The command `mmdist`: every launcher is one of its subcommands."""

import ast
import importlib
import pathlib
import sys

import mmdist
from mmdist.core import names

from . import streams
from . import terminal

COMMANDS = (
  'optimize',
  'view',
  'evaluate',
  'personalize',
  'sweep',
  'trajectory',
  'submit',
  'evaluate_prior',
  'heads',
  'pretrain',
  'train_prior',
  'train_judge',
)


def main(argv: list[str] | None = None) -> None:
  """Runs a subcommand and exits; see `terminal.Command.run`."""
  streams.set_up()
  program, *words = sys.argv if argv is None else argv
  if not words or words[0] in ('-h', '--help', 'help'):
    code = terminal.call(lambda: print(format_help()), words)
    sys.exit(code if words else 1)
  if words[0] == '--version':
    print(f'mmdist {mmdist.__version__}')
    sys.exit(0)
  name, *rest = words
  name = name.replace('-', '_')
  if name not in COMMANDS:
    line = names.unknown('command', words[0], COMMANDS, 'Commands')
    print(f'error: {line}', file=sys.stderr)
    sys.exit(1)
  # Only this command is imported, and what it needs.
  module = importlib.import_module(f'{__package__}.{name}')
  module.COMMAND.run([f'{program} {name}', *rest])


def format_help() -> str:
  """Returns every command and the first line of its docstring."""
  width = max(map(len, COMMANDS))
  lines = [f'  {name:{width}}  {summary(name)}' for name in COMMANDS]
  return '\n'.join(
    [
      'Usage: mmdist COMMAND [FLAG ...]',
      '',
      *lines,
      '',
      'mmdist COMMAND --help says more of one; mmdist --version the version.',
    ]
  )


def summary(name: str) -> str:
  """Returns the first line of a launcher's docstring, without importing it."""
  path = pathlib.Path(__file__).with_name(f'{name}.py')
  tree = ast.parse(path.read_text(encoding='utf-8'))
  return (ast.get_docstring(tree) or '').partition('\n')[0]
