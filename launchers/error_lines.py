"""Which errors a person at the terminal can mend, and the line about each."""

from collections.abc import Sequence
import contextlib
import errno
import os

from absl import flags

from mmdist.core import errors
from mmdist.core import full_disk
from mmdist.distribution import faults

# What to do where the system itself says only what is wrong.
_REMEDIES = {
  errno.EACCES: 'have it made readable and writable for you, or give another',
  errno.EEXIST: 'give another path',
  errno.ENAMETOOLONG: 'a name has at most 255 bytes: give a shorter one',
  errno.ENOTDIR: 'a file stands where a folder is expected: give another path',
  errno.EROFS: 'make it writable, or give another folder',
}


def define_debug(values: flags.FlagValues) -> None:
  """Defines --debug, which every command has."""
  flags.DEFINE_bool(
    'debug', False, 'Show the traceback of any error.', flag_values=values
  )


def asks_for_debug(argv: Sequence[str]) -> bool:
  """Returns whether --debug is set, also beside a file that is no text."""
  for words in (argv[1:], [w for w in argv[1:] if 'flagfile' not in w]):
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    define_debug(values)
    with contextlib.suppress(flags.Error, UnicodeError):
      values(['', *words], known_only=True)
      return bool(values['debug'].value)
  return False


def explain(error: Exception) -> str | None:
  """Returns the line for a person; None if a program is at fault.

  A person can mend a `UserError` and whatever the operating system refuses,
  and can do something about numbers that are not finite. Anything else is a
  mistake in a program, whose traceback has to be seen.
  """
  if full_disk.is_meant(error) and not _explains_itself(error):
    return (
      f'{one_line(error)}: the disk is full. What was saved before is sound, '
      'the last checkpoint too; free some space and give the same command '
      'again, which goes on from there.'
    )
  if isinstance(error, OSError) and error.errno in _REMEDIES:
    # What we put in words ourselves says what to do.
    if error.errno == errno.EROFS or error.strerror == os.strerror(error.errno):
      return f'{one_line(error)}; {_REMEDIES[error.errno]}.'
  return one_line(error) if _is_for_a_person(error) else None


def _explains_itself(error: Exception) -> bool:
  """Returns whether the error's own text says that the disk is full.

  That of `mmdist.run.checkpointing` does, for example.
  """
  if not isinstance(error, OSError):
    return False
  # The operating system itself always gives a number, and its own words.
  return error.errno is None or (
    error.errno in full_disk.ERRNOS and error.strerror not in full_disk.TEXTS
  )


def _is_for_a_person(error: BaseException) -> bool:
  if isinstance(error, errors.NotFinite):
    return True
  cause = error.__cause__
  if isinstance(error, faults.PriorFailed) and cause is not None:
    # The prior raised. What it raised decides whether a person can mend it.
    return _is_for_a_person(cause) or _is_out_of_memory(cause)
  return isinstance(error, (errors.UserError, OSError))


def _is_out_of_memory(error: BaseException) -> bool:
  # Torch's own error is told by its name, so that torch is not imported here.
  return isinstance(error, MemoryError) or (
    'OutOfMemory' in type(error).__name__
  )


def one_line(error: BaseException) -> str:
  """Returns the error as a line; that of an OSError names the file, too."""
  return 'error: ' + (' '.join(str(error).split()) or type(error).__name__)


def explain_left_over(left_over: Sequence[str], given: Sequence[str]) -> str:
  """Returns the line about words that are no flags where none is taken.

  Args:
    left_over: those words.
    given: all words of the command line, to find what stood before.
  """
  text = ' '.join(left_over)
  line = f"'{text}' is left over: no word that is not a flag is expected"
  before = ''
  if left_over[0] in given[1:]:
    before = given[given.index(left_over[0], 1) - 1]
  name, equals, value = before.partition('=')
  if name.startswith('-') and equals:
    return f"{line}; did you mean {name}='{value} {text}', with quotes?"
  if ' ' in left_over[0]:  # It had its quotes.
    return f"{line}; name the flag that it is for, as in --FLAG='{text}'."
  return f'{line}; a value with spaces needs quotes.'
