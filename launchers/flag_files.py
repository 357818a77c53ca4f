"""Files of flags, `--flagfile=FILE`: one flag in each line, any number of them.

absl reads them. What it says of a file that cannot be read is put here into a
line for a person.
"""

from collections.abc import Sequence
import os
import pathlib
import re

from absl import flags

from mmdist.core import errors

_EXPECTED = 'expected a text file with one flag in each line'


def read(
  words: Sequence[str], values: flags.FlagValues | None = None
) -> list[str]:
  """Returns words in which --flagfile=FILE is replaced by what FILE says.

  Args:
    words: of a command line, without the program's name.
    values: the flags that are known; of any other, a value that is a word of
      its own is not known to be one.

  Raises:
    UserError: a file cannot be read, in one line.
  """
  values = flags.FlagValues() if values is None else values
  try:
    read = values.read_flags_from_files(list(words))
    # A file of Windows may begin with a mark, which is no part of its flag.
    return [word.removeprefix('\ufeff') for word in read]
  except flags.CantOpenFlagFileError as error:
    cause = error.__context__
    if not isinstance(cause, OSError):
      raise
    raise errors.UserError(
      f'--flagfile is {cause.filename}, which cannot be read '
      f'({cause.strerror}); {_EXPECTED}.'
    ) from error
  except UnicodeDecodeError as error:
    raise errors.UserError(
      f'{_find_undecodable(words)} is not in {error.encoding} '
      f'({error.reason}); {_EXPECTED}.'
    ) from error


def _find_undecodable(words: Sequence[str]) -> str:
  """Returns what to call the file that is no text."""
  for word, following in zip(words, [*words[1:], ''], strict=True):
    match = re.fullmatch(r'--?flagfile(=(.*))?', word, re.DOTALL)
    if not match:
      continue
    name = os.path.expanduser((match[2] or following).strip())
    try:
      pathlib.Path(name).read_text()
    except UnicodeDecodeError:
      return f'--flagfile is {name}, which'
    except OSError:
      continue
  return 'a file that is named in that of --flagfile'
