"""Lines for the person at the terminal, whatever its encoding.

A log or a terminal may be ASCII (a cron job, `LC_ALL=C`), Latin-1 or cp1252,
and a prompt may be in any script. What the encoding lacks is shown as Python
writes it, such as '\\u2603': a run does not end because of what is printed
about it.
"""

import sys
from typing import TextIO


def say(line: str, stream: TextIO | None = None) -> None:
  """Prints a line at once; can be pickled.

  Args:
    line: in any letters.
    stream: where to; None is standard output. A process without one, such as a
      service, prints nothing.
  """
  stream = sys.stdout if stream is None else stream
  if stream is not None:
    print(printable(line, stream), file=stream, flush=True)


def write(text: str) -> None:
  """Prints text at once as it stands, also a part of a line."""
  if sys.stdout is not None:
    sys.stdout.write(printable(text, sys.stdout))
    sys.stdout.flush()


def printable(text: str, stream: TextIO) -> str:
  """Returns a text in which what a stream cannot show is escaped."""
  encoding = getattr(stream, 'encoding', None) or 'utf-8'
  return text.encode(encoding, 'backslashreplace').decode(encoding)
