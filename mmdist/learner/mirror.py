"""A learner of several hosts: host 0 leads, the others do as it does.

The compiled passes span all hosts, so each host has to call the same ones in
the same order. `make_learner` returns host 0 a `Learner` that is used like any
other, and announces a call before it makes it; `follow` makes the announced
calls.
What the calls are given follows from the configuration and the step, or is
broadcast: the parameters once, the summed cotangents of each step.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mmdist.config import schema
from mmdist.core import device_mesh
from mmdist.core import errors
from mmdist.core import representation as representation_lib
from mmdist.learner import distill
from mmdist.learner import hosts as hosts_lib
from mmdist.learner import step_parts


def make_learner(
  representation: representation_lib.Representation,
  run: schema.RunConfig,
  *,
  with_normals: bool = True,
  hosts: hosts_lib.Hosts | None = None,
) -> distill.Learner:
  """Returns `distill.make_learner`'s, of all hosts of a run; see there.

  Args:
    representation: see there.
    run: see there.
    with_normals: see there.
    hosts: those of the learner; None is this process alone. Host 0 gets a
      learner that leads the others, which follow with theirs.
  """
  if hosts is None:
    return distill.make_learner(representation, run, with_normals=with_normals)
  layout = device_mesh.learner_layout(
    run.learner.num_devices, hosts.count, run.learner.num_shards
  )
  learner = distill.make_learner(
    representation,
    run,
    with_normals=with_normals,
    layout=layout,
    wait=hosts.wait if hosts.leads else jax.block_until_ready,
  )
  if not hosts.leads:
    return learner
  return _Leader(learner, hosts, layout.num_shards > 1).learner()


class _Leader:
  """Announces each call of a learner, and makes it.

  Its functions raise HostLost if a host is gone.
  """

  def __init__(
    self, inner: distill.Learner, hosts: hosts_lib.Hosts, is_split: bool
  ):
    self._inner = inner
    self._hosts = hosts
    # Whole parameters can be read without the other hosts.
    self._is_split = is_split
    self._given: Any = None  # The parameters that all hosts have.
    self._state: distill.TrainState | None = None  # That all hosts are at.
    self._step = 0

  def learner(self) -> distill.Learner:
    return distill.Learner(
      init=self._init,
      warm_up=self._warm_up,
      render_views=self._render_views,
      pull_back=self._pull_back,
      add=self._add,
      update=self._update,
      apply_cotangents=self._apply_cotangents,
      skip=self._skip,
      place=self._place,
      collect=self._collect,
      params_of=self._params_of,
      checked=self._inner.checked,
    )

  def _do(
    self, what: str, call: Callable[[], Any], sent: Any = None, **order: Any
  ) -> Any:
    """Announces a call, sends what it needs, and makes it."""
    self._step = order.get('step', self._step)
    with self._hosts.blamed(self._step):
      self._hosts.announce({'do': what, **order})
      if sent is not None:
        self._hosts.broadcast(sent)
      return call()

  def _give(self, params: representation_lib.Params) -> None:
    if self._given is not params:
      self._do('take', lambda: None, jax.tree.map(np.asarray, params))
      self._given = params

  def _warm_up(self, params: representation_lib.Params) -> None:
    self._give(params)
    self._do('warm_up', lambda: self._inner.warm_up(params))

  def _init(self, params: representation_lib.Params) -> distill.TrainState:
    self._give(params)
    self._state = self._do('init', lambda: self._inner.init(params))
    return self._state

  def _render_views(
    self, state: distill.TrainState, batch: distill.ViewBatch
  ) -> distill.ViewRenders:
    self._check(state)
    renders: distill.ViewRenders = self._do(
      'render',
      lambda: self._inner.render_views(state, batch),
      **_named(batch),
    )
    return renders

  def _pull_back(
    self,
    state: distill.TrainState,
    batch: distill.ViewBatch,
    cotangents: Mapping[str, np.ndarray],
  ) -> step_parts.Pulled:
    self._check(state)
    # Here too: what is broadcast has to have the shape that the others expect.
    cotangents = self._inner.checked(batch, cotangents)
    pulled: step_parts.Pulled = self._do(
      'pull_back',
      lambda: self._inner.pull_back(state, batch, cotangents),
      cotangents,
      **_named(batch),
    )
    return pulled

  def _add(
    self, before: step_parts.Pulled, part: step_parts.Pulled
  ) -> step_parts.Pulled:
    added: step_parts.Pulled = self._do(
      'add', lambda: self._inner.add(before, part)
    )
    return added

  def _update(
    self, state: distill.TrainState, pulled: step_parts.Pulled
  ) -> tuple[distill.TrainState, dict[str, float]]:
    self._check(state)
    self._state, stats = self._do(
      'update', lambda: self._inner.update(state, pulled)
    )
    return self._state, stats

  def _apply_cotangents(
    self,
    state: distill.TrainState,
    batch: distill.ViewBatch,
    cotangents: Mapping[str, np.ndarray],
  ) -> tuple[distill.TrainState, dict[str, float]]:
    return self._update(state, self._pull_back(state, batch, cotangents))

  def _skip(self, state: distill.TrainState) -> distill.TrainState:
    self._check(state)
    self._state = self._do('skip', lambda: self._inner.skip(state))
    return self._state

  def _place(self, state: distill.TrainState) -> distill.TrainState:
    collected = jax.tree.map(np.asarray, state)
    self._state = self._do(
      'place', lambda: self._inner.place(collected), collected
    )
    return self._state

  def _collect(self, state: distill.TrainState) -> distill.TrainState:
    if not self._is_split:
      return self._inner.collect(state)
    self._check(state)
    collected: distill.TrainState = self._do(
      'collect', lambda: self._inner.collect(state)
    )
    return collected

  def _params_of(self, state: distill.TrainState) -> representation_lib.Params:
    if not self._is_split:
      return self._inner.params_of(state)
    self._check(state)
    return self._do('params_of', lambda: self._inner.params_of(state))

  def _check(self, state: distill.TrainState) -> None:
    if state is not self._state:
      raise RuntimeError(
        'the other hosts of the learner are at another state; use `place`.'
      )


def follow(
  learner: distill.Learner,
  representation: representation_lib.Representation,
  run: schema.RunConfig,
  hosts: hosts_lib.Hosts,
) -> None:
  """Does what host 0 announces, until it ends.

  Args:
    learner: as host 0 has it.
    representation: likewise.
    run: likewise.
    hosts: this one is not host 0.

  Raises:
    HostLost: another host is gone.
  """
  shapes = jax.eval_shape(representation.init, jax.random.key(0))
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  follower = _Follower(learner, run, hosts, zeros)
  while True:
    order = hosts.receive()
    if order['do'] == 'end':
      return
    with hosts.blamed(order.get('step', 0)):
      follower.obey(**order)


class _Follower:
  """Makes the calls that host 0 announces."""

  def __init__(
    self,
    learner: distill.Learner,
    run: schema.RunConfig,
    hosts: hosts_lib.Hosts,
    params: representation_lib.Params,
  ):
    self._learner = learner
    self._run = run
    self._hosts = hosts
    self._params = params
    self._state: Any = None
    # Of the step: the parts that were rendered, and what they gave so far.
    self._parts: dict[tuple[int, int], distill.ViewBatch] = {}
    self._pulled: list[step_parts.Pulled] = []

  def obey(self, do: str, **part: int) -> None:
    try:
      getattr(self, f'_{do}')(**part)
    except errors.NotFinite:
      # Host 0 sees the same numbers, and decides what becomes of the step.
      pass

  def _take(self) -> None:
    self._params = self._hosts.broadcast(self._params)

  def _warm_up(self) -> None:
    self._learner.warm_up(self._params)

  def _init(self) -> None:
    self._state = self._learner.init(self._params)

  def _render(self, step: int, first: int) -> None:
    if first == 0:
      self._parts, self._pulled = {}, []
    self._learner.render_views(self._state, self._part(step, first))

  def _pull_back(self, step: int, first: int) -> None:
    part = self._part(step, first)
    cotangents = self._hosts.broadcast(self._learner.checked(part, {}))
    self._pulled.append(self._learner.pull_back(self._state, part, cotangents))

  def _add(self) -> None:
    part = self._pulled.pop()
    self._pulled.append(self._learner.add(self._pulled.pop(), part))

  def _update(self) -> None:
    self._state, _ = self._learner.update(self._state, self._pulled.pop())

  def _skip(self) -> None:
    self._state = self._learner.skip(self._state)

  def _place(self) -> None:
    zeros = jax.tree.map(
      lambda leaf: np.zeros(leaf.shape, leaf.dtype), self._state
    )
    self._state = self._learner.place(self._hosts.broadcast(zeros))

  def _collect(self) -> None:
    self._learner.collect(self._state)

  def _params_of(self) -> None:
    self._learner.params_of(self._state)

  def _part(self, step: int, first: int) -> distill.ViewBatch:
    # The same object for render and vjp, by which a learner that renders once
    # knows what it has kept.
    if (step, first) not in self._parts:
      views = self._run.views
      batch = distill.sample_batch(views, self._run.seed, step)
      for part in step_parts.cut(batch, views.micro_batches):
        self._parts[step, part.first_view] = part
    return self._parts[step, first]


def _named(batch: distill.ViewBatch) -> dict[str, int]:
  """Returns what tells a follower which part of which step is meant."""
  return {'step': batch.step, 'first': batch.first_view}


def check_structure(
  representation: representation_lib.Representation,
  params: representation_lib.Params,
) -> None:
  """Raises UserError for parameters that the other hosts would not expect."""
  shapes = jax.eval_shape(representation.init, jax.random.key(0))

  def known(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, np.dtype(leaf.dtype)), tree)

  if known(shapes) != known(params):
    raise errors.UserError(
      'params have other names, shapes or types than representation.init '
      'returns; a learner of several hosts needs the same.'
    )
