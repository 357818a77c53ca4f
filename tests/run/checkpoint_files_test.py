"""What is damage in the files of a checkpoint, and what is a mistake."""

import errno
import json
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest

from mmdist.run import checkpointing
from mmdist.run import snapshots
from tests.run import saved_steps


@pytest.mark.parametrize(
  'error', [TypeError, AttributeError, ZeroDivisionError]
)
@pytest.mark.parametrize('read', ['restore', 'read_params'])
def test_a_mistake_in_our_own_code_is_never_called_damage(
  tmp_path, monkeypatch, error, read
):
  saved_steps.save_steps(tmp_path, [2, 4])

  def fail(*_):
    raise error('a mistake')

  monkeypatch.setattr(snapshots, 'seal_of', fail)
  with pytest.raises(error, match='a mistake'):
    if read == 'restore':
      saved_steps.restore(tmp_path)
    else:
      with checkpointing.CheckpointStore(
        tmp_path, saved_steps.make_run(), read_only=True
      ) as store:
        store.read_params(saved_steps.make_state(0).params)
  assert not (tmp_path / 'checkpoints.damaged').exists()
  monkeypatch.undo()
  assert int(saved_steps.restore(tmp_path)[0].step) == 4


@pytest.mark.parametrize('error', [TypeError, AttributeError])
def test_a_mistake_in_calling_orbax_is_never_called_damage(tmp_path, error):
  saved_steps.save_steps(tmp_path, [2, 4])

  def fail(*_, **__):
    raise error('saved_steps.restore() has no such argument')

  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:
    store._reader._orbax.restore = fail
    with pytest.raises(error, match='no such argument'):
      store.restore_or_init(
        saved_steps.make_state(0), saved_steps.FakeExecutor()
      )
  assert not (tmp_path / 'checkpoints.damaged').exists()


@pytest.mark.parametrize('number', [errno.EACCES, errno.EMFILE])
def test_a_file_that_may_not_be_opened_is_not_called_damage(
  tmp_path, monkeypatch, number
):
  saved_steps.save_steps(tmp_path, [2, 4])

  def refuse(path, *_, **__):
    raise OSError(number, os.strerror(number), str(path))

  monkeypatch.setattr(pathlib.Path, 'read_text', refuse)
  with pytest.raises(OSError) as error:
    saved_steps.restore(tmp_path)
  assert error.value.errno == number
  assert not (tmp_path / 'checkpoints.damaged').exists()


def test_an_error_of_the_folder_itself_is_not_called_damage(
  tmp_path, monkeypatch
):
  saved_steps.save_steps(tmp_path, [2, 4])

  def fail(*_):
    raise PermissionError('not yours')

  monkeypatch.setattr(checkpointing.CheckpointStore, '_make_manager', fail)
  with pytest.raises(PermissionError, match='not yours'):
    saved_steps.restore(tmp_path)


# JSON of every other shape, in every place that Orbax follows without a look.
NOTES = [
  lambda note: None,
  lambda note: [],
  lambda note: 'text',
  lambda note: {},
  lambda note: note | {'tree_metadata': None},
  lambda note: note | {'tree_metadata': []},
  lambda note: with_entry(note, None),
  lambda note: with_entry(note, []),
  lambda note: with_entry(note, {}),
  lambda note: with_entry(note, key_metadata=None),
  lambda note: with_entry(note, key_metadata='text'),
  lambda note: with_entry(note, key_metadata=[None]),
  lambda note: with_entry(note, key_metadata=[{}]),
  lambda note: with_entry(note, value_metadata=None),
  lambda note: with_entry(note, value_metadata=[]),
  lambda note: with_entry(note, value_metadata={}),
  lambda note: with_entry(note, value_metadata={'value_type': None}),
  lambda note: with_entry(note, value_metadata={'value_type': []}),
  lambda note: with_entry(note, value_metadata={'value_type': 'text'}),
]
_KEEP = object()


def with_entry(note, entry=_KEEP, **fields):
  """Returns a note in which the entry of one array is another."""
  entries = note['tree_metadata']
  name = sorted(entries)[0]
  changed = entries[name] | fields if entry is _KEEP else entry
  return note | {'tree_metadata': entries | {name: changed}}


@pytest.fixture(name='saved', scope='module')
def fixture_saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp('saved')
  saved_steps.save_steps(folder, [2, 4])
  return folder


@pytest.mark.parametrize('number', range(len(NOTES)))
def test_a_note_on_the_arrays_of_another_shape_is_damage(
  saved, tmp_path, number, caplog
):
  shutil.copytree(saved, tmp_path / 'run')
  path = tmp_path / 'run' / 'checkpoints' / '4' / 'arrays' / '_METADATA'
  path.write_text(json.dumps(NOTES[number](json.loads(path.read_text()))))
  state, _ = saved_steps.restore(tmp_path / 'run')
  assert int(state.step) == 2
  assert 'checkpoint 4 cannot be read: ' in caplog.text


@pytest.mark.parametrize('item', ['seal', 'identity'])
@pytest.mark.parametrize(
  'text', ['null', '[]', '7', '{}', '{"schema": "2", "sha256": 3}', '[' * 10**5]
)
def test_a_seal_or_an_identity_of_another_shape_is_damage(
  saved, tmp_path, item, text
):
  shutil.copytree(saved, tmp_path / 'run')
  path = tmp_path / 'run' / 'checkpoints' / '4' / item / 'metadata'
  assert path.is_file()
  path.write_text(text)
  assert int(saved_steps.restore(tmp_path / 'run')[0].step) == 2


@pytest.mark.parametrize('notes', ['[]', '{}', '{"custom_metadata": null}'])
def test_the_notes_of_the_first_schema_of_another_shape_are_damage(
  tmp_path, notes
):
  folder = pathlib.Path(__file__).parents[1] / 'fixtures' / 'schema1'
  shutil.copytree(folder, tmp_path / 'run')
  path = tmp_path / 'run' / 'checkpoints' / '2' / '_CHECKPOINT_METADATA'
  path.write_text(notes)
  store = checkpointing.CheckpointStore(
    tmp_path / 'run', saved_steps.make_run(), read_only=True
  )
  with store, pytest.raises(FileNotFoundError, match='no checkpoint that can'):
    store.digest()


def test_a_damaged_note_of_orbax_is_passed_over(tmp_path):
  saved_steps.save_steps(tmp_path, [2, 4])
  note = tmp_path / 'checkpoints' / '4' / '_CHECKPOINT_METADATA'
  note.write_text('[]')  # Orbax then refuses the whole folder.
  state, _ = saved_steps.restore(tmp_path)
  assert int(state.step) == 2
  jax.tree.map(
    np.testing.assert_array_equal,
    state,
    saved_steps.make_state(int(state.step)),
  )
