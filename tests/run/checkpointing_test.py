"""Checkpoints come back bit for bit, or not at all."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.config import schema
from mmdist.core import messages
from mmdist.learner import distill
from mmdist.run import checkpointing
from mmdist.run import snapshots


class FakeExecutor:
  """Holds proxies whose numbers say how many fits are behind them."""

  def __init__(self, step: int = 0):
    self.proxies = {
      'generic': messages.ProxyState(
        step, {'lora/a.b': np.full((2, 3), step, np.float32)}
      ),
      'sds': messages.ProxyState(step, {}),
    }

  def save_proxies(self):
    return self.proxies

  def restore_proxies(self, states):
    self.proxies = states


def make_state(step: int):
  rng = np.random.default_rng(step)
  return distill.TrainState(
    step=jnp.int32(step),
    params={'nerf': [jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)]},
    opt_state={'count': jnp.int32(step)},
  )


def make_run(**checkpoints) -> schema.RunConfig:
  config = schema.CheckpointConfig(**{'every': 2, 'keep': 3} | checkpoints)
  return schema.RunConfig(num_steps=7, checkpoints=config)


def make_snapshot(step: int) -> snapshots.Snapshot:
  proxies = FakeExecutor(step).save_proxies()
  return snapshots.Snapshot(make_state(step), proxies)


def save_steps(workdir, steps, run=None) -> None:
  with checkpointing.CheckpointStore(workdir, run or make_run()) as store:
    for step in steps:
      store.save(make_snapshot(step))


def restore(workdir, run=None):
  executor = FakeExecutor()
  with checkpointing.CheckpointStore(workdir, run or make_run()) as store:
    state = store.restore_or_init(make_state(0), executor)
  return state, executor


def array_files(workdir, step: int):
  """The files that hold arrays, largest first."""
  root = workdir / 'checkpoints' / str(step) / 'arrays'
  files = [path for path in root.rglob('*') if path.is_file()]
  return sorted(files, key=lambda path: -path.stat().st_size)


def test_an_empty_store_returns_the_initial_state(tmp_path):
  state, executor = restore(tmp_path)
  assert int(state.step) == 0
  assert executor.proxies['generic'].step == 0


def test_learner_and_proxies_come_back_bit_for_bit(tmp_path):
  save_steps(tmp_path, [2, 4])
  state, executor = restore(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, state, make_state(4))
  assert state.opt_state['count'].dtype == jnp.int32
  generic = executor.proxies['generic']
  assert generic.step == 4
  np.testing.assert_array_equal(generic.arrays['lora/a.b'], np.full((2, 3), 4))
  assert executor.proxies['sds'] == messages.ProxyState(4, {})


def test_steps_are_due_every_so_often_and_at_the_end(tmp_path):
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    due = [step for step in range(1, 8) if store.is_due(step)]
  assert due == [2, 4, 6, 7]
  with checkpointing.CheckpointStore(tmp_path, make_run(every=0)) as store:
    assert [step for step in range(1, 8) if store.is_due(step)] == [7]


def test_only_the_last_ones_are_kept(tmp_path):
  save_steps(tmp_path, [2, 4, 6, 7])
  kept = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
  assert kept == {'4', '6', '7'}


def test_every_so_many_are_kept_for_good(tmp_path):
  save_steps(tmp_path, range(2, 8), make_run(keep=1, keep_every=3))
  kept = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
  assert kept == {'3', '6', '7'}


def test_a_flipped_bit_falls_back_to_the_step_before(tmp_path, caplog):
  save_steps(tmp_path, [2, 4])
  for path in array_files(tmp_path, 4):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
  state, executor = restore(tmp_path)
  assert int(state.step) == 2
  assert executor.proxies['generic'].step == 2
  assert 'checkpoint 4' in caplog.text
  assert (tmp_path / 'checkpoints.damaged' / '4').is_dir()


@pytest.mark.parametrize('number', range(6))
def test_a_flipped_bit_anywhere_never_changes_the_state(tmp_path, number):
  save_steps(tmp_path, [2, 4])
  path = array_files(tmp_path, 4)[number]
  content = bytearray(path.read_bytes())
  if content:
    content[len(content) // 3] ^= 16
  path.write_bytes(bytes(content))
  state, _ = restore(tmp_path)
  jax.tree.map(
    np.testing.assert_array_equal, state, make_state(int(state.step))
  )


def test_a_missing_file_falls_back_and_the_run_goes_on(tmp_path):
  save_steps(tmp_path, [2, 4])
  for path in array_files(tmp_path, 4):
    path.unlink()
  run = make_run()
  with checkpointing.CheckpointStore(tmp_path, run) as store:
    assert int(store.restore_or_init(make_state(0), FakeExecutor()).step) == 2
    store.save(make_snapshot(4))
  assert int(restore(tmp_path)[0].step) == 4


def test_with_every_checkpoint_damaged_nothing_begins_anew(tmp_path):
  save_steps(tmp_path, [2, 4])
  for step in (2, 4):
    for path in array_files(tmp_path, step):
      path.unlink()
  for _ in range(2):  # Nothing is moved, so it is said again.
    with pytest.raises(
      ValueError, match=r'damaged \(steps 4, 2\); nothing was'
    ):
      restore(tmp_path)
  # Nor when what is damaged has been moved aside and the rest is gone.
  (tmp_path / 'checkpoints').rename(tmp_path / 'checkpoints.damaged')
  with pytest.raises(ValueError, match='steps moved aside before'):
    restore(tmp_path)


def test_a_checkpoint_is_of_one_step(tmp_path):
  late = snapshots.Snapshot(make_state(4), FakeExecutor(3).proxies)
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    with pytest.raises(ValueError, match='4 fits behind every proxy, but gene'):
      store.save(late)
  assert not checkpointing._steps_in(tmp_path / 'checkpoints')


def test_steps_that_were_left_out_fit_no_proxy(tmp_path):
  state = make_state(4).replace(rejected=jnp.int32(1))
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    store.save(snapshots.Snapshot(state, FakeExecutor(3).proxies))
  state, executor = restore(tmp_path)
  assert (int(state.step), int(state.rejected)) == (4, 1)
  assert executor.proxies['generic'].step == 3


def test_a_changed_identity_is_damage(tmp_path):
  save_steps(tmp_path, [2, 4])
  path = next((tmp_path / 'checkpoints' / '4' / 'identity').glob('[!_]*'))
  text = path.read_text()
  assert '"num_steps": 7' in text
  path.write_text(text.replace('"num_steps": 7', '"num_steps": 8'))
  assert int(restore(tmp_path)[0].step) == 2


def test_a_newer_schema_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(checkpointing, 'SCHEMA', 3)
  save_steps(tmp_path, [2])
  monkeypatch.undo()
  with pytest.raises(
    ValueError, match='is of schema 3, this mmdist .* up to 2'
  ):
    restore(tmp_path)


def test_equal_runs_have_equal_digests(tmp_path):
  digests = []
  for name, step in (('a', 2), ('b', 2), ('c', 4)):
    save_steps(tmp_path / name, [step])
    store = checkpointing.CheckpointStore(
      tmp_path / name, make_run(), read_only=True
    )
    digests.append(store.digest())
    store.close()
  assert digests[0] == digests[1] != digests[2]
  assert digests[0][0] == 2 and len(digests[0][1]) == 64


def test_what_a_killed_save_left_is_cleaned_up(tmp_path):
  save_steps(tmp_path, [2])
  left = tmp_path / 'checkpoints' / '4.orbax-checkpoint-tmp'
  left.mkdir()
  (left / 'arrays').write_text('half')
  reader = checkpointing.CheckpointStore(tmp_path, make_run(), read_only=True)
  assert reader.read_params(make_state(0).params)[0] == 2
  reader.close()
  assert left.exists()  # A reader may look at a run that is going on.
  assert int(restore(tmp_path)[0].step) == 2
  assert not left.exists()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
  save_steps(tmp_path, [2])
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:

    def full(*_, **__):
      raise ValueError('RESOURCE_EXHAUSTED: No space left on device [...]')

    monkeypatch.setattr(store._manager, 'save', full)
    with pytest.raises(OSError, match='is full, so this step was not saved'):
      store.save(make_snapshot(4))
  assert int(restore(tmp_path)[0].step) == 2


def test_another_error_is_not_called_a_full_disk(tmp_path, monkeypatch):
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:

    def fail(*_, **__):
      raise ValueError('Orbax will have none of it')

    monkeypatch.setattr(store._manager, 'save', fail)
    with pytest.raises(ValueError, match='none of it'):
      store.save(make_snapshot(4))


def test_a_checkpoint_of_other_parameters_is_refused_by_name(tmp_path):
  save_steps(tmp_path, [2])
  wider = make_state(0)
  wider.params['nerf'] = [jnp.zeros((4, 6))]
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    with pytest.raises(
      ValueError, match=r'float32 \(4, 5\) for learner/params/nerf/0; expected'
    ):
      store.restore_or_init(wider, FakeExecutor())


def test_params_are_read_alone_from_the_newest_sound_step(tmp_path):
  save_steps(tmp_path, [2, 4])
  for path in array_files(tmp_path, 4):
    path.unlink()
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    step, params = store.read_params(make_state(0).params)
  assert step == 2
  jax.tree.map(np.testing.assert_array_equal, params, make_state(2).params)
  assert not (tmp_path / 'checkpoints.damaged').exists()


def test_params_of_a_run_without_checkpoints_are_not_found(tmp_path):
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    with pytest.raises(FileNotFoundError, match='no checkpoint that can be'):
      store.read_params(make_state(0).params)


def test_another_machine_is_said(tmp_path, caplog, monkeypatch):
  save_steps(tmp_path, [2])
  restore(tmp_path)
  assert not caplog.text
  monkeypatch.setattr(snapshots.platform, 'machine', lambda: 'vax')
  restore(tmp_path)
  assert 'not bit for bit' in caplog.text and "-> 'vax'" in caplog.text


def test_an_older_step_cannot_be_saved_silently(tmp_path):
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    store.save(make_snapshot(4))
    with pytest.raises(RuntimeError, match='step 2 was not saved'):
      store.save(make_snapshot(2))


def test_the_hash_sees_name_shape_dtype_and_bytes():
  array = np.arange(6, dtype=np.float32)
  variants = [
    {'a': array},
    {'b': array},
    {'a': array.reshape(2, 3)},
    {'a': array.view(np.int32)},
    {'a': array + 1},
    {'a': array, 'b': array},
  ]
  assert len({snapshots.hash_arrays(v) for v in variants}) == len(variants)


@pytest.mark.parametrize('schema', range(1, checkpointing.SCHEMA + 1))
def test_checkpoints_of_every_schema_are_restored(schema, tmp_path):
  folder = pathlib.Path(__file__).parents[1] / 'fixtures' / f'schema{schema}'
  shutil.copytree(folder, tmp_path / 'run')
  state, executor = restore(tmp_path / 'run')
  jax.tree.map(np.testing.assert_array_equal, state, make_state(2))
  assert int(state.rejected) == 0
  assert executor.proxies['generic'].step == 2
  # And the run goes on from there.
  save_steps(tmp_path / 'run', [4])
  assert int(restore(tmp_path / 'run')[0].step) == 4


@pytest.mark.parametrize(
  'error', [TypeError, AttributeError, ZeroDivisionError]
)
@pytest.mark.parametrize('read', ['restore', 'read_params'])
def test_a_mistake_in_our_own_code_is_never_called_damage(
  tmp_path, monkeypatch, error, read
):
  save_steps(tmp_path, [2, 4])

  def fail(*_):
    raise error('a mistake')

  monkeypatch.setattr(snapshots, 'seal_of', fail)
  with pytest.raises(error, match='a mistake'):
    if read == 'restore':
      restore(tmp_path)
    else:
      with checkpointing.CheckpointStore(
        tmp_path, make_run(), read_only=True
      ) as store:
        store.read_params(make_state(0).params)
  assert not (tmp_path / 'checkpoints.damaged').exists()
  monkeypatch.undo()
  assert int(restore(tmp_path)[0].step) == 4


@pytest.mark.parametrize('error', [TypeError, AttributeError])
def test_a_mistake_in_calling_orbax_is_never_called_damage(tmp_path, error):
  save_steps(tmp_path, [2, 4])

  def fail(*_, **__):
    raise error('restore() has no such argument')

  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    store._reader._orbax.restore = fail
    with pytest.raises(error, match='no such argument'):
      store.restore_or_init(make_state(0), FakeExecutor())
  assert not (tmp_path / 'checkpoints.damaged').exists()


def test_an_error_of_the_folder_itself_is_not_called_damage(
  tmp_path, monkeypatch
):
  save_steps(tmp_path, [2, 4])

  def fail(*_):
    raise PermissionError('not yours')

  monkeypatch.setattr(checkpointing.CheckpointStore, '_make_manager', fail)
  with pytest.raises(PermissionError, match='not yours'):
    restore(tmp_path)


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
  save_steps(folder, [2, 4])
  return folder


@pytest.mark.parametrize('number', range(len(NOTES)))
def test_a_note_on_the_arrays_of_another_shape_is_damage(
  saved, tmp_path, number, caplog
):
  shutil.copytree(saved, tmp_path / 'run')
  path = tmp_path / 'run' / 'checkpoints' / '4' / 'arrays' / '_METADATA'
  path.write_text(json.dumps(NOTES[number](json.loads(path.read_text()))))
  state, _ = restore(tmp_path / 'run')
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
  assert int(restore(tmp_path / 'run')[0].step) == 2


@pytest.mark.parametrize('notes', ['[]', '{}', '{"custom_metadata": null}'])
def test_the_notes_of_the_first_schema_of_another_shape_are_damage(
  tmp_path, notes
):
  folder = pathlib.Path(__file__).parents[1] / 'fixtures' / 'schema1'
  shutil.copytree(folder, tmp_path / 'run')
  path = tmp_path / 'run' / 'checkpoints' / '2' / '_CHECKPOINT_METADATA'
  path.write_text(notes)
  store = checkpointing.CheckpointStore(
    tmp_path / 'run', make_run(), read_only=True
  )
  with store, pytest.raises(FileNotFoundError, match='no checkpoint that can'):
    store.digest()


def test_a_damaged_note_of_orbax_is_passed_over(tmp_path):
  save_steps(tmp_path, [2, 4])
  note = tmp_path / 'checkpoints' / '4' / '_CHECKPOINT_METADATA'
  note.write_text('[]')  # Orbax then refuses the whole folder.
  state, _ = restore(tmp_path)
  assert int(state.step) == 2
  jax.tree.map(
    np.testing.assert_array_equal, state, make_state(int(state.step))
  )
