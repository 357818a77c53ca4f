"""Checkpoints of a run: each holds one step, complete and checked by a hash.

One checkpoint is the learner's state, every proxy with its optimiser, and the
run's identity. Orbax writes a step completely or not at all, but it does not
notice a flipped bit. So a hash over everything is kept beside each step, and a
step that does not match its hash is skipped in favour of the one before.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import errno
import logging
import os
import pathlib
from typing import Any, TypeVar

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from mmdist.config import schema
from mmdist.config import serialization
from mmdist.core import errors
from mmdist.core import full_disk
from mmdist.core import messages
from mmdist.core import representation as representation_lib
from mmdist.core import version
from mmdist.distribution import executor as executor_lib
from mmdist.run import checkpoint_files
from mmdist.run import snapshots

# 1: hash over the arrays only, no learner/rejected. 2: hash over everything.
# 3: a proxy that is one concept's has a count of its own fits.
SCHEMA = 3


_State = TypeVar('_State')  # The learner's, or any pytree of arrays.


class CheckpointStore:
  """The checkpoints of one run, in `workdir/checkpoints`; a context manager.

  Args:
    workdir: the run's folder, claimed.
    run: its configuration.
    weights: the sha256 of the priors' weights, kept in the run's identity.
    read_only: the run may be going on elsewhere, so nothing is changed.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    run: schema.RunConfig,
    weights: Mapping[str, Any] | None = None,
    *,
    read_only: bool = False,
  ):
    self._run = run
    self._weights = dict(weights or {})
    self._directory = pathlib.Path(workdir).resolve() / 'checkpoints'
    self._identities: dict[int, Mapping] = {}  # Of the steps that were read.
    self._last_asked = 0  # The newest step that was given to Orbax.
    self._restored: int | None = None  # The step that the run goes on from.
    self._manager: ocp.CheckpointManager | None = None
    if not read_only:
      self._manager = self._open_manager()
    self._reader = checkpoint_files.CheckpointReader()

  def _open_manager(self) -> ocp.CheckpointManager:
    """Opens Orbax, which refuses a folder if a file of its own is damaged."""
    try:
      return self._make_manager()
    except checkpoint_files.DAMAGE as error:
      steps = steps_in(self._directory)
      bad = [step for step in steps if not self._is_listed(step)]
      if not bad:  # The error is of something else.
        raise
      if len(bad) == len(steps):
        raise self._all_damaged(bad) from error
      for step in bad:
        logging.warning('checkpoint %d is damaged and moved aside', step)
        self._move_aside(step)
      return self._make_manager()

  def _make_manager(self) -> ocp.CheckpointManager:
    # Orbax itself makes it only where all processes take part.
    self._directory.mkdir(parents=True, exist_ok=True)
    return ocp.CheckpointManager(
      self._directory,
      # Named here, because Orbax warns of every item that it does not know.
      item_handlers={
        'arrays': ocp.StandardCheckpointHandler(),
        'identity': ocp.JsonCheckpointHandler(),
        'seal': ocp.JsonCheckpointHandler(),
      },
      options=ocp.CheckpointManagerOptions(
        preservation_policy=_policy(self._run.checkpoints),
        # Removes what a process left behind that was killed while it saved.
        cleanup_tmp_directories=True,
        create=False,
        multiprocessing_options=checkpoint_files.processes(),
      ),
    )

  def _is_listed(self, step: int) -> bool:
    """Returns whether Orbax can read what it notes of a step."""
    names = ocp.path.step.standard_name_format()
    try:
      return bool(names.find_step(self._directory, step).commit_timestamp)
    except checkpoint_files.DAMAGE:
      return False

  def _all_damaged(self, steps: Sequence[int]) -> errors.UserError:
    return errors.UserError(
      f'every checkpoint in {self._directory} is damaged (steps '
      f'{", ".join(map(str, steps)) or "moved aside before"}); nothing was '
      'changed. Put a copy back, or start again in a new --workdir.'
    )

  def __enter__(self) -> 'CheckpointStore':
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Waits until the last save is on the disk."""
    if self._manager is not None:
      with _full_disk_said(self._directory):
        self._manager.close()
    self._reader.close()

  def restore_or_init(
    self, state: _State, executor: executor_lib.Executor
  ) -> _State:
    """Returns the newest sound checkpoint's state, or `state` if there is none.

    The executor's proxies are set to the same step. Damaged checkpoints that
    are newer are moved to `workdir/checkpoints.damaged/`.

    Args:
      state: the state at step 0; says structure, shapes and placement.
      executor: has `restore_proxies`.

    Raises:
      UserError: the checkpoint is sound but of other parameters, or of a
        newer mmdist; or there are checkpoints, and none is sound.
    """
    damaged = []
    for step, arrays in self._newest_first():
      if arrays is None:
        damaged.append(step)
        continue
      restored = snapshots.restore_tree(arrays, state, 'learner', step)
      executor.restore_proxies(snapshots.proxies_from(arrays))
      for number in damaged:
        self._move_aside(number)
      self._last_asked = self._restored = step
      _warn_of_changes(self._identities[step], step)
      return restored
    if damaged or self._damaged_folder.exists():
      raise self._all_damaged(damaged)
    return state

  def warn_of_dtypes(self, proxies: Mapping[str, messages.ProxyState]) -> None:
    """Warns of priors that compute in another dtype than before the resume.

    Args:
      proxies: by prior, as they are after `restore_or_init`.
    """
    if self._restored is None:
      return
    before = self._identities[self._restored].get('dtypes') or {}
    for name, proxy in proxies.items():
      was, prior = before.get(name), self._run.priors.get(name)
      # One that is named has changed with permission, which is told elsewhere.
      if prior is None or prior.dtype != messages.AUTO:
        continue
      if was and proxy.dtype and was != proxy.dtype:
        logging.warning(
          "prior '%s' computes in %s here and computed in %s before checkpoint "
          "%d, since its dtype is 'auto', so what follows is not bit for bit "
          'what it would have been there; priors.%s.dtype=%s keeps it',
          *(name, proxy.dtype, was, self._restored, name, was),
        )

  def read_params(
    self, params: representation_lib.Params, step: int | None = None
  ) -> tuple[int, Any]:
    """Returns the newest sound step and its parameters; changes nothing.

    Args:
      params: says the structure and the shapes.
      step: take this one instead.

    Raises:
      FileNotFoundError: there is no sound checkpoint, or none of this step.
      UserError: it is of other parameters.
    """
    step, arrays = self._newest_sound(step)
    return step, snapshots.restore_tree(arrays, params, 'learner/params', step)

  def digest(self) -> tuple[int, str]:
    """Returns the newest sound step and a sha256 over all its arrays.

    That is: learner parameters, optimiser, step, and every proxy with its
    optimiser and count of fits, but not the configuration. Runs with the same
    arrays have the same digest.

    Raises:
      FileNotFoundError: there is no sound checkpoint.
    """
    step, arrays = self._newest_sound()
    return step, snapshots.hash_arrays(arrays)

  def last_safe_step(self) -> int:
    """Returns the newest step that is on the disk; 0 if none is."""
    return newest_step(self._directory)

  def is_due(self, step: int) -> bool:
    """Returns whether to save a step: one in `every`, and the last one."""
    every = self._run.checkpoints.every
    return step == self._run.num_steps or bool(every and step % every == 0)

  def save(self, snapshot: snapshots.Snapshot) -> None:
    """Saves a step; writing goes on in the background.

    A step that was saved already is left alone.

    Raises:
      UserError: learner and proxies are not of the same step.
      OSError: the disk is full, now or when the step before was written.
    """
    step = snapshot.step
    if step == self._last_asked:
      return
    snapshots.check_complete(snapshot)
    arrays = snapshots.flatten_tree(
      snapshot.state, 'learner'
    ) | snapshots.flatten_proxies(snapshot.proxies)
    identity = _identity(self._run, self._weights, snapshot.proxies)
    manager = self._manager
    if manager is None:
      raise RuntimeError(
        f'step {step} was not saved: {self._directory} was opened to be read.'
      )
    with _full_disk_said(self._directory):
      saved = manager.save(
        step,
        args=ocp.args.Composite(
          arrays=ocp.args.StandardSave(arrays),
          identity=ocp.args.JsonSave(identity),
          seal=ocp.args.JsonSave(
            {'schema': SCHEMA, 'sha256': snapshots.seal_of(arrays, identity)}
          ),
        ),
      )
    if not saved:  # Orbax returns False and gives no reason.
      raise RuntimeError(
        f'step {step} was not saved in {self._directory}, which holds'
        f' {sorted(manager.all_steps())}; was another run started there?'
      )
    self._last_asked = step

  @property
  def _damaged_folder(self) -> pathlib.Path:
    return self._directory.with_name('checkpoints.damaged')

  def _newest_sound(
    self, only: int | None = None
  ) -> tuple[int, dict[str, np.ndarray]]:
    for step, arrays in self._newest_first(only):
      if arrays is not None:
        return step, arrays
    which = '' if only is None else f' of step {only}'
    raise FileNotFoundError(
      f'{self._directory} holds no checkpoint{which} that can be read.'
    )

  def _newest_first(
    self, only: int | None = None
  ) -> Iterator[tuple[int, dict | None]]:
    """Yields (step, arrays), or (step, None) for a damaged checkpoint."""
    for step in sorted(steps_in(self._directory), reverse=True):
      if only in (None, step):
        yield step, self._read(step)

  def _read(self, step: int) -> dict[str, np.ndarray] | None:
    """Returns the arrays of a step, or None if they are damaged."""
    folder = self._directory / str(step)
    try:
      seal = self._reader.read_seal(folder)
      if seal.schema <= SCHEMA:
        arrays, identity = self._reader.read_contents(folder)
    except checkpoint_files.Damaged as error:
      logging.warning('checkpoint %d cannot be read: %s', step, error)
      return None
    if seal.schema > SCHEMA:
      raise errors.UserError(
        f'checkpoint {step} in {self._directory} is of schema {seal.schema}, '
        f'this mmdist ({version.VERSION}) reads up to {SCHEMA}; install the '
        'newer one that wrote it.'
      )
    # Outside of the `try`: an error in here is a mistake, not damage.
    if seal.schema == 1:
      found = snapshots.hash_arrays(arrays)
    else:
      found = snapshots.seal_of(arrays, identity)
    if found != seal.sha256:
      logging.warning('checkpoint %d does not match its hash', step)
      return None
    if seal.schema == 1:
      arrays.setdefault('learner/rejected', np.zeros((), np.int32))
    self._identities[step] = identity
    return arrays

  def _move_aside(self, step: int) -> None:
    damaged = self._damaged_folder
    damaged.mkdir(exist_ok=True)
    name = str(step)
    while (damaged / name).exists():
      name += '+'
    # If it stayed, Orbax would take it for newer than what the run saves next.
    os.rename(self._directory / str(step), damaged / name)
    if self._manager is not None:
      self._manager.reload()


def _policy(
  config: schema.CheckpointConfig,
) -> checkpoint_managers.PreservationPolicy:
  """Keeps the last `keep` steps, and each multiple of `keep_every`."""
  policies = [checkpoint_managers.LatestN(config.keep)]
  if config.keep_every:
    policies.append(checkpoint_managers.EveryNSteps(config.keep_every))
  return checkpoint_managers.AnyPreservationPolicy(policies)


def newest_step(directory: pathlib.Path) -> int:
  """Returns the newest step in a folder of checkpoints, unread; 0: none."""
  return max(steps_in(directory), default=0)


def steps_in(directory: pathlib.Path) -> list[int]:
  """Returns the steps that have a folder, whatever is left in it."""
  if not directory.is_dir():
    return []
  return [
    int(path.name)
    for path in directory.iterdir()
    if path.name.isdecimal() and path.is_dir()
  ]


@contextlib.contextmanager
def _full_disk_said(directory: pathlib.Path) -> Iterator[None]:
  """Turns what Orbax raises of a full disk into one line about it."""
  try:
    yield
  except Exception as error:
    if not full_disk.is_meant(error):
      raise
    raise OSError(
      errno.ENOSPC,
      f'the disk of {directory} is full, so this step was not saved; the '
      'checkpoints before are whole. Make room and give the same command',
    ) from error


def _identity(
  run: schema.RunConfig,
  weights: Mapping[str, Any],
  proxies: Mapping[str, messages.ProxyState],
) -> dict:
  """Returns what decides the bits of a run, as JSON can hold it."""
  return {
    'config': serialization.to_dict(run),
    'fingerprint': snapshots.fingerprint(),
    'weights': dict(weights),
    'dtypes': {name: p.dtype for name, p in proxies.items() if p.dtype},
  }


def _warn_of_changes(identity: Mapping, step: int) -> None:
  """Warns of changes that make the resumed run differ in its last bits.

  Resuming is still correct: only rounding differs.
  """
  before = identity.get('fingerprint') or identity.get('versions') or {}
  now = snapshots.fingerprint()
  now = {name: now[name] for name in now if name in before}
  changed = serialization.differences(before, now)
  if changed:
    logging.warning(
      'checkpoint %d was made elsewhere, so what follows is not bit for bit '
      'what it would have been there: %s',
      step,
      '; '.join(changed),
    )
