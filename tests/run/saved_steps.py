"""Small checkpoints that tests of the store save and restore."""

import jax.numpy as jnp
import numpy as np

from mmdist.config import schema
from mmdist.core import messages
from mmdist.learner import distill
from mmdist.run import checkpointing
from mmdist.run import snapshots


class FakeExecutor:
  """Holds proxies whose numbers say how many fits are behind them."""

  def __init__(self, step: int = 0, dtype: str = ''):
    self.proxies = {
      'generic': messages.ProxyState(
        step, {'lora/a.b': np.full((2, 3), step, np.float32)}, dtype
      ),
      # One proxy per concept: each has a count of its own.
      'each': messages.ProxyState(
        step,
        {
          'label/step': np.asarray(step - 1),
          'label/lora/a.b': np.full((2, 3), step, np.float32),
        },
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
