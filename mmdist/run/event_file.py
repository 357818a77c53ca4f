"""Writes numbers and pictures for TensorBoard, in the thread that asks.

TensorboardX's own writer hands events to a thread over a short queue. Where
the disk is full that thread dies, and whoever hands it an event afterwards
waits for ever. Here each event is written before the call returns, so a full
disk is an OSError of that call.
"""

from collections.abc import Iterator, Mapping
import contextlib
import os
import pathlib
import time

import numpy as np
from tensorboardX import event_file_writer
from tensorboardX import summary
from tensorboardX.proto import event_pb2

FLUSH_EVERY_S = 30.0


class EventFile:
  """A new file of events in a folder.

  Args:
    folder: made if need be; the files that it holds already stay.
    first_step: TensorBoard forgets what earlier files hold from this step on;
      0 forgets nothing.

  Raises:
    OSError: here and in every method; the disk is full, for example.
  """

  def __init__(self, folder: str | os.PathLike, first_step: int = 0):
    self._folder = pathlib.Path(folder)
    self._failed = self._closed = False
    with self._naming_the_folder():
      self._folder.mkdir(parents=True, exist_ok=True)
      self._events = event_file_writer.EventsWriter(
        str(self._folder / 'events'),
        # Two files of one second would otherwise have one name.
        filename_suffix=f'.{time.time_ns()}',
      )
    self._flushed_s = time.monotonic()
    if first_step:
      start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      self._write(first_step, session_log=start)

  def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Writes one number for each name."""
    for name, value in values.items():
      self._write(step, summary=summary.scalar(name, value))
    if time.monotonic() - self._flushed_s > FLUSH_EVERY_S:
      self.flush()

  def add_picture(self, step: int, name: str, picture: np.ndarray) -> None:
    """Writes an [H, W, 3] uint8 picture."""
    self._write(step, summary=summary.image(name, picture, dataformats='HWC'))
    self.flush()

  def flush(self) -> None:
    """Brings to the disk what was written so far."""
    with self._naming_the_folder():
      self._events.flush()
    self._flushed_s = time.monotonic()

  def close(self) -> None:
    """Closes the file; an error that was raised before is not raised again."""
    if self._closed:
      return
    self._closed = True
    if self._failed:
      with contextlib.suppress(OSError):
        self._events.close()
      return
    with self._naming_the_folder():
      self._events.close()

  def _write(self, step: int, **content) -> None:
    event = event_pb2.Event(wall_time=time.time(), step=step, **content)
    with self._naming_the_folder():
      self._events.write_event(event)

  @contextlib.contextmanager
  def _naming_the_folder(self) -> Iterator[None]:
    """Adds the folder to the system's errors, which name no file."""
    try:
      yield
    except OSError as error:
      self._failed = True
      raise OSError(error.errno, error.strerror, str(self._folder)) from error
