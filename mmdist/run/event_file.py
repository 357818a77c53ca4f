"""Writes numbers and pictures for TensorBoard, in the thread that asks.

TensorBoard's own writers use a background thread. If the disk is full, a later
call gets the error, or waits for ever. Here each event is written before the
call returns, so a full disk is an OSError of that call.
"""

from collections.abc import Iterator, Mapping
import contextlib
import io
import os
import pathlib
import socket
import time
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.proto import summary_pb2
from tensorboard.summary.writer import record_writer

FLUSH_EVERY_S = 30.0
_WORD = 'events.out.tfevents'  # TensorBoard reads files with it in their names.
_RGB = 3  # What TensorBoard calls the colours of a picture.


class EventFile:
  """A new file of events in a folder.

  Args:
    folder: made if need be; the files that it holds already stay.
    first_step: TensorBoard forgets what earlier files hold from this step on.

  Raises:
    OSError: here and in every method; the disk is full, for example.
  """

  def __init__(self, folder: str | os.PathLike, first_step: int = 0):
    self._folder = pathlib.Path(folder)
    self._failed = self._closed = False
    with self._naming_the_folder():
      self._folder.mkdir(parents=True, exist_ok=True)
      has_earlier = any(self._folder.glob(f'*{_WORD}*'))
      # Two files of one second must have two names.
      name = f'{_WORD}.{time.time_ns()}.{socket.gethostname()}'
      self._file = open_file(self._folder / name)
    self._records = record_writer.RecordWriter(self._file)
    self._write(0, file_version='brain.Event:2')
    self._flushed_s = time.monotonic()
    # Also at step 0: a run may begin again before its first checkpoint, or go
    # back to where it began.
    if first_step or has_earlier:
      start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      self._write(first_step, session_log=start)

  def add_scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Writes one number for each name."""
    for name, value in values.items():
      number = summary_pb2.Summary.Value(tag=name, simple_value=float(value))
      self._write(step, summary=summary_pb2.Summary(value=[number]))
    if time.monotonic() - self._flushed_s > FLUSH_EVERY_S:
      self.flush()

  def add_picture(self, step: int, name: str, picture: np.ndarray) -> None:
    """Writes an [H, W, 3] uint8 picture."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, format='PNG')
    image = summary_pb2.Summary.Image(
      height=picture.shape[0],
      width=picture.shape[1],
      colorspace=_RGB,
      encoded_image_string=encoded.getvalue(),
    )
    value = summary_pb2.Summary.Value(tag=name, image=image)
    self._write(step, summary=summary_pb2.Summary(value=[value]))
    self.flush()

  def flush(self) -> None:
    """Brings to the disk what was written so far."""
    with self._naming_the_folder():
      self._file.flush()
    self._flushed_s = time.monotonic()

  def close(self) -> None:
    """Closes the file; an error that was raised before is not raised again."""
    if self._closed:
      return
    self._closed = True
    if self._failed:
      with contextlib.suppress(OSError):
        self._file.close()
      return
    with self._naming_the_folder():
      self._file.close()

  def _write(self, step: int, **content: Any) -> None:
    event = event_pb2.Event(wall_time=time.time(), step=step, **content)
    with self._naming_the_folder():
      self._records.write(event.SerializeToString())

  @contextlib.contextmanager
  def _naming_the_folder(self) -> Iterator[None]:
    """Adds the folder to the system's errors, which name no file."""
    try:
      yield
    except OSError as error:
      self._failed = True
      raise OSError(error.errno, error.strerror, str(self._folder)) from error


def open_file(path: pathlib.Path) -> BinaryIO:
  """Opens a new file for writing; tests replace this by a full disk."""
  return open(path, 'xb')
