"""What runs every command: flags, help, one-line errors, exit codes."""

from collections.abc import Callable
import contextlib
import dataclasses
import faulthandler
import io
import sys
import traceback
from typing import TextIO
import warnings

from absl import flags
from absl import logging

from mmdist.core import saying

from . import command_line
from . import config_flag
from . import error_lines
from . import streams

INTERRUPTED = 130  # 128 + SIGINT, as shells have it.
BROKEN_PIPE = 141  # 128 + SIGPIPE.


def say(line: str) -> None:
  """Prints a line that the library reports; can be pickled."""
  saying.say(line)


@dataclasses.dataclass(frozen=True)
class Command:
  """A launcher as a value: nothing is parsed before it is run.

  Attributes:
    main: called with the configuration, the options and the list of words,
      each only if the command has it. Its module's docstring is the help.
    options: dataclass of the flags; see `option_flags`.
    config: what --config may be, for a command that has it.
    words: which words that are no flags it takes; see `command_line.parse`.
  """

  main: Callable[..., None]
  options: type | None = None
  config: config_flag.Config | None = None
  words: str = ''

  def run(self, argv: list[str] | None = None) -> None:
    """Parses the flags, calls `main` and exits.

    Exit codes: 0; 1 for an error, of which stderr has one line and, with
    --debug, the traceback; 130 after Ctrl-C; 141 if nobody reads stdout.

    Args:
      argv: sys.argv if None.
    """
    argv = sys.argv if argv is None else argv
    streams.set_up()
    _set_up_logging()
    with contextlib.suppress(io.UnsupportedOperation):  # In a notebook.
      faulthandler.enable()
    warnings.showwarning = _show_warning
    sys.exit(call(lambda: self._run(argv), argv))

  def _run(self, argv: list[str]) -> None:
    if command_line.asks_for_help(argv):
      about = sys.modules[self.main.__module__].__doc__ or ''
      print(command_line.format_help(about, self.options, self.config))
      return
    self.main(*command_line.parse(argv, self.options, self.config, self.words))


def _set_up_logging() -> None:
  # Orbax logs a dozen lines per checkpoint, which would break the progress bar.
  logging.set_verbosity(logging.WARNING)
  logging.use_absl_handler()
  # Without this, absl's first line is a complaint about its own flags.
  flags.FLAGS.mark_as_parsed()


def _show_warning(
  message: Warning | str,
  category: type[Warning],
  filename: str,
  lineno: int,
  file: TextIO | None = None,
  line: str | None = None,
) -> None:
  """Prints a warning as one line, without the place in the code."""
  del category, filename, lineno, file, line
  print(f'warning: {" ".join(str(message).split())}', file=sys.stderr)


def call(function: Callable, argv: list[str]) -> int | str | None:
  """Returns the exit code of a call whose errors are put in one line."""
  try:
    function()
    sys.stdout.flush()
  except SystemExit as exit_:
    return 0 if command_line.asks_for_help(argv) else exit_.code
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    return INTERRUPTED
  except Exception as error:
    if isinstance(error, BrokenPipeError) and streams.nobody_reads():
      return BROKEN_PIPE
    line = error_lines.explain(error)
    if line is None:
      raise
    if error_lines.asks_for_debug(argv):
      traceback.print_exc()
    print(line, file=sys.stderr)
    return 1
  return 0
