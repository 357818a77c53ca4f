"""From the words of a command line to plain values.

Flags may come in any order, and from files that `--flagfile=FILE` names. Most
commands take flags only and refuse all other words: these are mostly the rest
of a value whose quotes were forgotten.
"""

from collections.abc import Sequence
import re

from absl import flags

from mmdist.core import errors

from . import config_flag
from . import error_lines
from . import flag_files
from . import option_flags
from . import slips


def asks_for_help(argv: Sequence[str]) -> bool:
  """Returns whether -h, --help, --helpfull or the like is among the words."""
  words, _ = _split_at_dashes(argv[1:])
  return any(re.fullmatch(r'--?(h|help\w*|\?)', word) for word in words)


def format_help(
  about: str, options: type | None, config: config_flag.Config | None
) -> str:
  """Returns the help of a command: what it is about, then every flag."""
  values = _define(options)
  if config:
    config_flag.define_for_help(config, values)
  return f'{about.strip()}\n\nFlags:\n\n{option_flags.format_help(values)}'


def parse(
  argv: Sequence[str],
  options: type | None,
  config: config_flag.Config | None = None,
  usage: str = '',
) -> list:
  """Returns what a command is called with.

  Args:
    argv: the program's name, then the words.
    options: dataclass of the command's options, if it has any.
    config: what its --config may be, if it has one.
    usage: which words that are no flags it takes; '' for none. If it begins
      with '--', they have to come after '--'.

  Returns:
    [configuration, options, words], each only if the command has it.

  Raises:
    UserError, FileNotFoundError: in one line; an experiment, preset, field
      or flag is unknown, a value is of the wrong type, or words are left over.
  """
  try:
    return _parse(argv, options, config, usage)
  except flags.Error as error:
    raise errors.UserError(' '.join(str(error).split())) from error


def _parse(
  argv: Sequence[str],
  options: type | None,
  config: config_flag.Config | None,
  usage: str,
) -> list:
  program, *words = argv
  typed, _ = _split_at_dashes(words)
  values = _define(options)
  # Files are read here and nowhere else: absl reads them as it parses, and
  # `config_flags` would read them once more.
  words = flag_files.read(words, values)
  slips.check_pasted(words)
  words, after_dashes = _split_at_dashes(words)
  given = words
  if config:
    words = config_flag.define(config, words, values)
  slips.check_values(words, values)
  slips.warn_of_twice(typed, values)
  left_over = values([program, *words])[1:]
  is_taken = usage and not usage.startswith('--')
  if left_over and not is_taken:
    raise errors.UserError(error_lines.explain_left_over(left_over, given))
  if after_dashes and not usage:
    raise errors.UserError(error_lines.explain_left_over(after_dashes, ()))
  result = []
  if config:
    config.check(values['config'].value)
    result.append(values['config'].value)
  if options:
    result.append(option_flags.read(options, values))
  if usage:
    result.append([*left_over, *after_dashes])
  return result


def _define(options: type | None) -> flags.FlagValues:
  """Returns the flags of a command, in an object of their own."""
  values = flags.FlagValues()
  values.set_gnu_getopt(True)  # Words and flags may be mixed.
  if options:
    option_flags.define(options, values)
  error_lines.define_debug(values)
  return values


def _split_at_dashes(words: Sequence[str]) -> tuple[list[str], list[str]]:
  """Returns the words before and after the first '--'."""
  words = list(words)
  at = words.index('--') if '--' in words else len(words)
  return words[:at], words[at + 1 :]
