"""Standard input, output and error of a command, whatever it is started by."""

import contextlib
import io
import os
import select
import sys


def set_up() -> None:
  """Makes sure that whatever is printed can be printed.

  A terminal or log may not be UTF-8; what it lacks is escaped. A service may
  have closed its streams: they lead nowhere then.
  """
  for number in range(3):
    _open_if_closed(number)
  if sys.stdout is None:
    sys.stdout = _nowhere()
  if sys.stderr is None:
    sys.stderr = _nowhere()
  for stream in (sys.stdout, sys.stderr):
    # A notebook's streams are of another kind, and take any letters.
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors='backslashreplace')


def _open_if_closed(number: int) -> None:
  """Has a descriptor lead nowhere if it leads to nothing at all.

  Else the next file that is opened has its number, and what a library prints
  is written into that file.
  """
  try:
    os.fstat(number)
  except OSError:
    with contextlib.suppress(OSError):
      os.open(os.devnull, os.O_RDWR)  # Takes the lowest number that is free.


def _nowhere() -> io.TextIOWrapper:
  return open(os.devnull, 'w', encoding='utf-8')


def nobody_reads() -> bool:
  """Returns whether stdout is a pipe whose reader is gone, as with `| head`.

  If so, stdout is replaced by /dev/null: else Python would try again at its
  exit to write what is left, and complain.
  """
  stdout = select.poll()
  stdout.register(sys.stdout.fileno(), 0)
  if not stdout.poll(0):  # No error is pending: another pipe was broken.
    return False
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  return True
