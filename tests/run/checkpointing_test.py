"""Checkpoints come back bit for bit, or not at all."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist.core import messages
from mmdist.run import checkpointing
from mmdist.run import snapshots
from tests.run import saved_steps


def test_an_empty_store_returns_the_initial_state(tmp_path):
  state, executor = saved_steps.restore(tmp_path)
  assert int(state.step) == 0
  assert executor.proxies['generic'].step == 0


def test_learner_and_proxies_come_back_bit_for_bit(tmp_path):
  saved_steps.save_steps(tmp_path, [2, 4])
  state, executor = saved_steps.restore(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, state, saved_steps.make_state(4))
  assert state.opt_state['count'].dtype == jnp.int32
  generic = executor.proxies['generic']
  assert generic.step == 4
  np.testing.assert_array_equal(generic.arrays['lora/a.b'], np.full((2, 3), 4))
  assert executor.proxies['sds'] == messages.ProxyState(4, {})
  each = executor.proxies['each'].arrays
  assert each['label/step'] == 3 and each['label/lora/a.b'].shape == (2, 3)


def test_steps_are_due_every_so_often_and_at_the_end(tmp_path):
  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:
    due = [step for step in range(1, 8) if store.is_due(step)]
  assert due == [2, 4, 6, 7]
  with checkpointing.CheckpointStore(
    tmp_path, saved_steps.make_run(every=0)
  ) as store:
    assert [step for step in range(1, 8) if store.is_due(step)] == [7]


def test_only_the_last_ones_are_kept(tmp_path):
  saved_steps.save_steps(tmp_path, [2, 4, 6, 7])
  kept = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
  assert kept == {'4', '6', '7'}


def test_every_so_many_are_kept_for_good(tmp_path):
  saved_steps.save_steps(
    tmp_path, range(2, 8), saved_steps.make_run(keep=1, keep_every=3)
  )
  kept = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
  assert kept == {'3', '6', '7'}


def test_a_flipped_bit_falls_back_to_the_step_before(tmp_path, caplog):
  saved_steps.save_steps(tmp_path, [2, 4])
  for path in saved_steps.array_files(tmp_path, 4):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
  state, executor = saved_steps.restore(tmp_path)
  assert int(state.step) == 2
  assert executor.proxies['generic'].step == 2
  assert 'checkpoint 4' in caplog.text
  assert (tmp_path / 'checkpoints.damaged' / '4').is_dir()


@pytest.mark.parametrize('number', range(6))
def test_a_flipped_bit_anywhere_never_changes_the_state(tmp_path, number):
  saved_steps.save_steps(tmp_path, [2, 4])
  path = saved_steps.array_files(tmp_path, 4)[number]
  content = bytearray(path.read_bytes())
  if content:
    content[len(content) // 3] ^= 16
  path.write_bytes(bytes(content))
  state, _ = saved_steps.restore(tmp_path)
  jax.tree.map(
    np.testing.assert_array_equal,
    state,
    saved_steps.make_state(int(state.step)),
  )


def test_a_missing_file_falls_back_and_the_run_goes_on(tmp_path):
  saved_steps.save_steps(tmp_path, [2, 4])
  for path in saved_steps.array_files(tmp_path, 4):
    path.unlink()
  run = saved_steps.make_run()
  with checkpointing.CheckpointStore(tmp_path, run) as store:
    assert (
      int(
        store.restore_or_init(
          saved_steps.make_state(0), saved_steps.FakeExecutor()
        ).step
      )
      == 2
    )
    store.save(saved_steps.make_snapshot(4))
  assert int(saved_steps.restore(tmp_path)[0].step) == 4


def test_with_every_checkpoint_damaged_nothing_begins_anew(tmp_path):
  saved_steps.save_steps(tmp_path, [2, 4])
  for step in (2, 4):
    for path in saved_steps.array_files(tmp_path, step):
      path.unlink()
  for _ in range(2):  # Nothing is moved, so it is said again.
    with pytest.raises(
      ValueError, match=r'damaged \(steps 4, 2\); nothing was'
    ):
      saved_steps.restore(tmp_path)
  # Nor when what is damaged has been moved aside and the rest is gone.
  (tmp_path / 'checkpoints').rename(tmp_path / 'checkpoints.damaged')
  with pytest.raises(ValueError, match='steps moved aside before'):
    saved_steps.restore(tmp_path)


def test_a_checkpoint_is_of_one_step(tmp_path):
  late = snapshots.Snapshot(
    saved_steps.make_state(4), saved_steps.FakeExecutor(3).proxies
  )
  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:
    with pytest.raises(ValueError, match='4 fits behind every proxy, but gene'):
      store.save(late)
  assert not checkpointing.steps_in(tmp_path / 'checkpoints')


def test_steps_that_were_left_out_fit_no_proxy(tmp_path):
  state = saved_steps.make_state(4).replace(rejected=jnp.int32(1))
  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:
    store.save(snapshots.Snapshot(state, saved_steps.FakeExecutor(3).proxies))
  state, executor = saved_steps.restore(tmp_path)
  assert (int(state.step), int(state.rejected)) == (4, 1)
  assert executor.proxies['generic'].step == 3


def test_a_changed_identity_is_damage(tmp_path):
  saved_steps.save_steps(tmp_path, [2, 4])
  path = tmp_path / 'checkpoints' / '4' / 'identity' / 'metadata'
  text = path.read_text()
  assert '"num_steps": 7' in text
  path.write_text(text.replace('"num_steps": 7', '"num_steps": 8'))
  assert int(saved_steps.restore(tmp_path)[0].step) == 2


def test_a_newer_schema_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(checkpointing, 'SCHEMA', 4)
  saved_steps.save_steps(tmp_path, [2])
  monkeypatch.undo()
  with pytest.raises(
    ValueError, match='is of schema 4, this mmdist .* up to 3'
  ):
    saved_steps.restore(tmp_path)


def test_equal_runs_have_equal_digests(tmp_path):
  digests = []
  for name, step in (('a', 2), ('b', 2), ('c', 4)):
    saved_steps.save_steps(tmp_path / name, [step])
    store = checkpointing.CheckpointStore(
      tmp_path / name, saved_steps.make_run(), read_only=True
    )
    digests.append(store.digest())
    store.close()
  assert digests[0] == digests[1] != digests[2]
  assert digests[0][0] == 2 and len(digests[0][1]) == 64


def test_what_a_killed_save_left_is_cleaned_up(tmp_path):
  saved_steps.save_steps(tmp_path, [2])
  left = tmp_path / 'checkpoints' / '4.orbax-checkpoint-tmp'
  left.mkdir()
  (left / 'arrays').write_text('half')
  reader = checkpointing.CheckpointStore(
    tmp_path, saved_steps.make_run(), read_only=True
  )
  assert reader.read_params(saved_steps.make_state(0).params)[0] == 2
  reader.close()
  assert left.exists()  # A reader may look at a run that is going on.
  assert int(saved_steps.restore(tmp_path)[0].step) == 2
  assert not left.exists()


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
  saved_steps.save_steps(tmp_path, [2])
  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:

    def full(*_, **__):
      raise ValueError('RESOURCE_EXHAUSTED: No space left on device [...]')

    monkeypatch.setattr(store._manager, 'save', full)
    with pytest.raises(OSError, match='is full, so this step was not saved'):
      store.save(saved_steps.make_snapshot(4))
  assert int(saved_steps.restore(tmp_path)[0].step) == 2


def test_another_error_is_not_called_a_full_disk(tmp_path, monkeypatch):
  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:

    def fail(*_, **__):
      raise ValueError('Orbax will have none of it')

    monkeypatch.setattr(store._manager, 'save', fail)
    with pytest.raises(ValueError, match='none of it'):
      store.save(saved_steps.make_snapshot(4))


def test_a_checkpoint_of_other_parameters_is_refused_by_name(tmp_path):
  saved_steps.save_steps(tmp_path, [2])
  wider = saved_steps.make_state(0)
  wider.params['nerf'] = [jnp.zeros((4, 6))]
  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:
    with pytest.raises(
      ValueError, match=r'float32 \(4, 5\) for learner/params/nerf/0; expected'
    ):
      store.restore_or_init(wider, saved_steps.FakeExecutor())


def test_params_are_read_alone_from_the_newest_sound_step(tmp_path):
  saved_steps.save_steps(tmp_path, [2, 4])
  for path in saved_steps.array_files(tmp_path, 4):
    path.unlink()
  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:
    step, params = store.read_params(saved_steps.make_state(0).params)
  assert step == 2
  jax.tree.map(
    np.testing.assert_array_equal, params, saved_steps.make_state(2).params
  )
  assert not (tmp_path / 'checkpoints.damaged').exists()


def test_params_of_a_run_without_checkpoints_are_not_found(tmp_path):
  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:
    with pytest.raises(FileNotFoundError, match='no checkpoint that can be'):
      store.read_params(saved_steps.make_state(0).params)


@pytest.mark.parametrize(
  'field, value', [('machine', 'vax'), ('instructions', 'avx9')]
)
def test_another_machine_is_said(tmp_path, caplog, monkeypatch, field, value):
  saved_steps.save_steps(tmp_path, [2])
  saved_steps.restore(tmp_path)
  assert not caplog.text
  known = snapshots.fingerprint() | {field: value}
  monkeypatch.setattr(snapshots, 'fingerprint', lambda: known)
  saved_steps.restore(tmp_path)
  assert 'not bit for bit' in caplog.text and f"-> '{value}'" in caplog.text


def warned_of(workdir, run, dtype) -> None:
  """Goes on with a run whose priors compute in `dtype`."""
  executor = saved_steps.FakeExecutor(dtype=dtype)
  with checkpointing.CheckpointStore(workdir, run) as store:
    store.restore_or_init(saved_steps.make_state(0), executor)
    store.warn_of_dtypes(saved_steps.FakeExecutor(2, dtype).proxies)


def test_a_prior_that_computes_in_another_dtype_is_said(tmp_path, caplog):
  run = saved_steps.make_run()
  del run.priors['normal']
  warned_of(tmp_path, run, 'float32')  # Nothing is there to go on from.
  with checkpointing.CheckpointStore(tmp_path, run) as store:
    proxies = saved_steps.FakeExecutor(2, 'bfloat16').proxies
    store.save(snapshots.Snapshot(saved_steps.make_state(2), proxies))
  warned_of(tmp_path, run, 'bfloat16')
  warned_of(tmp_path, run, '')  # A prior of one's own, which does not say.
  run.priors['generic'].dtype = 'float32'  # On purpose, with permission.
  warned_of(tmp_path, run, 'float32')
  assert not caplog.messages
  run.priors['generic'].dtype = 'auto'
  warned_of(tmp_path, run, 'float32')
  (line,) = caplog.messages
  assert "prior 'generic' computes in float32 here and computed in bfl" in line
  assert line.endswith('priors.generic.dtype=bfloat16 keeps it')


def test_an_older_step_cannot_be_saved_silently(tmp_path):
  with checkpointing.CheckpointStore(tmp_path, saved_steps.make_run()) as store:
    store.save(saved_steps.make_snapshot(4))
    with pytest.raises(RuntimeError, match='step 2 was not saved'):
      store.save(saved_steps.make_snapshot(2))


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
  state, executor = saved_steps.restore(tmp_path / 'run')
  jax.tree.map(np.testing.assert_array_equal, state, saved_steps.make_state(2))
  assert int(state.rejected) == 0
  assert executor.proxies['generic'].step == 2
  # And the run goes on from there.
  saved_steps.save_steps(tmp_path / 'run', [4])
  assert int(saved_steps.restore(tmp_path / 'run')[0].step) == 4


@pytest.mark.parametrize(
  'text, expected',
  [
    ('flags\t\t: fpu avx2 avx512f avx512_bf16x\n', 'avx2 avx512f'),
    ('processor: 0\nFeatures\t: fp asimd bf16 sve\n', 'bf16 sve'),
    ('nothing of the kind\n', ''),
    (None, ''),  # No such file: another system.
  ],
)
def test_the_fingerprint_names_what_kernels_are_chosen_by(
  monkeypatch, text, expected
):
  def read(path, *args):
    del args
    if text is None:
      raise FileNotFoundError(path)
    return text

  monkeypatch.setattr(snapshots.pathlib.Path, 'read_text', read)
  assert ' '.join(snapshots._instructions()) == expected


def test_flags_of_gpus_are_no_difference_between_cpus(monkeypatch):
  flags = '--xla_cpu_multi_thread_eigen=false --xla_gpu_deterministic_ops=true'
  monkeypatch.setenv('XLA_FLAGS', flags)
  assert snapshots.fingerprint()['xla_flags'] == flags.split()[0]
  assert snapshots._xla_flags('gpu') == flags
