"""What runs every launcher's `main`: flags, one-line errors, exit codes."""

from collections.abc import Callable
import errno
import sys
import traceback
import warnings

from absl import app
from absl import flags
from absl import logging

from launchers import config_flag
from mmdist.core import full_disk
from mmdist.distribution import faults
from mmdist.objectives import score_requests

flags.disclaim_key_flags()

# What a person can do something about. Anything else is our mistake, and the
# traceback is what we need to see.
EXPECTED = (
  ValueError,
  FileNotFoundError,
  FileExistsError,
  NotADirectoryError,
  IsADirectoryError,
  PermissionError,
  FloatingPointError,
  faults.DistributionError,
  score_requests.NonFiniteAnswer,
)
INTERRUPTED = 130  # 128 + SIGINT, as shells have it.

_DEBUG = flags.DEFINE_bool('debug', False, 'Show the traceback of any error.')


def run(main: Callable, argv: list[str] | None = None) -> None:
  """Parses the flags, runs `main(arguments)` and exits.

  Exit codes: 0, 1 for an error (one line on stderr, or with --debug the
  traceback), 130 after Ctrl-C.

  Args:
    main: gets what is left of the command line, the program's name first.
    argv: sys.argv if None.
  """
  argv = sys.argv if argv is None else argv
  # Orbax tells a dozen lines per checkpoint, across the progress bar.
  logging.set_verbosity(logging.WARNING)
  warnings.showwarning = _show_warning
  sys.exit(call(lambda: app.run(main, argv, config_flag.parse_flags), argv))


def _show_warning(message, category, filename, lineno, file=None, line=None):
  """Prints a warning as a line for the person, not as one about our code."""
  del category, filename, lineno, file, line
  print(f'warning: {" ".join(str(message).split())}', file=sys.stderr)


def call(function: Callable, argv: list[str]) -> int | str | None:
  """Returns the exit code of a call whose errors are put in one line."""
  try:
    function()
  except SystemExit as exit_:
    # absl leaves --help with 1, which a shell takes for a failure.
    return 0 if config_flag.asks_for_help(argv) else exit_.code
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    return INTERRUPTED
  except Exception as error:
    line = explain(error)
    if line is None:
      raise
    if '--debug' in argv:
      traceback.print_exc()
    print(line, file=sys.stderr)
    return 1
  return 0


def explain(error: Exception) -> str | None:
  """Returns the line for a person; None if the error is our mistake."""
  if isinstance(error, OSError) and _says_more(error):
    return one_line(error)
  if full_disk.is_meant(error):
    return (
      f'{one_line(error)}: the disk is full. What was saved before is sound, '
      'the last checkpoint too; free some space and give the same command '
      'again, which goes on from there.'
    )
  if isinstance(error, OSError) and error.errno == errno.EROFS:
    return f'{one_line(error)}; make it writable, or give another folder.'
  return one_line(error) if isinstance(error, EXPECTED) else None


def _says_more(error: OSError) -> bool:
  """Returns whether an error explains itself, as those of checkpointing do."""
  if isinstance(error, EXPECTED):
    return True
  return (
    error.errno in full_disk.ERRNOS and error.strerror not in full_disk.TEXTS
  )


def one_line(error: BaseException) -> str:
  """Returns the error as a line; an OSError says which file, too."""
  return 'error: ' + (' '.join(str(error).split()) or type(error).__name__)
