"""Saves one step after the other, each of some megabytes, until it is killed.

python -m tests.chaos.saver WORKDIR
"""

import sys

import jax.numpy as jnp
import numpy as np

from mmdist.config import schema
from mmdist.core import messages
from mmdist.learner import distill
from mmdist.run import checkpointing
from mmdist.run import snapshots

NUM_LEAVES = 6


class Proxies:
  """Holds proxies whose numbers say how many fits are behind them."""

  def __init__(self, step: int):
    arrays = {'lora/a': np.full((300, 300), step, np.float32)}
    self.proxies = {'generic': messages.ProxyState(step, arrays)}

  def restore_proxies(self, states) -> None:
    self.proxies = states


def make_run() -> schema.RunConfig:
  checkpoints = schema.CheckpointConfig(every=1, keep=3)
  return schema.RunConfig(num_steps=10**6, checkpoints=checkpoints)


def make_state(step: int) -> distill.TrainState:
  rng = np.random.default_rng(step)
  leaves = [
    jnp.asarray(rng.normal(size=(400, 400)), jnp.float32)
    for _ in range(NUM_LEAVES)
  ]
  return distill.TrainState(jnp.int32(step), {'nerf': leaves}, {})


def main() -> None:
  with checkpointing.CheckpointStore(sys.argv[1], make_run()) as store:
    for step in range(1, 10**6):
      proxies = Proxies(step).proxies
      store.save(snapshots.Snapshot(make_state(step), proxies))
      print(step, flush=True)


if __name__ == '__main__':
  main()
