"""Checkpoints come back bit for bit, or not at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdist import checkpointing
from mmdist.core import config as config_lib
from mmdist.core import messages
from mmdist.learner import distill


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


def make_run(**fields) -> config_lib.RunConfig:
  checkpoints = config_lib.CheckpointConfig(every=2, keep=3)
  return config_lib.RunConfig(num_steps=7, checkpoints=checkpoints, **fields)


def save_steps(workdir, steps, run=None) -> None:
  with checkpointing.CheckpointStore(workdir, run or make_run()) as store:
    for step in steps:
      store.maybe_save(make_state(step), FakeExecutor(step))


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


def test_steps_are_saved_every_so_often_and_at_the_end(tmp_path):
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    saved = [
      step
      for step in range(1, 8)
      if store.maybe_save(make_state(step), FakeExecutor(step))
    ]
  assert saved == [2, 4, 6, 7]


def test_only_the_last_ones_are_kept(tmp_path):
  save_steps(tmp_path, [2, 4, 6, 7])
  kept = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
  assert kept == {'4', '6', '7'}


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
    assert store.maybe_save(make_state(4), FakeExecutor(4))
  assert int(restore(tmp_path)[0].step) == 4


def test_with_every_checkpoint_damaged_the_run_starts_over(tmp_path):
  for _ in range(2):
    save_steps(tmp_path, [4])
    for path in array_files(tmp_path, 4):
      path.unlink()
    assert int(restore(tmp_path)[0].step) == 0
  names = {path.name for path in (tmp_path / 'checkpoints.damaged').iterdir()}
  assert names == {'4', '4+'}


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


def test_other_versions_are_said(tmp_path, caplog, monkeypatch):
  save_steps(tmp_path, [2])
  monkeypatch.setattr(checkpointing, '_PACKAGES', ('jax', 'no-such-package'))
  restore(tmp_path)
  assert "no-such-package: absent -> 'absent'" in caplog.text


def test_an_older_step_cannot_be_saved_silently(tmp_path):
  with checkpointing.CheckpointStore(tmp_path, make_run()) as store:
    store.maybe_save(make_state(4), FakeExecutor(4))
    with pytest.raises(RuntimeError, match='step 2 was not saved'):
      store.maybe_save(make_state(2), FakeExecutor(2))


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
  assert len({checkpointing.hash_arrays(v) for v in variants}) == len(variants)
