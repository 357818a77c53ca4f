"""A run of one step whose density is a ball, for what is made of runs."""

import jax

from mmdist.config import schema
from mmdist.learner import distill
from mmdist.nerf import field
from mmdist.run import checkpointing
from mmdist.run import snapshots
from mmdist.run import workdir as workdir_lib


def tiny_run():
  return schema.RunConfig(
    num_steps=1,
    nerf=schema.NerfConfig(code_size=4, nerf_depth=2, nerf_width=8),
    results=schema.ResultsConfig(
      turntable_views=2, resolution=16, texture_size=64
    ),
  )


def write(workdir):
  """Writes a run of one step whose density is a ball of radius 0.6."""
  run = tiny_run()
  workdir_lib.claim(workdir, run)
  params = field.conditional_nerf(run.nerf).init(jax.random.key(1))
  state = distill.TrainState(jax.numpy.int32(1), params, {})
  with checkpointing.CheckpointStore(workdir, run) as store:
    store.save(snapshots.Snapshot(state, {}))
  return workdir
