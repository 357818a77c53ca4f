"""One host of a learner, for tests that start several.

  python -m tests.learner.host_program RANK COUNT PORT FOLDER KIND [NAME=VALUE]

COUNT=1 is a learner without others. KIND is 'step', which takes one step of a
field and writes it to FOLDER/step.npz; or 'run', which runs the loop with
priors of a few lines in FOLDER/run. VALUEs: `devices` of each host, `shards`,
`steps`; `parts` of a step; `ball`, for a field of a few lines; `dies` and
`hangs` and `breaks`, the step in which the last host is killed, is stopped or
raises; `rejects`, the step whose answer is not finite; `remat`; `kept`, chunks;
`late`, for how many seconds the last host has better to do than to leave.
"""

import os
import pathlib
import signal
import sys
import time
from unittest import mock

_NUMBERS = {
  name: int(value)
  for name, _, value in (word.partition('=') for word in sys.argv[6:])
}
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = (
  '--xla_force_host_platform_device_count='
  f'{_NUMBERS.get("devices", 1)} --xla_cpu_multi_thread_eigen=false'
)

import jax  # noqa: E402 - reads the variables above.
import numpy as np  # noqa: E402

from mmdist import loop  # noqa: E402
from mmdist.api import learner_hosts  # noqa: E402
from mmdist.config import schema  # noqa: E402
from mmdist.core import errors  # noqa: E402
from mmdist.distribution import executor as executor_lib  # noqa: E402
from mmdist.learner import distill  # noqa: E402
from mmdist.learner import host_joining  # noqa: E402
from mmdist.learner import host_store  # noqa: E402
from mmdist.learner import hosts as hosts_lib  # noqa: E402
from mmdist.learner import mirror  # noqa: E402
from mmdist.nerf import field  # noqa: E402
from tests import loop_runs  # noqa: E402
from tests.core import compiling  # noqa: E402
from tests.learner import tiny_field  # noqa: E402

SMALL_NERF = schema.NerfConfig(
  nerf_depth=2, nerf_width=16, proposal_width=8, num_proposal_samples=8
)


def take_step(learner, run, params, folder) -> None:
  """Writes pictures, and Adam's moments: the gradient, times constants."""
  learner.warm_up(params)
  state = learner.init(params)
  batch = distill.sample_batch(run.views, 0, 0)
  renders = learner.render_views(state, batch)
  cotangents = {'rgb': renders.rgb - 0.2, 'normal': renders.normals}
  state, stats = learner.apply_cotangents(state, batch, cotangents)
  # Back and forth, as where a step is rejected.
  state = learner.place(learner.collect(state))
  state = learner.skip(state)
  whole = learner.collect(state)
  assert int(whole.step) == 2 and int(whole.rejected) == 1
  jax.tree.map(
    np.testing.assert_array_equal, whole.params, learner.params_of(state)
  )
  leaves = {
    jax.tree_util.keystr(path): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(whole)
  }
  np.savez(
    folder / 'step.npz',
    rgb=renders.rgb,
    normals=renders.normals,
    acc=renders.acc,
    gradient_norm=stats['gradient_norm'],
    **leaves,
  )
  sizes = [
    sum(s.data.size for s in leaf.addressable_shards) / leaf.size
    for leaf in jax.tree.leaves(state.opt_state)
    if leaf.size > 1
  ]
  (folder / 'held').write_text(f'{np.mean(sizes):.4f}')


def run_loop(run, params, folder, hosts) -> None:
  workdir = folder / 'run'
  workdir.mkdir(exist_ok=True)
  recipes = loop_runs.fakes()
  rejected = _NUMBERS.get('rejects')
  checked = loop.score_requests.sum_cotangents
  seen = []

  def sum_cotangents(answers, *more):
    step = next(iter(answers.values())).step
    if step == rejected and not seen:
      seen.append(step)
      raise errors.NotFinite(f'step {step}')
    return checked(answers, *more)

  with (
    mock.patch.object(loop.score_requests, 'sum_cotangents', sum_cotangents),
    executor_lib.InlineExecutor(recipes) as executor,
  ):
    representation = tiny_field.tiny_field()
    state = loop.optimize(
      run,
      workdir,
      executor,
      representation,
      params,
      learner=loop.make_learner(run, representation, hosts),
    )
  leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(state.params)]
  np.save(folder / 'run.npy', np.concatenate(leaves))


class Doomed(mirror._Follower):
  """A host that is lost in a certain step."""

  def obey(self, do, **part):
    if do == 'pull_back' and part['step'] == _NUMBERS.get('dies'):
      os.kill(os.getpid(), signal.SIGKILL)
    if do == 'pull_back' and part['step'] == _NUMBERS.get('hangs'):
      os.kill(os.getpid(), signal.SIGSTOP)
    if do == 'pull_back' and part['step'] == _NUMBERS.get('breaks'):
      raise AttributeError('this host is broken\nin two lines')
    super().obey(do, **part)


leave = host_store.leave


def leave_late(within_s: float) -> None:
  rank, count = host_store.me()
  time.sleep(_NUMBERS.get('late', 0) if rank == count - 1 else 0)
  leave(within_s)


def main() -> None:
  rank, count, port = (int(word) for word in sys.argv[1:4])
  folder, kind = pathlib.Path(sys.argv[4]), sys.argv[5]
  if kind == 'run':
    run = loop_runs.make_run(_NUMBERS.get('steps', 6), normal=True)
    run.checkpoints.snapshot_every = 2
    run.checkpoints.every = 0
    run.faults.on_nonfinite = 'reject'
    run.views.micro_batches = _NUMBERS.get('parts', 1)
    representation = tiny_field.tiny_field()
  else:
    run = schema.RunConfig(
      num_steps=10, views=schema.ViewsConfig(num_views=2, resolution=9)
    )
    run.learner.remat = bool(_NUMBERS.get('remat', 1))
    run.learner.num_kept_chunks = _NUMBERS.get('kept', 0)
    representation = (
      tiny_field.tiny_field()
      if _NUMBERS.get('ball')
      else field.conditional_nerf(SMALL_NERF)
    )
  run.learner.chunk_size = 16
  run.learner.num_hosts = count
  run.learner.num_shards = _NUMBERS.get('shards', 1)
  hosts = None
  if count > 1:
    facts = {'rate': _NUMBERS.get(f'rate_{rank}', 1)}
    hosts = host_joining.join(
      count, facts, f'machine-{rank}', f'127.0.0.1:{port}', rank
    )
  # Only now, since JAX may not compute before the hosts have joined.
  params = representation.init(jax.random.key(0))
  try:
    if rank:
      follower = Doomed if rank == count - 1 else mirror._Follower
      with mock.patch.object(mirror, '_Follower', follower):
        learner_hosts._obey(run, representation, hosts)
    elif kind == 'step':
      learner = mirror.make_learner(representation, run, hosts=hosts)
      take_step(learner, run, params, folder)
    else:
      run_loop(run, params, folder, hosts)
  finally:
    if hosts is not None:
      hosts.close()


if __name__ == '__main__':
  hosts_lib.SILENT_S = 4.0
  try:
    with (
      compiling.in_a_hurry(),
      mock.patch.object(host_store, 'leave', leave_late),
    ):
      main()
  except errors.UserError as error:
    sys.exit(f'error: {error}')
