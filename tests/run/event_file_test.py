"""What TensorBoard is given, and what a full disk does to it."""

import errno
import pathlib
import struct

import numpy as np
import pytest
from tensorboard.compat.proto import event_pb2

from mmdist.run import event_file


def read_events(path: pathlib.Path) -> list[event_pb2.Event]:
  """Reads a file of records: length, its checksum, content, its checksum."""
  data, events = path.read_bytes(), []
  while data:
    (length,) = struct.unpack('Q', data[:8])
    content, data = data[12 : 12 + length], data[16 + length :]
    events.append(event_pb2.Event.FromString(content))
  return events


def only_file(folder: pathlib.Path) -> pathlib.Path:
  (path,) = folder.iterdir()
  return path


def test_numbers_and_pictures_are_events_of_their_step(tmp_path):
  events = event_file.EventFile(tmp_path / 'new')
  events.add_scalars(3, {'loss': 0.5, 'cotangent_norm/generic': 2.0})
  picture = np.zeros((4, 6, 3), np.uint8)
  events.add_picture(4, 'preview', picture)
  events.close()
  version, *written = read_events(only_file(tmp_path / 'new'))
  assert version.file_version == 'brain.Event:2'
  values = [(event.step, event.summary.value[0]) for event in written]
  assert [(s, v.tag, v.simple_value) for s, v in values[:2]] == [
    (3, 'loss', 0.5),
    (3, 'cotangent_norm/generic', 2.0),
  ]
  step, shown = values[2]
  assert (step, shown.tag, shown.image.height, shown.image.width) == (
    4,
    'preview',
    4,
    6,
  )


def marks(folder: pathlib.Path) -> list[list[int]]:
  """Returns by file, oldest first, from which steps on others are forgotten."""
  return [
    [
      event.step
      for event in read_events(path)
      if event.session_log.status == event_pb2.SessionLog.START
    ]
    for path in sorted(folder.iterdir())
  ]


@pytest.mark.parametrize('first_step', [0, 7])
def test_what_earlier_files_hold_from_the_first_step_on_is_forgotten(
  tmp_path, first_step
):
  event_file.EventFile(tmp_path).close()
  event_file.EventFile(tmp_path, first_step).close()
  assert marks(tmp_path) == [[], [first_step]]


def test_a_run_of_which_nothing_is_there_forgets_nothing(tmp_path):
  tmp_path.joinpath('notes.txt').write_text('not TensorBoard')
  event_file.EventFile(tmp_path / 'tensorboard').close()
  assert marks(tmp_path / 'tensorboard') == [[]]


def test_two_files_of_one_second_are_two_files(tmp_path):
  for step in (0, 1):
    event_file.EventFile(tmp_path, step).close()
  assert len(list(tmp_path.iterdir())) == 2


def test_a_picture_is_on_the_disk_at_once_and_numbers_soon(
  tmp_path, monkeypatch
):
  events = event_file.EventFile(tmp_path)
  events.add_picture(0, 'preview', np.zeros((2, 2, 3), np.uint8))
  assert len(read_events(only_file(tmp_path))) == 2
  events.add_scalars(1, {'loss': 1.0})
  monkeypatch.setattr(event_file, 'FLUSH_EVERY_S', 0.0)
  events.add_scalars(2, {'loss': 1.0})
  assert len(read_events(only_file(tmp_path))) == 4
  events.close()


@pytest.fixture(name='full')
def fixture_full(tmp_path, monkeypatch):
  """Events of which none fits on the disk."""
  monkeypatch.setattr(
    event_file, 'open_file', lambda _: open('/dev/full', 'wb')
  )
  return event_file.EventFile(tmp_path / 'tensorboard')


def test_a_full_disk_is_an_error_that_names_the_folder(full, tmp_path):
  full.add_scalars(0, {'loss': 1.0})
  with pytest.raises(OSError, match='No space left on device') as error:
    full.flush()
  assert error.value.errno == errno.ENOSPC
  assert error.value.filename == str(tmp_path / 'tensorboard')


def test_after_an_error_closing_is_quiet(full):
  with pytest.raises(OSError, match='No space left'):
    full.flush()
  full.close()
  full.close()


def test_a_disk_that_is_full_at_the_very_end_is_said(full):
  full.add_scalars(0, {'loss': 1.0})
  with pytest.raises(OSError, match='No space left'):
    full.close()
  full.close()
