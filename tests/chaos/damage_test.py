"""Every file of a checkpoint, hurt in every way: never silently wrong."""

import pathlib
import shutil

import jax
import numpy as np
import pytest

from mmdist.run import checkpointing
from mmdist.run import snapshots
from tests.chaos import saver

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
STEPS = (2, 4)


def flip(path: pathlib.Path) -> None:
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(bytes(content))


def flip_first(path: pathlib.Path) -> None:
  content = bytearray(path.read_bytes())
  content[0] ^= 64
  path.write_bytes(bytes(content))


def truncate(path: pathlib.Path) -> None:
  path.write_bytes(path.read_bytes()[:-7])


def empty(path: pathlib.Path) -> None:
  path.write_bytes(b'')


def zero(path: pathlib.Path) -> None:
  path.write_bytes(bytes(path.stat().st_size))


def delete(path: pathlib.Path) -> None:
  path.unlink()


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp('saved')
  with checkpointing.CheckpointStore(folder, saver.make_run()) as store:
    for step in STEPS:
      proxies = saver.Proxies(step).proxies
      store.save(snapshots.Snapshot(saver.make_state(step), proxies))
  return folder


@pytest.fixture(scope='module')
def expected():
  return {step: saver.make_state(step) for step in STEPS}


@pytest.mark.parametrize(
  'hurt', [flip, flip_first, truncate, empty, zero, delete]
)
def test_damage_is_never_silent(hurt, saved, expected, tmp_path, caplog):
  root = saved / 'checkpoints' / str(STEPS[-1])
  files = sorted(
    path.relative_to(saved) for path in root.rglob('*') if path.is_file()
  )
  fallbacks = 0
  for number, file in enumerate(files):
    if not (saved / file).stat().st_size:
      continue
    folder = tmp_path / str(number)
    shutil.copytree(saved, folder)
    hurt(folder / file)
    caplog.clear()
    executor = saver.Proxies(0)
    with checkpointing.CheckpointStore(folder, saver.make_run()) as store:
      state = store.restore_or_init(saver.make_state(0), executor)
    step = int(state.step)
    jax.tree.map(np.testing.assert_array_equal, state, expected[step])
    proxy = executor.proxies['generic']
    assert proxy.step == step and np.all(proxy.arrays['lora/a'] == step)
    if step != STEPS[-1]:
      fallbacks += 1
      assert f'checkpoint {STEPS[-1]} ' in caplog.text, file
    shutil.rmtree(folder)
  assert fallbacks >= 2  # Arrays and their seal, whatever Orbax keeps besides.
