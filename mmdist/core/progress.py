"""How far a long loop is: a bar where somebody watches, lines in a log.

A bar redraws itself after a carriage return. In a log, every version of it
would stay, and warnings would be printed into the middle of its line.
"""

import sys
import time
from typing import TextIO

import tqdm

from mmdist.core import saying

LOG_EVERY_S = 15.0  # Seconds between two lines in a log.


class Progress:
  """Counts the rounds of a loop; a context manager.

  Args:
    total: rounds.
    initial: rounds done before.
    unit: what a round is called.
    stream: where it is shown; None for standard error.
  """

  def __init__(
    self,
    total: int,
    initial: int = 0,
    unit: str = 'step',
    stream: TextIO | None = None,
  ):
    # A process may have no standard error, such as a service.
    stream = sys.stderr if stream is None else stream
    self._bar: tqdm.tqdm | None = None
    if stream is not None and stream.isatty():
      self._bar = tqdm.tqdm(
        total=total,
        initial=initial,
        unit=unit,
        dynamic_ncols=True,
        mininterval=0.5,
        file=stream,
      )
    self._stream = stream
    self._total = total
    self._done = self._initial = initial
    self._unit = unit
    self._began = self._said = time.monotonic()
    self._text = ''

  def update(self, text: str = '') -> None:
    """Counts a round.

    Args:
      text: shown beside the count.
    """
    self._done += 1
    self._text = text
    if self._bar is not None and self._stream is not None:
      text = saying.printable(text, self._stream)
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update()
    elif self._done == self._total or (
      time.monotonic() - self._said >= LOG_EVERY_S
    ):
      self._write_line()

  def _write_line(self) -> None:
    self._said = time.monotonic()
    seconds = (self._said - self._began) / (self._done - self._initial)
    left = format_seconds(seconds * (self._total - self._done))
    line = (
      f'{self._unit} {self._done} of {self._total}, {seconds:.3g} s each, '
      f'{left} to go'
    )
    if self._stream is not None:
      saying.say(line + f': {self._text}' * bool(self._text), self._stream)

  def close(self) -> None:
    """Leaves the bar, or the last line, as it is."""
    if self._bar is not None:
      self._bar.close()

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, *_: object) -> None:
    self.close()


def format_seconds(seconds: float) -> str:
  """Returns e.g. '2 h 05 min', '3 min 20 s' or '45 s'."""
  minutes, rest = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours} h {minutes:02} min'
  return f'{minutes} min {rest:02} s' if minutes else f'{rest} s'


def format_bytes(count: int) -> str:
  """Returns a number of bytes as a person reads it, such as '13 MiB'."""
  mib = count / 2**20
  return f'{mib / 1024:.1f} GiB' if mib >= 1024 else f'{mib:.0f} MiB'
